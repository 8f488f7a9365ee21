"""The finder of GenEval's template takes all of GenEval and nothing of the other benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ladder.world.caption_templates import OBJECTS, follows_geneval


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_all_of_geneval_and_nothing_of_dpg_and_tiif(golden: Path):
    folder = golden.parent / "prompts"
    geneval = [row["prompt"] for row in lines(folder / "geneval_metadata.jsonl")]
    dpg = [row["prompt"] for row in lines(folder / "dpg_prompts.jsonl")]
    tiif = lines(folder / "tiif_testmini.jsonl")
    texts = [row[f"{length}_description"] for row in tiif for length in ("short", "long")]
    found = [sum(map(follows_geneval, prompts)) for prompts in (geneval, dpg, texts)]
    assert (len(geneval), len(dpg)) == (553, 1065)
    assert found == [553, 0, 0]
    names = (folder / "geneval_object_names.txt").read_text().split("\n")
    assert set(OBJECTS) == {name for name in names if name}


@pytest.mark.parametrize(
    "caption",
    [
        "A photo of a dog.",
        "an image of three   wine glasses",
        "a picture of a red car and a blue bench",
        "a photo of a cat left of an umbrella",
        "a photo of two knives",
    ],
)
def test_captions_by_the_template(caption: str):
    assert follows_geneval(caption)


@pytest.mark.parametrize(
    "caption",
    [
        "a dog",
        "a photo of a dog in the snow",
        "a photo of a dog and a cat and a horse",
        "a photo of two dog",
        "a photo of a dragon",
        "a photo of a dog left of",
        "my photo of a dog",
        "",
    ],
)
def test_captions_that_only_look_like_it(caption: str):
    assert not follows_geneval(caption)
