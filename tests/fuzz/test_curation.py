"""Files of raw sets with changed bytes: every one has a verdict, none raises, hangs or vanishes.

A whole file of each kind is made once, and some of its bytes are changed, removed or repeated;
`make fuzz` takes ten thousand of each. Each is looked at as curation does it: listed, and every
record of it examined. What was read is what was kept and what was rejected.
"""

from __future__ import annotations

import io
import json
import random
import shutil
import tarfile
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from tests.data.curation.test_curate import CURATION
from tests.tiny import tiny_picture

from ladder.data.curation import curate as module
from ladder.data.curation.curate import curate
from ladder.data.curation.inspect import examine
from ladder.data.sources.open import survey
from ladder.data.sources.record import UnknownLayoutError

LOOKING = replace(CURATION, maximum_pixels=10_000, near_duplicates=4, near_captions=0.8)
TOGETHER = 100
"""Changed files that are curated at once."""

CHANGES = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from(["set", "cut", "double", "zero"]),
              st.binary(min_size=1, max_size=8)),
    min_size=1, max_size=4,
)  # fmt: skip


def changed(data: bytes, changes: list[tuple[float, str, bytes]]) -> bytes:
    held = bytearray(data)
    for place, how, patch in changes:
        at = int(place * len(held))
        if how == "set":
            held[at : at + len(patch)] = patch
        elif how == "cut":
            del held[at : at + patch[0]]
        elif how == "double":
            held[at:at] = held[at : at + 512 * patch[0]]
        else:
            held[at : at + 64 * patch[0]] = bytes(len(held[at : at + 64 * patch[0]]))
        held = held or bytearray(b"\0")
    return bytes(held)


@cache
def pictures() -> list[bytes]:
    """PNG of several modes, JPEG and WebP, with EXIF and colour profiles."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = tiny_picture(0)
    files = []
    for kind, image in [
        ("PNG", plain), ("PNG", plain.quantize(16)), ("PNG", plain.convert("LA")),
        ("PNG", Image.fromarray(np.arange(1024, dtype=np.uint16).reshape(32, 32) * 64)),
        ("JPEG", plain), ("JPEG", plain.convert("CMYK")), ("WEBP", plain),
    ]:  # fmt: skip
        file = io.BytesIO()
        image.save(file, kind, icc_profile=profile, exif=exif)
        files.append(file.getvalue())
    return files


@cache
def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as made:
        for number in range(3):
            long = "ä" * 60 if number == 1 else ""
            facts = json.dumps({"captions": ["further"]}).encode()
            for kind, data in (("png", pictures()[0]), ("txt", b"a cat"), ("json", facts)):
                info = tarfile.TarInfo(f"{number}{long}.{kind}")
                info.size = len(data)
                made.addfile(info, io.BytesIO(data))
    return file.getvalue()


@cache
def table() -> bytes:
    cells = [{"bytes": pictures()[number], "path": f"{number}.png"} for number in range(3)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    said = pa.array(["a cat", "a dog", None]).dictionary_encode()
    more = pa.array([["one"], [], None])
    file = io.BytesIO()
    held = pa.table({"image": pa.array(cells, kind), "text": said, "captions": more})
    pq.write_table(held, file, row_group_size=2)
    return file.getvalue()


def verdicts(name: str, data: bytes) -> list[dict] | None:
    """A row for every record of a set with that file; None for a file that is not understood."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "0.png").write_bytes(pictures()[0])
        (Path(folder) / "0.txt").write_text("a cat")
        (Path(folder) / name).write_bytes(data)
        found = []
        for shard in survey(Path(folder)).shards:
            try:
                records = shard.records()
            except UnknownLayoutError:
                return None
            rows = examine(records, shard.name, LOOKING, None).to_pylist()
            assert len(rows) == len(records), "every record has one verdict"
            found += rows
        for row in found:
            assert row["reason"] or row["content"], row
        return found


LIST = json.dumps([
    {"image": "0.png", "caption": "a cat", "captions": ["b"], "truth": {"a": [1.5]}},
    {"image": "0.png", "caption": None},
    {"image": ["0.png"], "caption": "\ud800"},
]).encode()  # fmt: skip
CSV = b'file_name,text\n0.png,a cat\n"0.png","a ""dog"""\n'
LISTS = {
    "a.json": LIST,
    "metadata.jsonl": LIST[1:-1].replace(b"}, {", b"}\n{"),
    "metadata.csv": CSV,
}


@given(st.integers(0, 6), CHANGES)
def test_a_picture_with_changed_bytes_is_kept_or_refused(which: int, changes):
    (row,) = verdicts("0.png", changed(pictures()[which], changes))
    assert row["reason"] in (None, "undecodable", "too_large", "animated", "too_small")


@given(CHANGES)
def test_a_tar_with_changed_bytes_has_verdicts(changes):
    assert verdicts("a.tar", changed(tar(), changes))


@given(CHANGES)
def test_a_table_with_changed_bytes_has_verdicts(changes):
    found = verdicts("a.parquet", changed(table(), changes))
    assert found is None or found


@given(st.sampled_from([*LISTS]), CHANGES)
def test_a_list_with_changed_bytes_has_verdicts(name: str, changes):
    found = verdicts(name, changed(LISTS[name], changes))
    assert found is None or isinstance(found, list)


def some_changes(rng: random.Random) -> list[tuple[float, str, bytes]]:
    """What CHANGES draws, without hypothesis: nothing is made smaller here."""
    hows = ["set", "cut", "double", "zero"]
    return [(rng.random(), rng.choice(hows), rng.randbytes(rng.randint(1, 8)))
            for _ in range(rng.randint(1, 4))]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pictures", "tars", "tables", "lists"])
def test_sets_with_changed_files_are_curated(kind: str, tmp_path, monkeypatch):
    """The whole of curation, of as many files as hypothesis would take."""
    monkeypatch.setattr(module, "save_figures", lambda *_: None)
    rng = random.Random(kind)
    whole = {
        "pictures": [("0.png", data) for data in pictures()],
        "tars": [("a.tar", tar())],
        "tables": [("a.parquet", table())],
        "lists": [*LISTS.items()],
    }[kind]
    for first in range(0, settings().max_examples, TOGETHER):
        raw, out = tmp_path / f"raw{first}", tmp_path / f"out{first}"
        names = {}
        for number in range(first, first + TOGETHER):
            folder = raw / f"{number:05d}"
            folder.mkdir(parents=True)
            (folder / "0.png").write_bytes(pictures()[0])
            (folder / "0.txt").write_text("a cat")
            name, data = rng.choice(whole)
            (folder / name).write_bytes(changed(data, some_changes(rng)))
            names[folder.name] = name
        curate(raw, out, LOOKING)
        report = json.loads((out / "report.json").read_text())
        assert report["sets"].keys() == names.keys()
        for name, account in report["sets"].items():
            assert account["read"] == account["kept"] + account["rejected"]
            assert account["read"] or names[name] in account["unread"], "the file has vanished"
        shutil.rmtree(raw)
        shutil.rmtree(out)
        shutil.rmtree(out.with_name(f".{out.name}"))
