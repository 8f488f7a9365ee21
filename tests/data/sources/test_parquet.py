"""Tables of edits: every layout as it is published, faults by row, columns and whole files."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ladder.data.shards import Sample
from ladder.data.sources import parquet
from ladder.data.sources.open import open_raw, survey
from ladder.data.sources.record import Record, Rejected, UnknownLayoutError

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SCORES = {
    "width": 32,
    "height": 32,
    "sc_score_1": 9,
    "sc_score_2": 8,
    "pq_score": 7,
    "o_score": 7.5,
}
OMNIEDIT = pa.schema(
    [
        ("omni_edit_id", pa.string()),
        ("task", pa.string()),
        ("src_img", IMAGE),
        ("edited_img", IMAGE),
        ("edited_prompt_list", pa.list_(pa.string())),
        *((name, pa.int64()) for name in SCORES if name != "o_score"),
        ("sc_reasoning", pa.string()),
        ("o_score", pa.float64()),
    ]
)
HQEDIT = pa.schema(
    [
        ("input_image", IMAGE),
        ("edit", pa.string()),
        ("inverse_edit", pa.string()),
        ("output_image", IMAGE),
    ]
)
METAQUERY = pa.schema(
    [
        ("source_images", pa.list_(IMAGE)),
        ("source_captions", pa.list_(pa.string())),
        ("prompt", pa.string()),
        ("target_image", IMAGE),
        ("target_caption", pa.string()),
    ]
)


@pytest.fixture
def cell(picture, image_file):
    """Seed of a picture -> its cell in a table, as Hugging Face writes it."""
    return lambda seed: {"bytes": image_file(picture(seed)), "path": f"{seed}.png"}


@pytest.fixture
def omniedit(cell) -> list[dict]:
    return [
        {
            "omni_edit_id": f"task_{number}",
            "task": "swap",
            "src_img": cell(number),
            "edited_img": cell(number + 10),
            "edited_prompt_list": [f"swap {number}", f"further {number}"],
            **SCORES,
            "sc_reasoning": "none",
        }
        for number in range(5)
    ]


@pytest.fixture
def hqedit(cell) -> list[dict]:
    return [
        {
            "input_image": cell(number),
            "edit": f"there {number}",
            "inverse_edit": f"back {number}",
            "output_image": cell(number + 10),
        }
        for number in range(3)
    ]


@pytest.fixture
def metaquery(cell) -> list[dict]:
    return [
        {
            "source_images": [cell(10 * number + item) for item in range(number + 1)],
            "source_captions": [f"source {item}" for item in range(number + 1)],
            "prompt": f"prompt {number}",
            "target_image": cell(number + 50),
            "target_caption": f"target {number}",
        }
        for number in range(3)
    ]


def write(path: Path, rows: list[dict], schema: pa.Schema, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), path, **options)
    return path


def test_omniedit(tmp_path, omniedit, picture, read_set):
    """Several tables of several row groups each, in the order of their names."""
    write(tmp_path / "data/train-00001-of-00002.parquet", omniedit[:1], OMNIEDIT)
    rows = omniedit[1:]
    write(tmp_path / "data/train-00000-of-00002.parquet", rows, OMNIEDIT, row_group_size=2)
    shards = open_raw(tmp_path)
    assert [shard.name for shard in shards] == [
        f"data/train-{number:05d}-of-00002.parquet" for number in range(2)
    ]
    samples, rejected = read_set(tmp_path)
    assert rejected == []
    assert list(samples) == [f"task_{number}" for number in (1, 2, 3, 4, 0)]
    for number in range(5):
        assert samples[f"task_{number}"] == Sample(
            f"task_{number}",
            (f"swap {number}", f"further {number}"),
            picture(number + 10),
            (picture(number),),
            {"task": "swap", **SCORES},
        )


def test_large_types_are_the_same(tmp_path, omniedit, read_set):
    """As polars writes texts and bytes."""
    large = {
        pa.string(): pa.large_string(),
        IMAGE: pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())]),
        pa.list_(pa.string()): pa.large_list(pa.large_string()),
    }
    schema = pa.schema([(field.name, large.get(field.type, field.type)) for field in OMNIEDIT])
    write(tmp_path / "large/a.parquet", omniedit, schema)
    write(tmp_path / "small/a.parquet", omniedit, OMNIEDIT)
    assert read_set(tmp_path / "large") == read_set(tmp_path / "small")


def test_hqedit_gives_the_edit_and_its_inverse(tmp_path, hqedit, picture, read_set):
    write(tmp_path / "a.parquet", hqedit, HQEDIT, row_group_size=2)
    samples, rejected = read_set(tmp_path)
    assert rejected == []
    expected = []
    for number in range(3):
        key, before, after = f"{number:07d}", picture(number), picture(number + 10)
        expected += [
            Sample(key, (f"there {number}",), after, (before,)),
            Sample(f"{key}.inverse", (f"back {number}",), before, (after,)),
        ]
    assert list(samples.values()) == expected


@pytest.mark.parametrize("compliant", [True, False])
def test_metaquery_has_several_sources(tmp_path, metaquery, picture, read_set, compliant):
    path = tmp_path / "a.parquet"
    write(path, metaquery, METAQUERY, row_group_size=2, use_compliant_nested_type=compliant)
    samples, rejected = read_set(tmp_path)
    assert rejected == []
    for number, sample in enumerate(samples.values()):
        assert sample == Sample(
            f"{number:07d}",
            (f"prompt {number}",),
            picture(number + 50),
            tuple(picture(10 * number + item) for item in range(number + 1)),
            {
                "source_captions": [f"source {item}" for item in range(number + 1)],
                "target_caption": f"target {number}",
            },
        )


@pytest.mark.parametrize(
    ("change", "key", "reason"),
    [
        ({"src_img": None}, "task_2", "no_image"),
        ({"edited_img": {"bytes": None, "path": "elsewhere.png"}}, "task_2", "no_image"),
        ({"edited_img": {"bytes": b"", "path": None}}, "task_2", "undecodable"),
        ({"src_img": {"bytes": b"garbage", "path": None}}, "task_2", "undecodable"),
        ({"edited_prompt_list": None}, "task_2", "no_caption"),
        ({"edited_prompt_list": []}, "task_2", "no_caption"),
        ({"edited_prompt_list": ["x", None]}, "task_2", "no_caption"),
        ({"edited_prompt_list": [" "]}, "task_2", "empty_caption"),
        ({"omni_edit_id": "task_0"}, "task_0", "duplicate_key"),
    ],
)
def test_faults_of_rows(tmp_path, omniedit, read_set, change, key, reason):
    omniedit[2] |= change
    write(tmp_path / "a.parquet", omniedit, OMNIEDIT, row_group_size=2)
    samples, rejected = read_set(tmp_path)
    assert rejected == [Rejected(key, "a.parquet", reason)]
    assert list(samples) == [f"task_{number}" for number in (0, 1, 3, 4)]


def test_a_row_without_an_id_goes_by_its_number(tmp_path, omniedit, read_set):
    omniedit[3]["omni_edit_id"] = None
    write(tmp_path / "a.parquet", omniedit, OMNIEDIT, row_group_size=2)
    samples, _ = read_set(tmp_path)
    assert [*samples][3] == "0000003"


def test_each_way_of_a_row_has_its_own_verdict(tmp_path, hqedit, read_set):
    hqedit[0]["inverse_edit"] = None
    hqedit[1]["edit"] = ""
    hqedit[2]["output_image"] = None
    write(tmp_path / "a.parquet", hqedit, HQEDIT)
    samples, rejected = read_set(tmp_path)
    assert list(samples) == ["0000000", "0000001.inverse"]
    assert [(rejection.key, rejection.reason) for rejection in rejected] == [
        ("0000000.inverse", "no_caption"),
        ("0000001", "empty_caption"),
        ("0000002", "no_image"),
        ("0000002.inverse", "no_image"),
    ]


@pytest.mark.parametrize("sources", [None, [], [None]])
def test_sources_that_are_none(tmp_path, metaquery, read_set, sources):
    metaquery[1]["source_images"] = sources
    write(tmp_path / "a.parquet", metaquery, METAQUERY)
    samples, rejected = read_set(tmp_path)
    assert rejected == [Rejected("0000001", "a.parquet", "no_image")]
    assert len(samples) == 2


def test_words_that_are_not_utf8(tmp_path, hqedit, omniedit, read_set):
    """Arrow takes the file's word for it that its texts are UTF-8."""
    lengths, latin = pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xffc")
    table = pa.Table.from_pylist(hqedit, HQEDIT)
    table = table.set_column(1, "edit", pa.StringArray.from_buffers(3, lengths, latin))
    pq.write_table(table, tmp_path / "a.parquet")
    table = pa.Table.from_pylist(omniedit[:3], OMNIEDIT)
    table = table.set_column(0, "omni_edit_id", pa.StringArray.from_buffers(3, lengths, latin))
    pq.write_table(table, tmp_path / "b.parquet")
    samples, rejected = read_set(tmp_path)
    assert len(samples) == 7
    assert rejected == [
        Rejected("0000001", "a.parquet", "bad_encoding"),
        Rejected("\\udcff", "b.parquet", "bad_encoding"),
    ]


@pytest.mark.parametrize("damage", ["html", "empty", "truncated", "page"])
def test_a_file_that_is_no_table(tmp_path, hqedit, read_set, damage):
    """It is reported, and the tables after it are read."""
    write(tmp_path / "b.parquet", hqedit, HQEDIT)
    data = write(tmp_path / "a.parquet", hqedit, HQEDIT).read_bytes()
    words = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0).column(2)
    start = words.dictionary_page_offset
    damaged = {
        "html": b"<!DOCTYPE html><html>403</html>" * 50,
        "empty": b"",
        "truncated": data[:-100],
        "page": data[:start] + b"\xff" * 20 + data[start + 20 :],
    }
    (tmp_path / "a.parquet").write_bytes(damaged[damage])
    samples, rejected = read_set(tmp_path)
    assert rejected == [Rejected("", "a.parquet", "not_a_parquet")]
    assert len(samples) == 6


def test_damaged_pictures_are_undecodable(tmp_path, hqedit, read_set):
    """Damage in a column of pictures costs the row group, and no other."""
    path = write(tmp_path / "a.parquet", hqedit, HQEDIT, row_group_size=2)
    column = pq.ParquetFile(path).metadata.row_group(0).column(0)
    start = column.dictionary_page_offset
    data = path.read_bytes()
    path.write_bytes(data[:start] + b"\xff" * 20 + data[start + 20 :])
    samples, rejected = read_set(tmp_path)
    assert Counter(rejection.reason for rejection in rejected) == {"undecodable": 4}
    assert list(samples) == ["0000002", "0000002.inverse"]


@pytest.mark.parametrize(
    "schema",
    [
        pa.schema([("number", pa.int64())]),
        pa.schema([("text", pa.string())]),
        pa.schema([("image", IMAGE), ("label", pa.int64())]),
    ],
)
def test_columns_of_no_layout_name_what_was_there(tmp_path, schema):
    path = write(tmp_path / "a.parquet", [dict.fromkeys(schema.names)], schema)
    with pytest.raises(UnknownLayoutError, match=f"{re.escape(str(path))} must have .*, but has"):
        open_raw(tmp_path)[0].records()


def test_usual_names(tmp_path, cell, picture, read_set):
    """InstructPix2Pix, and pictures with captions as Hugging Face keeps them."""
    row = {
        "original_prompt": "a cat",
        "original_image": cell(0),
        "edit_prompt": "make it a dog",
        "edited_prompt": "a dog",
        "edited_image": cell(1),
    }
    kinds = [(name, IMAGE if "image" in name else pa.string()) for name in row]
    write(tmp_path / "edits/data/a.parquet", [row], pa.schema(kinds))
    samples, rejected = read_set(tmp_path / "edits")
    assert rejected == []
    assert samples == {"0000000": Sample("0000000", ("make it a dog",), picture(1), (picture(0),))}
    pairs = pa.schema([("image", IMAGE), ("text", pa.string())])
    write(tmp_path / "pairs/a.parquet", [{"image": cell(3), "text": "a cat"}], pairs)
    samples, rejected = read_set(tmp_path / "pairs")
    assert rejected == []
    assert samples == {"0000000": Sample("0000000", ("a cat",), picture(3))}


def test_paths_beside_tars(tmp_path, write_tar, picture, image_file, read_set):
    """ImgEdit: tables of paths, the pictures in tars of other folders."""
    paths = pa.list_(pa.string())
    kinds = [("input_images", paths), ("output_images", paths), ("prompt", pa.string())]
    rows = [
        {
            "input_images": [f"add/{number}/original.png"],
            "output_images": [f"add/{number}/result.png"],
            "prompt": f"add {number}",
        }
        for number in range(3)
    ]
    write(tmp_path / "raw/parquet/add.parquet", rows, pa.schema(kinds))
    members = [
        (f"add/{number}/{part}.png", image_file(picture(10 * number + place)))
        for number in range(3)
        for place, part in enumerate(("original", "result"))
    ]
    write_tar(tmp_path / "raw/Singleturn/add.tar", members[:-1])
    samples, rejected = read_set(tmp_path / "raw")
    assert [*samples] == [f"add/{number}/result" for number in range(2)]
    assert samples["add/1/result"].sources == (picture(10),)
    assert [rejection.reason for rejection in rejected] == ["no_image"]


@pytest.mark.parametrize("splits", [False, True])
def test_what_datasets_saves(tmp_path, picture, read_set, splits):
    import datasets

    rows = {"image": [picture(0), picture(1)], "text": ["zero", "one"]}
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    table = datasets.Dataset.from_dict(rows, features)
    saved = datasets.DatasetDict({"train": table}) if splits else table
    saved.save_to_disk(tmp_path / "raw")
    assert survey(tmp_path / "raw").rest == frozenset()
    samples, rejected = read_set(tmp_path / "raw")
    assert rejected == []
    assert [sample.captions for sample in samples.values()] == [("zero",), ("one",)]
    assert [sample.target for sample in samples.values()] == [picture(0), picture(1)]


@pytest.mark.parametrize(
    "kind", [pa.dictionary(pa.int32(), pa.string()), pa.string_view(), pa.large_string(), pa.null()]
)
def test_texts_of_every_type(tmp_path, cell, read_set, kind):
    """As pandas and polars write them; a column of nothing but nulls has no type."""
    said = pa.array([None, None] if kind == pa.null() else ["a cat", "a dog"], pa.string())
    said = pa.nulls(2) if kind == pa.null() else said.cast(kind)
    images = pa.array([cell(0), cell(1)], IMAGE)
    pq.write_table(pa.table({"image": images, "text": said}), tmp_path / "a.parquet")
    samples, rejected = read_set(tmp_path)
    if kind == pa.null():
        assert [rejection.reason for rejection in rejected] == ["no_caption"] * 2
    else:
        assert [sample.captions for sample in samples.values()] == [("a cat",), ("a dog",)]


def test_columns_of_one_name(tmp_path, cell, read_set):
    """The first of them counts."""
    columns = [pa.array([cell(0)], IMAGE), pa.array(["one"]), pa.array(["two"])]
    pq.write_table(pa.table(columns, ["image", "text", "text"]), tmp_path / "a.parquet")
    samples, rejected = read_set(tmp_path)
    assert rejected == []
    assert [sample.captions for sample in samples.values()] == [("one",)]


def test_pictures_are_not_read_for_the_list_and_once_for_the_samples(
    tmp_path, omniedit, monkeypatch
):
    write(tmp_path / "a.parquet", omniedit, OMNIEDIT, row_group_size=2)
    wanted: list[tuple[int, tuple[str, ...]]] = []

    class Watched(pq.ParquetFile):
        """Writes down what is read."""

        def read_row_group(self, row_group, columns):
            wanted.append((row_group, tuple(columns)))
            return super().read_row_group(row_group, columns)

    monkeypatch.setattr(parquet.pq, "ParquetFile", Watched)
    records = open_raw(tmp_path)[0].records()
    assert not [columns for _, columns in wanted if {"src_img", "edited_img"} & {*columns}]
    wanted.clear()
    assert all(isinstance(record.load(10_000), Sample) for record in records)
    pictures = [("src_img",), ("edited_img",)]
    assert wanted == [(group, columns) for group in range(3) for columns in pictures]


def test_records_go_to_other_processes(tmp_path, hqedit):
    write(tmp_path / "a.parquet", hqedit, HQEDIT)
    records = open_raw(tmp_path)[0].records()
    copies = pickle.loads(pickle.dumps(records))
    assert copies == records
    assert all(isinstance(record, Record) for record in records)
    assert [copy.load(10_000) for copy in copies] == [record.load(10_000) for record in records]
    assert len(pickle.dumps(records)) < len(hqedit[0]["input_image"]["bytes"]) + 2000
