"""Curation accounts for every record, and no picture ever lies on both sides of the split."""

from __future__ import annotations

import json
import random
import tempfile
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.stored import read_shards

from ladder.config.load import Curation
from ladder.data.curation import curate as module
from ladder.data.curation.curate import curate
from ladder.data.shards import SPLITS
from ladder.data.sources.open import EDITS

CURATION = Curation(
    minimum_side=28,
    maximum_pixels=1_000_000,
    maximum_aspect=8.0,
    captions=True,
    maximum_caption=4000,
    edits=True,
    edit_aspect=1.25,
    duplicates=True,
    near_duplicates=None,
    near_captions=None,
    decontaminate="none",
    similarity=90.0,
    prompts=None,
    evaluation_share=0.3,
    workers=0,
    scheduler=None,
)


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    """They take a second each time, and have tests of their own."""
    monkeypatch.setattr(module, "save_figures", lambda *_: None)


@pytest.fixture
def raw(tmp_path, write_tar, picture, image_file) -> Path:
    """Two sets: 60 pictures in three tars with faults among them, and 20 edits."""
    for shard in range(3):
        members = []
        for number in range(20 * shard, 20 * shard + 20):
            members += [
                (f"{number:03d}.png", image_file(picture(number))),
                (f"{number:03d}.txt", f"caption {number}".encode()),
            ]
        write_tar(tmp_path / f"raw/t2i/{shard:05d}.tar", members)
    faulty = [
        ("small.png", image_file(picture(70, (40, 27)))),
        ("small.txt", b"x"),
        ("broken.png", b"x"),
        ("broken.txt", b"x"),
        ("again.png", image_file(picture(5), "WEBP", lossless=True)),
        ("again.txt", b"the picture of 005 in another format"),
        ("alone.png", image_file(picture(71))),
        ("000.png", image_file(picture(72))),
        ("000.txt", b"a key of another shard"),
    ]
    write_tar(tmp_path / "raw/t2i/00003.tar", faulty)
    (tmp_path / "raw/t2i/00004.tar").write_bytes(b"")
    write_edits(tmp_path / "raw/edits", image_file, picture, range(20))
    return tmp_path / "raw"


def write_edits(folder: Path, image_file, picture, numbers) -> None:
    folder.mkdir(parents=True)
    rows = []
    for number in numbers:
        for part, seed in (("source", number), ("target", number + 500)):
            (folder / f"{number}.{part}.png").write_bytes(image_file(picture(seed)))
        names = [f"{number}.source.png"], f"{number}.target.png"
        rows.append({"input_prompt": "turn it", "input_image": names[0], "output_image": names[1]})
    (folder / EDITS).write_text(json.dumps(rows))


def pixels(folder: Path) -> list[bytes]:
    return [sample.target.tobytes() for sample in read_shards(folder)]


def rejections(out: Path) -> dict[str, list[dict]]:
    """By set: key, shard and reason of what was rejected."""
    rows = pq.read_table(out / "decisions.parquet").to_pylist()
    found: dict[str, list[dict]] = {}
    for row in rows:
        if row["reason"]:
            entry = {name: row[name] for name in ("key", "shard", "reason")}
            found.setdefault(row["set"], []).append(entry)
    return found


def report_of(out: Path) -> dict:
    return json.loads((out / "report.json").read_text())


def test_kept_and_rejected_are_all_that_was_read(tmp_path, raw):
    curate(raw, tmp_path / "out", CURATION)
    report = report_of(tmp_path / "out")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    t2i = report["sets"]["t2i"]
    assert t2i["reasons"] == {
        "duplicate": 1, "no_caption": 1, "not_a_tar": 1, "too_small": 1, "undecodable": 1,
    }  # fmt: skip
    assert (t2i["read"], t2i["kept"], t2i["rejected"]) == (66, 61, 5)
    assert t2i["shards"]["00003.tar"]["read"] == 5
    decisions = rejections(tmp_path / "out")
    assert {"key": "again", "shard": "00003.tar", "reason": "duplicate"} in decisions["t2i"]
    assert report["total"]["read"] == 86
    accounts = [report["total"], *report["sets"].values()]
    accounts += [shard for entry in report["sets"].values() for shard in entry["shards"].values()]
    for account in accounts:
        assert account["kept"] + account["rejected"] == account["read"]
        assert sum(account["reasons"].values()) == account["rejected"]
    for name, entry in report["sets"].items():
        written = {s: len(pixels(tmp_path / "out" / name / s)) for s in SPLITS}
        assert sum(written.values()) == entry["kept"]
        assert written == {split: manifest["sets"][name][split] for split in SPLITS}
        assert len(decisions.get(name, [])) == entry["rejected"]


def test_kept_samples_are_unchanged(tmp_path, raw, picture):
    curate(raw, tmp_path / "out", CURATION)
    samples = [s for split in SPLITS for s in read_shards(tmp_path / "out/t2i" / split)]
    found = {sample.key: sample for sample in samples}
    assert len(found) == 61, "keys repeated in other shards stay apart"
    for number in range(60):
        sample = found[f"{number // 20:05d}/{number:03d}"]
        assert sample.target == picture(number)
        assert sample.captions == (f"caption {number}",)
    edits = [s for split in SPLITS for s in read_shards(tmp_path / "out/edits" / split)]
    for sample in edits:
        number = int(sample.key.split("/")[1].split(".")[0])
        assert (sample.sources, sample.target) == ((picture(number),), picture(number + 500))


def test_no_picture_that_was_not_given(tmp_path, raw, picture):
    """No placeholder: what comes out is pixel for pixel something that went in."""
    curate(raw, tmp_path / "out", CURATION)
    given = {picture(number).tobytes() for number in range(1000)}
    black = Image.new("RGB", (32, 32)).tobytes()
    for folder in (tmp_path / "out").glob("*/*"):
        for sample in read_shards(folder) if folder.is_dir() else ():
            for image in (sample.target, *sample.sources):
                assert image.tobytes() in given
                assert image.tobytes() != black


@given(
    copies=st.lists(st.integers(0, 9), min_size=1, max_size=40),
    share=st.floats(0, 0.9),
    duplicates=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_a_duplicate_never_crosses_the_split(
    write_tar, picture, image_file, copies, share, duplicates
):
    """Whatever the order, the keys, the captions and the file format of the copies."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        members = []
        for place, number in enumerate(copies):
            data = image_file(picture(number), compress_level=place % 9)
            members += [(f"{place}.png", data), (f"{place}.txt", f"caption {place}".encode())]
        write_tar(folder / "raw/set/0.tar", members)
        curation = replace(CURATION, duplicates=duplicates, evaluation_share=share)
        curate(folder / "raw", folder / "out", curation)
        train, evaluation = (pixels(folder / "out/set" / split) for split in SPLITS)
        assert not set(train) & set(evaluation)
        assert len(train) + len(evaluation) == (len(set(copies)) if duplicates else len(copies))


def test_the_split_depends_on_the_picture_not_on_position_or_set(
    tmp_path, write_tar, picture, image_file
):
    numbers = list(range(60))
    sides = []
    for trial in range(3):
        random.Random(trial).shuffle(numbers)
        members = []
        for place, number in enumerate(numbers[: 60 - 10 * trial]):
            members += [(f"{place}.png", image_file(picture(number))), (f"{place}.txt", b"x")]
        folder = tmp_path / str(trial)
        write_tar(folder / f"raw/set{trial}/0.tar", members)
        curate(folder / "raw", folder / "out", CURATION)
        sides.append({data: s for s in SPLITS for data in pixels(folder / f"out/set{trial}" / s)})
    common = set.intersection(*map(set, sides))
    assert len(common) > 20
    for data in common:
        assert len({side[data] for side in sides}) == 1, "a picture changed sides"


def test_the_held_out_share(tmp_path, write_tar, picture, image_file):
    members = []
    for number in range(1000):
        members += [(f"{number}.png", image_file(picture(number))), (f"{number}.txt", b"x")]
    write_tar(tmp_path / "raw/set/0.tar", members)
    curate(tmp_path / "raw", tmp_path / "out", CURATION)
    held_out = len(pixels(tmp_path / "out/set/evaluation"))
    assert abs(held_out - 300) < 5 * (1000 * 0.3 * 0.7) ** 0.5


def test_an_edit_is_a_duplicate_only_as_a_whole(tmp_path, picture, image_file):
    """The same pictures under another instruction are another edit, on the same side."""
    folder = tmp_path / "raw/edits"
    write_edits(folder, image_file, picture, range(20))
    rows = json.loads((folder / EDITS).read_text())
    for row in list(rows):
        copy = folder / row["output_image"].replace("target", "copy")
        copy.write_bytes((folder / row["output_image"]).read_bytes())
        rows.append(row | {"output_image": copy.name, "input_prompt": "another"})
    again = folder / "again.png"
    again.write_bytes((folder / rows[0]["output_image"]).read_bytes())
    rows.append(rows[0] | {"output_image": again.name})
    (folder / EDITS).write_text(json.dumps(rows))
    curate(tmp_path / "raw", tmp_path / "out", CURATION)
    report = report_of(tmp_path / "out")["sets"]["edits"]
    assert report["kept"] == 40
    again = {"key": "again", "shard": EDITS, "reason": "duplicate"}
    assert rejections(tmp_path / "out") == {"edits": [again]}
    train, evaluation = (set(pixels(tmp_path / "out/edits" / split)) for split in SPLITS)
    assert train
    assert evaluation
    assert not train & evaluation


def test_same_input_gives_same_bytes(tmp_path, raw):
    for name in ("one", "two"):
        curate(raw, tmp_path / name, CURATION)
    same_bytes(tmp_path / "one", tmp_path / "two")


def test_the_data_hash_sees_captions(tmp_path, write_tar, picture, image_file):
    hashes = set()
    for caption in (b"one", b"two"):
        folder = tmp_path / caption.decode()
        members = [("a.png", image_file(picture(0))), ("a.txt", caption)]
        write_tar(folder / "raw/set/0.tar", members)
        curate(folder / "raw", folder / "out", CURATION)
        hashes.add(json.loads((folder / "out/manifest.json").read_text())["hash"])
    assert len(hashes) == 2


def test_it_never_writes_into_the_output_of_others(tmp_path, raw):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("x")
    with pytest.raises(ValueError, match=r"must be empty or of an earlier curation.*mine.txt"):
        curate(raw, tmp_path / "out", CURATION)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_second_run_does_nothing(tmp_path, raw, monkeypatch):
    curate(raw, tmp_path / "out", CURATION)
    monkeypatch.setattr("ladder.data.curation.curate.map_unordered", None)
    curate(raw, tmp_path / "out", CURATION)


def test_other_settings_or_files_begin_anew(tmp_path, raw, write_tar, picture, image_file):
    curate(raw, tmp_path / "out", CURATION)
    curate(raw, tmp_path / "out", replace(CURATION, minimum_side=40))
    assert report_of(tmp_path / "out")["total"]["kept"] == 0
    more = [("new.png", image_file(picture(99))), ("new.txt", b"x")]
    write_tar(raw / "t2i/00009.tar", more)
    curate(raw, tmp_path / "out", CURATION)
    assert report_of(tmp_path / "out")["sets"]["t2i"]["read"] == 67


@pytest.mark.parametrize("step", ["_examine", "write_shelf", "decide", "summarize"])
def test_what_was_stopped_goes_on(tmp_path, raw, monkeypatch, step):
    """Stopped in the midst of each step, it ends with the same bytes, and repeats no chunk."""
    monkeypatch.setattr(module, "CHUNK", 7)
    curate(raw, tmp_path / "whole", CURATION)
    real, calls = getattr(module, step), []

    def stopping(*arguments):
        calls.append(arguments[-1])
        if len(calls) == 4 or step in ("decide", "summarize"):
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, step, stopping)
        with pytest.raises(KeyboardInterrupt):
            curate(raw, tmp_path / "out", CURATION)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / ".out").rglob("*.parquet")}
    curate(raw, tmp_path / "out", CURATION)
    again = [path for path in written if path.exists() and path.stat().st_mtime_ns != written[path]]
    assert not again
    same_bytes(tmp_path / "whole", tmp_path / "out")


def same_bytes(one: Path, two: Path) -> None:
    files = {path.relative_to(one) for path in one.rglob("*") if path.is_file()}
    assert files == {path.relative_to(two) for path in two.rglob("*") if path.is_file()}
    for path in files:
        assert (one / path).read_bytes() == (two / path).read_bytes(), path


def test_a_new_shard_and_a_new_set_redo_nothing_else(
    tmp_path, raw, write_tar, picture, image_file, caplog
):
    """What there was is neither read nor written again, and the log says so beforehand."""
    caplog.set_level("INFO", "ladder.data.curation")
    curate(raw, tmp_path / "out", CURATION)
    before = times(tmp_path / "out", tmp_path / ".out/parts")
    write_tar(raw / "t2i/00009.tar", [("n.png", image_file(picture(99))), ("n.txt", b"x")])
    write_tar(raw / "new/0.tar", [("n.png", image_file(picture(98))), ("n.txt", b"x")])
    caplog.clear()
    curate(raw, tmp_path / "out", CURATION)
    said = [record.getMessage() for record in caplog.records]
    assert "edits: raw shards 1 as before" in said
    assert "new: raw shards 1 new" in said
    assert "t2i: raw shards 5 as before, 1 new" in said
    assert any("2 new, 0 written again, 0 removed" in line for line in said)
    after = times(tmp_path / "out", tmp_path / ".out/parts")
    assert {path: after[path] for path in before} == before
    assert len(after) == len(before) + 4


def times(out: Path, parts: Path) -> dict[Path, int]:
    files = [*out.glob("*/*/*.tar"), *parts.rglob("*.parquet")]
    return {path: path.stat().st_mtime_ns for path in files}


def test_another_setting_redoes_what_depends_on_it(tmp_path, raw, caplog):
    """Other shares look at no picture again; which shards of ours change is told before."""
    caplog.set_level("INFO", "ladder.data.curation")
    curate(raw, tmp_path / "out", CURATION)
    before = times(tmp_path / "out", tmp_path / ".out/parts")
    curate(raw, tmp_path / "out", replace(CURATION, evaluation_share=0.0))
    after = times(tmp_path / "out", tmp_path / ".out/parts")
    assert all(after[path] == at for path, at in before.items() if path.suffix == ".parquet")
    said = [record.getMessage() for record in caplog.records]
    assert "curation.evaluation_share was 0.3, and is 0.0" in said
    removed = [line for line in said if line.startswith("removed:")]
    assert removed
    assert all("evaluation" in line for line in removed)
    assert report_of(tmp_path / "out")["total"]["kept"] == 81
    curate(raw, tmp_path / "again", replace(CURATION, evaluation_share=0.0))
    same_bytes(tmp_path / "out", tmp_path / "again")


def test_what_was_stopped_under_other_settings_is_not_complete(tmp_path, raw, monkeypatch):
    curate(raw, tmp_path / "out", CURATION)
    other = replace(CURATION, minimum_side=40)

    def stopped(*_) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_examine", stopped)
        with pytest.raises(KeyboardInterrupt):
            curate(raw, tmp_path / "out", other)
    curate(raw, tmp_path / "out", other)
    assert report_of(tmp_path / "out")["total"]["kept"] == 0


def test_files_that_nobody_understands_are_named(tmp_path, raw):
    (raw / "t2i/notes.xyz").write_text("x")
    (raw / "t2i/config.json").write_text('{"a": 1}')
    (raw / "strange").mkdir()
    (raw / "strange/data.bin").write_bytes(b"x")
    curate(raw, tmp_path / "out", CURATION)
    sets = report_of(tmp_path / "out")["sets"]
    assert sets["t2i"]["unread"] == ["config.json", "notes.xyz"]
    assert sets["t2i"]["kept"] == 61
    assert sets["edits"]["unread"] == []
    assert (sets["strange"]["read"], sets["strange"]["unread"]) == (0, ["data.bin"])


def test_a_list_without_rows_is_named_and_a_tar_that_is_none_is_not(tmp_path, raw, write_list):
    """The tar has its verdict; of the list nothing is said but that it wasn't read."""
    (raw / "t2i/empty.csv").write_text("file_name,text\n")
    (raw / "t2i/mapping.yaml").write_text("files: lists/*.jsonl\nimage: a\ncaption: b\n")
    (raw / "edits/more.tar").write_bytes(b"none" * 999)
    curate(raw, tmp_path / "out", CURATION)
    sets = report_of(tmp_path / "out")["sets"]
    assert sets["t2i"]["unread"] == ["empty.csv"]
    assert sets["edits"]["unread"] == []
    assert sets["edits"]["reasons"]["not_a_tar"] == 1


@pytest.mark.parametrize("name", ["number=3", "reason=x", "set=1", "it's", "a [b]*?"])
def test_sets_of_any_name(tmp_path, raw, name):
    (raw / "t2i").rename(raw / name)
    curate(raw, tmp_path / name / "out", CURATION)
    sets = report_of(tmp_path / name / "out")["sets"]
    assert (sets[name]["read"], sets[name]["kept"]) == (66, 61)


def test_no_sets(tmp_path):
    with pytest.raises(ValueError, match="must hold a folder for each raw set"):
        curate(tmp_path, tmp_path / "out", CURATION)
