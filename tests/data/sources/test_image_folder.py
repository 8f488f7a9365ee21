"""A folder with metadata.jsonl: captions, edits, and lines that are broken for themselves."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from pathlib import Path

import pytest

from ladder.data.shards import Sample
from ladder.data.sources.json_lists import FOLDER
from ladder.data.sources.open import open_raw
from ladder.data.sources.record import Record, Rejected


@pytest.fixture
def folder(write_files) -> Path:
    return write_files({f"train/{number}.png": number for number in range(4)})


def test_captions_and_edits(folder, picture, read_set, write_list):
    """One picture may be the target of one row and the source of others."""
    rows = [
        {"file_name": "train/0.png", "text": "caption"},
        {"file_name": "train/1.png", "text": "edit", "source_image": "train/0.png"},
        {
            "file_name": "train/2.png",
            "text": "both",
            "source_image": ["train/0.png", "./train/1.png"],
        },
    ]
    write_list(folder / FOLDER, rows)
    samples, rejected = read_set(folder)
    assert rejected == []
    assert list(samples.values()) == [
        Sample("train/0", ("caption",), picture(0)),
        Sample("train/1", ("edit",), picture(1), (picture(0),)),
        Sample("train/2", ("both",), picture(2), (picture(0), picture(1))),
    ]


def test_faults(folder):
    good = {"file_name": "train/0.png", "text": "x"}
    lines = [
        json.dumps(good),
        "",
        json.dumps(good | {"file_name": "train/9.png"}),
        json.dumps(good | {"file_name": None}),
        json.dumps(good | {"file_name": "train/1.png", "source_image": None}),
        json.dumps(good | {"file_name": "train/2.png", "text": None}),
        json.dumps(good | {"file_name": "/etc/passwd"}),
        json.dumps(good),
        "[1]",
        '{"file_name": "train/3',
    ]
    data = "\n".join(lines).encode() + b'\n{"file_name": "\xff"}\n'
    (folder / FOLDER).write_bytes(data)
    (shard,) = open_raw(folder)
    records = shard.records()
    assert len(records) == 10
    assert Counter(getattr(record, "reason", "kept") for record in records) == {
        "kept": 1,
        "no_image": 3,
        "no_caption": 1,
        "unsafe_member": 1,
        "duplicate_key": 1,
        "bad_json": 2,
        "bad_encoding": 1,
    }
    assert records[-1] == Rejected("0000009", FOLDER, "bad_encoding")


@pytest.mark.parametrize("change", [{"source_image": 3}, {"text": [3]}])
def test_a_row_of_another_form_is_one_rejection(folder, change, write_list):
    good = {"file_name": "train/0.png", "text": "x"}
    odd = {"file_name": "train/1.png", "text": "x", "source_image": "train/2.png"} | change
    edit = good | {"source_image": "train/2.png"}
    write_list(folder / FOLDER, [edit, odd])
    records = open_raw(folder)[0].records()
    assert [getattr(record, "reason", "kept") for record in records] == ["kept", "bad_row"]


def test_records_go_to_other_processes(write_files, write_list):
    folder = write_files({"a.png": 0})
    write_list(folder / FOLDER, [{"file_name": "a.png", "text": "x"}])
    (record,) = open_raw(folder)[0].records()
    assert isinstance(record, Record)
    assert pickle.loads(pickle.dumps(record)) == record
    assert pickle.loads(pickle.dumps(open_raw(folder))) == open_raw(folder)
