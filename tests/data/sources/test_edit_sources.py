"""Edits in the layout of ShareGPT-4o-Image: paired by path, each fault counted where it lies."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from ladder.data.shards import Sample
from ladder.data.sources.open import EDITS
from ladder.data.sources.record import Rejected, UnknownLayoutError


@pytest.fixture
def edits() -> list[dict]:
    return [
        {
            "input_prompt": f"edit {number}",
            "input_image": [f"images/{number}.source.png"],
            "output_image": f"images/{number}.target.png",
        }
        for number in range(4)
    ]


@pytest.fixture
def files(picture, image_file) -> dict[str, bytes]:
    return {
        f"images/{number}.{part}.png": image_file(picture(number + offset))
        for number in range(4)
        for part, offset in (("source", 0), ("target", 100))
    }


@pytest.fixture
def read_edits(tmp_path, write_tar, read_set):
    """(rows, files) -> (samples, rejections) of a set with its pictures in two tars."""

    def _read(rows, files) -> tuple[dict[str, Sample], list[Rejected]]:
        pairs = list(files.items())
        write_tar(tmp_path / "raw/a.tar", pairs[:3])
        write_tar(tmp_path / "raw/b.tar", pairs[3:])
        (tmp_path / "raw" / EDITS).write_text(json.dumps(rows))
        return read_set(tmp_path / "raw")

    return _read


def test_edits_in_tars(read_edits, edits, files, picture):
    edits[1]["input_image"].append("./images/3.source.png")
    edits[2] |= {"captions": ["further"], "truth": {"kind": "move"}}
    samples, rejected = read_edits(edits, files)
    assert rejected == []
    assert list(samples) == [f"images/{number}.target" for number in range(4)]
    for number, sample in enumerate(samples.values()):
        assert sample.target == picture(number + 100)
        assert sample.sources[0] == picture(number)
    several, captioned = samples["images/1.target"], samples["images/2.target"]
    assert several.sources == (picture(1), picture(3))
    assert captioned.captions == ("edit 2", "further")
    assert captioned.truth == {"kind": "move"}


def test_edits_in_folders(tmp_path, edits, files, read_set):
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / EDITS).write_text(json.dumps(edits))
    samples, rejected = read_set(tmp_path)
    assert len(samples) == 4
    assert rejected == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"input_image": ["images/9.png"]}, "no_image"),
        ({"input_image": []}, "no_image"),
        ({"input_image": ["../images/0.source.png"]}, "unsafe_member"),
        ({"input_image": ["/etc/passwd"]}, "unsafe_member"),
        ({"input_prompt": " "}, "empty_caption"),
        ({"input_prompt": "\ud800"}, "bad_encoding"),
        ({"captions": "one"}, "bad_json"),
    ],
)
def test_faults_of_edits(read_edits, edits, files, change, reason):
    edits[2] |= change
    samples, rejected = read_edits(edits, files)
    assert rejected == [Rejected("images/2.target", EDITS, reason)]
    assert len(samples) == 3


def test_faults_of_edit_pictures(read_edits, edits, files):
    """Also of the tars beside the list: each fault is counted once, in its own shard."""
    edits.append(edits[0] | {"input_prompt": "again"})
    edits[1] |= {"output_image": "\ud800.png"}
    files["images/2.source.png"] = b"garbage"
    files["../x.png"] = b""
    samples, rejected = read_edits(edits, files)
    assert len(samples) == 2
    assert Counter((rejection.shard, rejection.reason) for rejection in rejected) == {
        ("b.tar", "unsafe_member"): 1,
        (EDITS, "bad_encoding"): 1,
        (EDITS, "undecodable"): 1,
        (EDITS, "duplicate_key"): 1,
    }


def test_truncated_tar_of_edit_pictures(tmp_path, read_edits, edits, files, read_set):
    read_edits(edits, files)
    path = tmp_path / "raw/b.tar"
    path.write_bytes(path.read_bytes()[:600])
    samples, rejected = read_set(tmp_path / "raw")
    assert list(samples) == ["images/0.target"]
    assert Counter(rejection.reason for rejection in rejected) == {
        "truncated_shard": 1,
        "no_image": 3,
    }


GOOD = {"input_image": ["images/0.source.png"], "output_image": "images/2.target.png"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "x", "input_image": [], "output_image": "a.png"}, "no_image"),
        ({"input_prompt": "x", "input_image": ["images/0.source.png"]}, "no_image"),
        (3, "bad_row"),
        (None, "bad_row"),
        (GOOD | {"input_prompt": 7}, "bad_row"),
        (GOOD | {"input_prompt": float("nan")}, "no_caption"),
        (GOOD | {"input_prompt": "x", "input_image": ["y" * 300 + ".png"]}, "no_image"),
        (GOOD | {"input_prompt": "x", "input_image": ["https://a.org/a.png"]}, "not_local"),
    ],
)
def test_an_odd_row_is_one_rejection(read_edits, edits, files, row, reason):
    edits[2] = row
    samples, rejected = read_edits(edits, files)
    assert [rejection.reason for rejection in rejected] == [reason]
    assert list(samples) == [f"images/{number}.target" for number in (0, 1, 3)]


def test_no_picture_stands_in_a_caption(read_edits, edits, files):
    edits[1]["input_prompt"] = "<image>\nturn it"
    edits[2]["input_prompt"] = " <image> "
    samples, rejected = read_edits(edits, files)
    assert samples["images/1.target"].captions == ("turn it",)
    assert [rejection.reason for rejection in rejected] == ["empty_caption"]


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\xff"])
def test_a_list_that_is_no_json_is_one_rejection(tmp_path, text, read_set):
    (tmp_path / EDITS).write_text(text, "latin-1")
    assert read_set(tmp_path) == ({}, [Rejected("", EDITS, "bad_json")])


@pytest.mark.parametrize("text", ["{}", "[1]", '[{"a": 1}]', '{"images": [], "annotations": [{}]}'])
def test_a_list_of_something_else_is_not_understood(tmp_path, text, read_set):
    (tmp_path / EDITS).write_text(text)
    with pytest.raises(UnknownLayoutError, match=f"{EDITS} must be"):
        read_set(tmp_path)
