"""Both lists of ShareGPT-4o-Image beside tars; each fault of captioned pictures under its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from ladder.data.shards import Sample
from ladder.data.sources.json_lists import EDITS, IMAGES
from ladder.data.sources.open import open_raw
from ladder.data.sources.record import Rejected, UnknownLayoutError


@pytest.fixture
def rows() -> list[dict]:
    return [
        {"input_prompt": f"caption {number}", "output_image": f"image/t2i_{number}.png"}
        for number in range(3)
    ]


@pytest.fixture
def folder(tmp_path, write_tar, picture, image_file) -> Path:
    """The pictures of three captions and of an edit, in tars, one of them broken off."""
    images = [(f"image/t2i_{number}.png", image_file(picture(number))) for number in range(3)]
    write_tar(tmp_path / "text_to_image_part_0.tar", images)
    edit = [("image/v2v_0.png", image_file(picture(10)))]
    write_tar(tmp_path / "text_and_image_to_image_part_0.tar", edit)
    (tmp_path / "text_and_image_to_image_part_1.tar").write_bytes(b"<html>")
    return tmp_path


def test_images_in_tars(folder, rows, picture, read_set, write_list):
    rows[1] |= {"captions": ["further"], "truth": {"colour": "red"}}
    write_list(folder / IMAGES, rows)
    samples, rejected = read_set(folder)
    assert rejected == [Rejected("", "text_and_image_to_image_part_1.tar", "not_a_tar")]
    assert samples == {
        f"image/t2i_{number}": Sample(
            f"image/t2i_{number}",
            (f"caption {number}", "further")[: 2 if number == 1 else 1],
            picture(number),
            truth={"colour": "red"} if number == 1 else None,
        )
        for number in range(3)
    }


def test_both_lists_share_pictures_and_count_faults_of_tars_once(
    folder, rows, read_set, write_list
):
    edit = {"input_prompt": "edit", "input_image": ["image/t2i_0.png", "image/t2i_1.png"]}
    write_list(folder / IMAGES, rows)
    write_list(folder / EDITS, [edit | {"output_image": "image/v2v_0.png"}])
    assert [shard.name for shard in open_raw(folder)] == [
        EDITS,
        IMAGES,
        "text_and_image_to_image_part_1.tar",
    ]
    samples, rejected = read_set(folder)
    assert list(samples) == ["image/v2v_0", *(f"image/t2i_{number}" for number in range(3))]
    assert samples["image/v2v_0"].sources[1] == samples["image/t2i_1"].target
    assert [rejection.reason for rejection in rejected] == ["not_a_tar"]


@pytest.mark.parametrize(
    ("change", "key", "reason"),
    [
        ({"output_image": None}, "0000002", "no_image"),
        ({"output_image": "image/t2i_9.png"}, "image/t2i_9", "no_image"),
        ({"output_image": "../t2i_2.png"}, "../t2i_2", "unsafe_member"),
        ({"output_image": "image/t2i_0.png"}, "image/t2i_0", "duplicate_key"),
        ({"output_image": "\ud800.png"}, "\\ud800", "bad_encoding"),
        ({"input_prompt": None}, "image/t2i_2", "no_caption"),
        ({"input_prompt": ""}, "image/t2i_2", "empty_caption"),
        ({"truth": "red"}, "image/t2i_2", "bad_json"),
    ],
)
def test_faults(folder, rows, read_set, change, key, reason, write_list):
    rows[2] |= change
    write_list(folder / IMAGES, rows)
    samples, rejected = read_set(folder)
    assert rejected[:-1] == [Rejected(key, IMAGES, reason)]
    assert len(samples) == 2


def test_a_null_source_of_an_edit(folder, read_set, write_list):
    row = {"input_prompt": "x", "output_image": "image/v2v_0.png"}
    write_list(folder / EDITS, [row | {"input_image": [None]}])
    _, rejected = read_set(folder)
    assert rejected[:-1] == [Rejected("image/v2v_0", EDITS, "no_image")]


def test_a_wrong_type_is_one_rejection(folder, rows, read_set, write_list):
    rows[1] |= {"input_prompt": 3}
    write_list(folder / IMAGES, rows)
    samples, rejected = read_set(folder)
    assert [rejection.reason for rejection in rejected[:-1]] == ["bad_row"]
    assert len(samples) == 2


@pytest.mark.parametrize("name", [IMAGES, "training_json/x.json"])
def test_a_list_that_is_none(tmp_path, read_set, name, write_list):
    write_list(tmp_path / name, [])
    (tmp_path / name).write_text("{")
    assert read_set(tmp_path) == ({}, [Rejected("", name, "bad_json")])
    for text in ("{}", "[1]"):
        (tmp_path / name).write_text(text)
        with pytest.raises(UnknownLayoutError, match=f"{name} must be"):
            read_set(tmp_path)
