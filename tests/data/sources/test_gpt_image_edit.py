"""Conversations of GPT-Image-Edit beside trees of pictures, each fault under its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from ladder.data.shards import Sample
from ladder.data.sources.json_lists import TREES
from ladder.data.sources.open import open_raw


def row(instruction: str, *images: str | None) -> dict:
    return {
        "id": "1",
        "conversations": [
            {"from": "human", "value": instruction},
            {"from": "gpt", "value": "<image>"},
        ],
        "image": [*images],
    }


def test_lists_beside_trees(write_files, picture, read_set, write_list):
    """Paths are relative to the list's own tree; several lists use one tree."""
    files = {
        f"{tree}/{part}/{number}.png": 100 * place + 10 * number + (part == "output")
        for place, tree in enumerate(sorted(set(TREES.values())))
        for number in range(2)
        for part in ("input", "output")
    }
    folder = write_files(files)
    for name in TREES:
        rows = [
            row(f"<image>\nedit {number}", f"input/{number}.png", f"output/{number}.png")
            for number in range(2)
        ]
        write_list(folder / "training_json" / name, rows)
    shards = open_raw(folder)
    assert [shard.name for shard in shards] == [f"training_json/{name}" for name in sorted(TREES)]
    for shard in shards:
        tree = TREES[Path(shard.name).name]
        for number, record in enumerate(shard.records()):
            assert record.load(10_000) == Sample(
                f"{tree}/output/{number}",
                (f"edit {number}",),
                picture(files[f"{tree}/output/{number}.png"]),
                (picture(files[f"{tree}/input/{number}.png"]),),
            )


@pytest.mark.parametrize("name", ["hqedit_gpt_edit.json", "mine.json"])
def test_paths_may_name_the_tree(write_files, read_set, name, write_list):
    folder = write_files({"hqedit/edit/a.png": 0, "hqedit/edit/b.png": 1, "ultraedit/c.png": 2})
    rows = [row("x", "hqedit/edit/a.png", "hqedit/edit/b.png")]
    if name == "mine.json":
        rows.append(row("x", "ultraedit/c.png", "hqedit/edit/b.png", "hqedit/edit/a.png"))
    write_list(folder / "training_json" / name, rows)
    samples, rejected = read_set(folder)
    assert rejected == []
    assert [len(sample.sources) for sample in samples.values()] == [1, 2][: len(rows)]


@pytest.mark.parametrize(
    ("value", "instruction"),
    [
        ("<image>\nMake it red.", "Make it red."),
        ("Make it red. <image>", "Make it red."),
        ("Put <image> beside\n<image> at once", "Put beside at once"),
        ("two\nlines", "two\nlines"),
    ],
)
def test_placeholders_are_taken_out(write_files, read_set, value, instruction, write_list):
    folder = write_files({"a.png": 0, "b.png": 1})
    write_list(folder / "training_json/x.json", [row(value, "a.png", "b.png")])
    samples, _ = read_set(folder)
    assert samples["b"].captions == (instruction,)


def test_faults(write_files, read_set, write_list):
    folder = write_files({"a.png": 0, **{f"{number}.png": number for number in range(9)}})
    (folder / "8.png").write_bytes(b"garbage")
    rows = [
        row("good", "a.png", "0.png"),
        row("no source", "1.png"),
        row("none at all"),
        row("not there", "b.png", "2.png"),
        row("leads out", "../../a.png", "3.png"),
        row("<image>", "a.png", "4.png"),
        row("null", "a.png", "5.png") | {"conversations": None},
        row("nobody", "a.png", "6.png") | {"conversations": [{"from": "gpt"}]},
        row("again", "a.png", "0.png"),
        row("garbage", "a.png", "8.png"),
    ]
    write_list(folder / "training_json/x.json", rows)
    samples, rejected = read_set(folder)
    assert list(samples) == ["0"]
    assert [(rejection.key, rejection.reason) for rejection in rejected] == [
        ("1", "no_image"),
        ("0000002", "no_image"),
        ("2", "no_image"),
        ("3", "unsafe_member"),
        ("4", "empty_caption"),
        ("5", "no_caption"),
        ("6", "no_caption"),
        ("0", "duplicate_key"),
        ("8", "undecodable"),
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image": "a.png"}, "no_image"),
        ({"image": [3]}, "bad_row"),
        ({"conversations": ["x", 3]}, "bad_row"),
        ({"conversations": [{"from": "human"}]}, "no_caption"),
    ],
)
def test_a_row_of_another_form_is_one_rejection(write_files, read_set, change, reason, write_list):
    folder = write_files({"a.png": 0, "b.png": 1})
    rows = [row("x", "a.png", "b.png"), row("x", "b.png", "a.png") | change]
    write_list(folder / "training_json/x.json", rows)
    samples, rejected = read_set(folder)
    assert list(samples) == ["b"]
    assert [rejection.reason for rejection in rejected] == [reason]


def test_as_its_card_lays_it_out(write_files, read_set, picture, write_list):
    """A file for each edit in `metadata`, beside `input` and `output`; or one for many."""
    folder = write_files(
        {
            f"hqedit/edit/{part}/{number}.png": 10 * number + (part == "output")
            for number in range(3)
            for part in ("input", "output")
        }
    )
    metadata = folder / "hqedit/edit/metadata"
    write_list(metadata / "0.json", {"instruction": "edit 0", "input": "0.png", "output": "0.png"})
    write_list(metadata / "1.json", {"id": "1", "instruction": "edit 1"})
    named = {part: f"hqedit/edit/{part}/2.png" for part in ("input", "output")}
    write_list(metadata / "2.json", [named | {"instruction": "edit 2"}])
    (metadata / "3.json").write_text("{")
    write_list(metadata / "4.json", {"instruction": "no picture has this name"})
    samples, rejected = read_set(folder)
    for number in range(3):
        sample = samples[f"hqedit/edit/output/{number}"]
        assert sample.captions == (f"edit {number}",)
        assert (*sample.sources, sample.target) == (picture(10 * number), picture(10 * number + 1))
    assert [rejection.reason for rejection in rejected] == ["bad_json", "no_image"]
