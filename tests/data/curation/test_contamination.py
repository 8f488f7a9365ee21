"""Captions that benchmarks ask for are found by the tier that is asked for, and no others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.data.curation.test_curate import CURATION

from ladder.data.curation import curate as module
from ladder.data.curation.contamination import Finder, Match, normalised, read_prompts
from ladder.data.curation.curate import curate

PROMPTS = {"a photo of a bench": "geneval", "a red bus waits by the old town hall": "dpg"}


def finder(tier: str) -> Finder:
    return Finder(tier, PROMPTS, 90.0)


@pytest.mark.parametrize(
    ("caption", "found"),
    [
        ("A photo of a bench.", ("geneval", "exact")),
        ("a  photo of\na bench", ("geneval", "exact")),
        ("a photo of two purple cats", ("geneval", "template")),
        ("A red bus waits by an old town hall", ("dpg", "fuzzy")),
        ("a bench in a photo", None),
        ("a green bus leaves the old town", None),
    ],
)
def test_tiers_build_on_one_another(caption, found):
    tiers = ("exact", "template", "fuzzy")
    for tier in tiers:
        reached = found is not None and tiers.index(found[1]) <= tiers.index(tier)
        expected = Match(*found) if reached else None
        assert finder(tier).find(["something else", caption]) == expected


def test_the_published_prompts(root: Path):
    """All of GenEval by the template; a prompt is found in its own benchmark by the first tier."""
    folder = root.parent / "shared/prompts"
    if not folder.is_dir():
        pytest.skip(f"no prompts at {folder}")
    prompts = read_prompts(folder)
    assert {*prompts.values()} == {"geneval", "dpg", "tiif"}
    exact = Finder("exact", prompts, 90.0)
    for name, field in (("geneval_metadata", "prompt"), ("dpg_prompts", "prompt")):
        lines = (folder / f"{name}.jsonl").read_text().splitlines()
        for line in lines:
            match = exact.find([json.loads(line)[field].upper() + " ."])
            assert match is not None
            assert match.tier == "exact"


def test_lists_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match=r"BENCHMARK\*.jsonl in curation.prompts, but .* has none"):
        read_prompts(tmp_path)
    (tmp_path / "mine.jsonl").write_text('{"prompt": "a"}\n{"text": "b"}\n')
    with pytest.raises(ValueError, match=r"mine.jsonl, line 2: .*the row has \['text'\]"):
        read_prompts(tmp_path)
    (tmp_path / "mine.jsonl").write_text("[]\n")
    with pytest.raises(ValueError, match="line 1: a row must be a JSON object"):
        read_prompts(tmp_path)


def test_normalised():
    assert normalised("  A Photo\tof ﬁsh ... ") == "a photo of fish"


@pytest.mark.parametrize(("tier", "rejected"), [("exact", 1), ("template", 2), ("fuzzy", 3)])
def test_curation_rejects_them(
    tmp_path, write_tar, picture, image_file, monkeypatch, tier, rejected
):
    monkeypatch.setattr(module, "save_figures", lambda *_: None)
    (tmp_path / "prompts").mkdir()
    rows = [json.dumps({"prompt": prompt}) for prompt in PROMPTS]
    (tmp_path / "prompts/geneval_x.jsonl").write_text(rows[0])
    (tmp_path / "prompts/dpg.jsonl").write_text(rows[1])
    captions = [
        "a photo of a bench", "a photo of a cow", "A red bus waits by an old town hall", "a hill",
    ]  # fmt: skip
    members = []
    for number, caption in enumerate(captions):
        members += [(f"{number}.png", image_file(picture(number)))]
        members += [(f"{number}.txt", caption.encode())]
    write_tar(tmp_path / "raw/set/0.tar", members)
    curation = replace(CURATION, decontaminate=tier, prompts=str(tmp_path / "prompts"))
    curate(tmp_path / "raw", tmp_path / "out", curation)
    rows = pq.read_table(tmp_path / "out/decisions.parquet").to_pylist()
    reasons = [row["reason"] for row in rows]
    expected = ["benchmark_exact", "benchmark_template", "benchmark_fuzzy"][:rejected]
    assert reasons == expected + [None] * (4 - rejected)
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["benchmarks"]["geneval"]["exact"] == 1
    assert sum(sum(found.values()) for found in report["benchmarks"].values()) == rejected
