"""Layouts as others write them: each is read whole, or what isn't is named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ladder.data.sources.open import survey


@pytest.fixture
def pairs(picture, image_file):
    """Numbers -> the members of a webdataset."""
    return lambda numbers: [
        (f"{number:03d}.{kind}", data)
        for number in numbers
        for kind, data in (
            ("png", image_file(picture(number))),
            ("txt", f"caption {number}".encode()),
        )
    ]


def captions(samples: dict) -> list[str]:
    return [sample.captions[0] for sample in samples.values()]


def test_img2dataset(tmp_path, write_tar, pairs, read_set):
    """Tars with a table and counts beside them, and JSON of the download for each picture."""
    facts = [("000.json", json.dumps({"url": "x", "caption": "c", "status": "success"}).encode())]
    write_tar(tmp_path / "00000.tar", [*pairs([0, 1]), *facts])
    pq.write_table(pa.table({"url": ["x"], "caption": ["c"]}), tmp_path / "00000.parquet")
    (tmp_path / "00000_stats.json").write_text("{}")
    samples, rejected = read_set(tmp_path)
    assert rejected == []
    assert captions(samples) == ["caption 0", "caption 1"]
    assert survey(tmp_path).rest == frozenset()


def test_tars_in_folders_and_in_gzip(tmp_path, write_tar, pairs):
    write_tar(tmp_path / "part1/00000.tar", pairs([0]))
    write_tar(tmp_path / "part2/00000.tar", pairs([1]))
    packed = write_tar(tmp_path / "whole", pairs([2, 3]))
    (tmp_path / "00002.tar.gz").write_bytes(gzip.compress(packed.read_bytes()))
    packed.unlink()
    samples, rejected = _all(tmp_path)
    assert rejected == []
    assert sorted(captions(samples)) == [f"caption {number}" for number in range(4)]
    names = [shard.name for shard in survey(tmp_path).shards]
    assert names == ["00002.tar.gz", "part1/00000.tar", "part2/00000.tar"]


def _all(folder: Path):
    """Samples by shard and key, since keys repeat in other shards, and rejections."""
    samples, rejected = {}, []
    for shard in survey(folder).shards:
        for record in shard.records():
            loaded = record.load(10**6)
            samples[shard.name, record.key] = loaded
    return samples, rejected


def test_tars_with_captions_beside_a_list_are_read_too(
    tmp_path, write_tar, write_files, write_list, pairs, picture, image_file
):
    folder = write_files({"a.png": 7})
    write_list(folder / "metadata.jsonl", [{"file_name": "a.png", "text": "seven"}])
    write_tar(folder / "00000.tar", pairs([0, 1]))
    write_tar(folder / "pictures.tar", [("x.png", image_file(picture(9)))])
    samples, _ = _all(folder)
    assert sorted(captions(samples)) == ["caption 0", "caption 1", "seven"]
    assert [path.name for path in survey(folder).rest if path.suffix == ".tar"] == ["pictures.tar"]


def test_coco(write_files, write_list, read_set, picture):
    folder = write_files({"train2017/000.png": 0, "train2017/001.png": 1})
    held = {
        "images": [{"id": n, "file_name": f"00{n}.png"} for n in range(3)],
        "annotations": [
            {"id": 10 + n, "image_id": n // 2, "caption": f"caption {n}"} for n in range(4)
        ],
    }
    write_list(folder / "annotations/captions_train2017.json", held)
    samples, rejected = read_set(folder)
    assert [sample.captions for sample in samples.values()] == [
        ("caption 0", "caption 1"), ("caption 2", "caption 3"),
    ]  # fmt: skip
    assert [sample.target for sample in samples.values()] == [picture(0), picture(1)]
    assert [rejection.reason for rejection in rejected] == ["no_image"]


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.tsv", "captions.csv"])
def test_tables_in_text(write_files, read_set, name):
    folder = write_files({"a.png": 0, "b.png": 1})
    sign = "\t" if name.endswith("tsv") else ","
    lines = [["file_name", "text"], ["a.png", '"two\nlines"'], ["b.png"], ["c.png", "x"]]
    (folder / name).write_text("\ufeff" + "\n".join(sign.join(line) for line in lines))
    samples, rejected = read_set(folder)
    assert captions(samples) == ["two\nlines"]
    assert [rejection.reason for rejection in rejected] == ["no_caption", "no_image"]


def test_pictures_beside_texts(write_files, read_set, picture):
    folder = write_files({"a.png": 0, "sub/b.png": 1, "sub/c.png": 2})
    (folder / "a.txt").write_text("a")
    (folder / "sub/b.txt").write_text("b")
    (folder / "notes.pdf").write_bytes(b"x")
    samples, rejected = read_set(folder)
    assert captions(samples) == ["a", "b"]
    assert [rejection.reason for rejection in rejected] == ["no_caption"]
    assert [path.name for path in survey(folder).rest] == ["notes.pdf"]


@pytest.mark.parametrize(
    "row",
    [
        {"url": "https://example.org/0.png", "path": "images/0.png", "caption": "zero"},
        {"image": "images/0.png", "prompt": "zero", "width": 32},
        {"img_path": "images/0.png", "description": "zero"},
    ],
)
def test_lines_of_paths(write_files, write_list, read_set, row):
    folder = write_files({"images/0.png": 0})
    write_list(folder / "train.jsonl", [row])
    samples, rejected = read_set(folder)
    assert rejected == []
    assert captions(samples) == ["zero"]


@pytest.mark.parametrize(
    "row",
    [
        {"source": "a.png", "target": "b.png", "instruction": "do it"},
        {"image": "a.png", "edited_image": "b.png", "edit": "do it"},
        {"input": "a.png", "output": "b.png", "prompt": "do it", "caption": "a thing"},
    ],
)
def test_lines_of_edits(write_files, write_list, read_set, picture, row):
    folder = write_files({"a.png": 0, "b.png": 1})
    write_list(folder / "train.jsonl", [row])
    (sample,), rejected = read_set(folder)[0].values(), read_set(folder)[1]
    assert rejected == []
    assert (sample.sources, sample.target) == ((picture(0),), picture(1))
    assert sample.captions[0] in ("do it", "a thing")


def test_a_column_of_where_a_picture_is_from_makes_no_edit(write_files, write_list, read_set):
    folder = write_files({"a.png": 0})
    write_list(folder / "x.jsonl", [{"image": "a.png", "caption": "a", "source": "cc12m"}])
    samples, rejected = read_set(folder)
    assert rejected == []
    assert samples["a"].sources == ()


MAPPING = """
files: "lists/*.json"
image: result.file
source: before
caption: words.0.said
captions: words.1.more
key: name
truth: [score]
"""


def test_a_mapping_of_ones_own(write_files, write_list, read_set, picture):
    folder = write_files({"lists/x/a.png": 0, "lists/x/b.png": 1})
    (folder / "mapping.yaml").write_text(MAPPING)
    row = {
        "name": "mine", "result": {"file": "x/b.png"}, "before": ["x/a.png"], "score": 3,
        "words": [{"said": "do it"}, {"more": ["please do it"]}],
    }  # fmt: skip
    write_list(folder / "lists/odd.json", [row, row | {"name": "none", "words": []}])
    samples, rejected = read_set(folder)
    assert samples["mine"].captions == ("do it", "please do it")
    assert samples["mine"].sources == (picture(0),)
    assert samples["mine"].truth == {"score": 3}
    assert [rejection.reason for rejection in rejected] == ["no_caption"]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("image: a", "must have image and caption"),
        ("image: a\ncaption: b\nsauce: c", "must have image and caption, and may have .*sauce"),
        ("image: a\ncaption: 3", "caption must be a text, got 3"),
        ("[", "must be YAML"),
    ],
)
def test_a_mapping_that_is_none_says_so(tmp_path, text, rule):
    (tmp_path / "mapping.yaml").write_text(text)
    with pytest.raises(ValueError, match=rule):
        survey(tmp_path)
