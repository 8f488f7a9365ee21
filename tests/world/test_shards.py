"""Raw sets: one set of bytes per settings, in the layouts of the paper's data, with faults."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import re
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.curation import test_curate
from tests.stored import read_raw, read_shards, scene_of

from ladder.config.load import World
from ladder.data.curation.curate import curate
from ladder.world.language import FRAMES, Clause, noun
from ladder.world.render import render
from ladder.world.scenes import SHAPES
from ladder.world.shards import write

WORLD = World(
    seed=7, t2i_samples=300, edit_samples=40, curated_samples=60, captions=3, shard_samples=128,
    faults=0.3,
)  # fmt: skip
CURATION = dataclasses.replace(test_curate.CURATION, evaluation_share=0.2)
SETS = ("finetune_t2i", "finetune_ti2i", "t2i", "ti2i")
LIST = "text_and_image_to_image.json"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    write(WORLD, folder)
    return folder


@pytest.fixture(scope="module")
def report(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What curation says of the raw sets; beside it, in "out", where it put them."""
    out = tmp_path_factory.mktemp("curated")
    curate(raw, out, CURATION)
    return json.loads((out / "report.json").read_text()) | {"out": out}


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def samples(folder: Path) -> list[dict[str, bytes]]:
    """Records of a set of tars: the members of each key by extension, in order."""
    named = [item for path in sorted(folder.glob("*.tar")) for item in members(path).items()]
    groups = itertools.groupby(named, lambda item: item[0].partition(".")[0])
    return [{name.partition(".")[2]: data for name, data in group} for _, group in groups]


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_the_same_settings_give_the_same_bytes(raw: Path, tmp_path: Path):
    """And every other seed gives others."""
    write(WORLD, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(raw)
    write(dataclasses.replace(WORLD, seed=8, t2i_samples=40), tmp_path / "other")
    other = contents(tmp_path / "other")
    assert all(other[name] != data for name, data in contents(raw).items() if name in other)


def test_there_are_four_sets_of_the_sizes_asked_for(raw: Path):
    assert sorted(path.name for path in raw.iterdir()) == [*SETS]
    assert [len(samples(raw / name)) for name in SETS] == [60, 60, 300, 40]
    shards = [len({*members(path)}) // 3 for path in sorted((raw / "t2i").glob("*.tar"))]
    assert shards == [128, 128, 44]


def test_captioned_sets_are_webdataset_tars(raw: Path):
    """Members of a sample lie side by side under one key of seven digits, and no key repeats."""
    for name in ("t2i", "finetune_t2i"):
        keys = []
        for path in sorted((raw / name).glob("*.tar")):
            with tarfile.open(path) as tar:
                found = [member.name for member in tar]
                assert all(member.mtime == 0 for member in tar.getmembers())
            for key, group in itertools.groupby(found, lambda name: name.partition(".")[0]):
                assert sorted(group) == [f"{key}.{part}" for part in ("json", "png", "txt")]
                keys.append(key)
        assert keys == [f"{index:07d}" for index in range(len(keys))]


def test_a_sample_has_the_captions_asked_for_and_its_truth(raw: Path):
    broken = 0
    for sample in samples(raw / "t2i"):
        facts = json.loads(sample["json"])
        assert {*facts} == {"captions", "truth"}
        assert len(facts["captions"]) == WORLD.captions - 1
        scene = scene_of(facts["truth"]["scene"])
        try:
            good = (pixels(sample["png"]) == render(scene)).all()
        except OSError:
            good = False
        broken += not good or not sample["txt"].strip()
    assert abs(broken / 300 - WORLD.faults) < 5 * (WORLD.faults * 0.7 / 300) ** 0.5


def test_faults_come_in_all_kinds_at_the_stated_share(raw: Path, report: dict):
    """Each is about a third of the faults, and curation names it; there are no others."""
    reasons = Counter(report["sets"]["t2i"]["reasons"])
    assert {*reasons} == {"undecodable", "empty_caption", "duplicate"}
    share = WORLD.faults / 3
    for count in reasons.values():
        assert abs(count / 300 - share) < 5 * (share * (1 - share) / 300) ** 0.5


def test_without_faults_everything_is_whole(tmp_path: Path):
    write(dataclasses.replace(WORLD, faults=0.0, t2i_samples=60), tmp_path)
    for sample in samples(tmp_path / "t2i"):
        scene = scene_of(json.loads(sample["json"])["truth"]["scene"])
        np.testing.assert_array_equal(pixels(sample["png"]), render(scene))
        assert sample["txt"].strip()


def test_edit_sets_are_laid_out_as_sharegpt_4o_image(raw: Path):
    """A list of rows whose paths are members of the tars beside it, each used once."""
    for name, count in (("ti2i", 40), ("finetune_ti2i", 60)):
        rows = json.loads((raw / name / LIST).read_text())
        pictures = {k: v for path in (raw / name).glob("*.tar") for k, v in members(path).items()}
        assert len(rows) == count
        used = []
        for row in rows:
            assert isinstance(row["input_prompt"], str)
            assert len(row["captions"]) == WORLD.captions - 1
            (source,) = row["input_image"]
            for path, side in ((source, "before"), (row["output_image"], "after")):
                scene = scene_of(row["truth"][side])
                np.testing.assert_array_equal(pixels(pictures[path]), render(scene))
                used.append(path)
        assert sorted(used) == sorted(pictures)


def test_curation_accounts_for_every_record(raw: Path, report: dict):
    """kept + rejected = read, of each shard, of each set and in total."""
    sizes = {name: len(samples(raw / name)) for name in SETS}
    assert {name: account["read"] for name, account in report["sets"].items()} == sizes
    accounts = [report["total"], *report["sets"].values()]
    accounts += [
        shard for account in report["sets"].values() for shard in account["shards"].values()
    ]
    for account in accounts:
        assert account["kept"] + account["rejected"] == account["read"]
        assert sum(account["reasons"].values()) == account["rejected"]
    for name in SETS:
        folders = (report["out"] / name / split for split in ("train", "evaluation"))
        kept = sum(1 for folder in folders for _ in read_shards(folder))
        assert kept == report["sets"][name]["kept"] > 0


def test_edits_are_kept_with_their_truth(raw: Path):
    """No edit is rejected when it is read, and every one is true."""
    for sample in read_raw(raw / "ti2i", CURATION.maximum_pixels):
        assert len(sample.sources) == 1
        assert len(sample.captions) == WORLD.captions
        before, after = (scene_of(sample.truth[side]) for side in ("before", "after"))
        np.testing.assert_array_equal(np.asarray(sample.sources[0]), render(before))
        np.testing.assert_array_equal(np.asarray(sample.target), render(after))


def test_the_small_set_has_only_hard_captions_of_pairs(raw: Path):
    """None that merely lists two shapes."""
    plain = {
        frame.format(f"{noun(Clause(a))} and {noun(Clause(b))}")
        for frame in FRAMES
        for a in SHAPES
        for b in SHAPES
    }

    def said(name: str) -> list[str]:
        return [
            text
            for sample in samples(raw / name)
            for text in (sample["txt"].decode(), *json.loads(sample["json"])["captions"])
        ]

    assert {*said("t2i")} & plain
    assert not {*said("finetune_t2i")} & plain
    assert any(
        re.search(r"\b(left|right|above|below|than)\b", text) for text in said("finetune_t2i")
    )
