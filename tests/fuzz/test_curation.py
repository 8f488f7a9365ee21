"""Files of raw sets with changed bytes: every one has a verdict, none raises, hangs or vanishes.

A whole file of each kind is made once, and some of its bytes are changed, removed or repeated;
`make fuzz` takes ten thousand of each. Checksums, which would keep most changes from all but the
first lines of a parser, are put right in half of the files. They are curated as `ladder curate`
does it, in a process of its own, since a library in C may also end that process, or never come
back. What was read is what was kept and what was rejected.
"""

from __future__ import annotations

import io
import json
import random
import shutil
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import settings
from PIL import Image, ImageCms
from tests.data.curation.test_curate import CURATION
from tests.data.making import with_sums_of_tar
from tests.tiny import tiny_picture

from ladder.data.curation.curate import curate

LOOKING = replace(CURATION, maximum_pixels=10_000, near_duplicates=4, near_captions=0.8)
TOGETHER = 1000
"""Changed files that are curated at once, as one set."""
PATIENCE = 900
"""Seconds that they may take; with a core of their own they take less than a minute."""


@cache
def pictures(seed: int) -> list[bytes]:
    """PNG of several modes, JPEG and WebP, with EXIF and colour profiles."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = tiny_picture(seed)
    files = []
    for kind, image in [
        ("PNG", plain), ("PNG", plain.quantize(16)), ("PNG", plain.convert("LA")),
        ("PNG", Image.fromarray(np.arange(1024, dtype=np.uint16).reshape(32, 32) * (seed + 1))),
        ("JPEG", plain), ("JPEG", plain.convert("CMYK")), ("WEBP", plain),
    ]:  # fmt: skip
        file = io.BytesIO()
        image.save(file, kind, icc_profile=profile, exif=exif)
        files.append(file.getvalue())
    return files


@cache
def tars(seed: int) -> list[bytes]:
    """With names that need an extended header, and without."""
    files = []
    for letter in ("a", "ä"):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as made:
            for number in range(3):
                long = letter * 60 if number == 1 else ""
                facts = json.dumps({"captions": ["further"]}).encode()
                for kind, data in (
                    ("png", pictures(seed + number)[0]),
                    ("txt", b"a cat %d" % seed),
                    ("json", facts),
                ):
                    info = tarfile.TarInfo(f"{number}{long}.{kind}")
                    info.size = len(data)
                    made.addfile(info, io.BytesIO(data))
        files.append(file.getvalue())
    return files


@cache
def tables(seed: int) -> list[bytes]:
    cells = [{"bytes": pictures(seed)[n], "path": f"{n}.png"} for n in range(3)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    said = pa.array([f"a cat {seed}", f"a dog {seed}", None]).dictionary_encode()
    more = pa.array([["one"], [], None])
    held = pa.table({"image": pa.array(cells, kind), "text": said, "captions": more})
    files = []
    for options in ({"row_group_size": 2}, {"compression": "none", "use_dictionary": False}):
        file = io.BytesIO()
        pq.write_table(held, file, **options)
        files.append(file.getvalue())
    return files


ROWS = [
    {"image": "whole.png", "caption": "a cat", "captions": ["b"], "truth": {"a": [1.5]}},
    {"image": "whole.png", "caption": None},
    {"image": ["whole.png"], "caption": "\ud800"},
]
LISTS = {
    "json": json.dumps(ROWS).encode(),
    "jsonl": "\n".join(map(json.dumps, ROWS)).encode(),
    "csv": b'file_name,text\nwhole.png,a cat\n"whole.png","a ""dog"""\n',
}


def changed(data: bytes, rng: random.Random) -> bytes:
    """One to four changes."""
    held = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at, patch = rng.randrange(len(held)), rng.randbytes(rng.randint(1, 8))
        how = rng.choice(["set", "set", "cut", "double", "zero", "end"])
        if how == "set":
            held[at : at + len(patch)] = patch
        elif how == "cut":
            del held[at : at + patch[0]]
        elif how == "double":
            held[at:at] = held[at : at + 512 * patch[0]]
        elif how == "zero":
            held[at : at + 64 * patch[0]] = bytes(len(held[at : at + 64 * patch[0]]))
        elif rng.random() < 0.2:
            del held[at:]
        held = held or bytearray(b"\0")
    return bytes(held)


def with_sums_of_png(data: bytes) -> bytes:
    """`data` with the checksums of the chunks of a PNG put right, as far as there are chunks."""
    held, place = bytearray(data), 8
    while place + 12 <= len(held):
        end = place + 8 + int.from_bytes(held[place : place + 4], "big")
        held[end : end + 4] = zlib.crc32(held[place + 4 : end]).to_bytes(4, "big")
        place = end + 4
    return bytes(held)


Named = list[tuple[str, bytes]]
KINDS: dict[str, tuple[Callable[[int], Named], Callable[[bytes], bytes]]] = {
    "pictures": (lambda seed: [("png", data) for data in pictures(seed)], with_sums_of_png),
    "tars": (lambda seed: [("tar", data) for data in tars(seed)], with_sums_of_tar),
    "tables": (lambda seed: [("parquet", data) for data in tables(seed)], bytes),
    "lists": (lambda _: [*LISTS.items()], bytes),
}
"""Of each kind whole files with their extensions, and what puts the checksums right."""
SEEDS = 40
"""Other pictures, since what repeats another file isn't written."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_changed_file_has_a_verdict(kind: str, tmp_path: Path):
    whole, with_sums = KINDS[kind]
    rng = random.Random(kind)
    found: Counter[str] = Counter()
    left = settings().max_examples
    with ProcessPoolExecutor(1, get_context("spawn")) as alone:
        while left:
            folder, count = tmp_path / "raw/set", min(left, TOGETHER)
            folder.mkdir(parents=True)
            (folder / "whole.png").write_bytes(pictures(0)[0])
            files = []
            for number in range(count):
                extension, data = rng.choice(whole(rng.randrange(SEEDS)))
                data = changed(data, rng)
                files.append(f"{number:05d}.{extension}")
                (folder / files[-1]).write_bytes(with_sums(data) if rng.random() < 0.5 else data)
                if kind == "pictures":
                    (folder / f"{number:05d}.txt").write_text(f"a cat {number}")
            alone.submit(curate, tmp_path / "raw", tmp_path / "out", LOOKING).result(PATIENCE)
            found += verdicts(kind, files, tmp_path / "out")
            left -= count
            for name in ("raw", "out", ".out"):
                shutil.rmtree(tmp_path / name)
    table = [f"{verdict:24}{count:8}" for verdict, count in found.most_common()]
    print(f"{kind}: {settings().max_examples} changed files", *table, sep="\n")  # noqa: T201


def verdicts(kind: str, files: list[str], out: Path) -> Counter[str]:
    """How often each verdict was given, none left out."""
    report = json.loads((out / "report.json").read_text())["sets"]["set"]
    rows = pq.read_table(out / "decisions.parquet").to_pylist()
    assert report["read"] == report["kept"] + report["rejected"] == len(rows)
    for row in rows:
        assert (row["reason"] is None) == (row["split"] is not None)
        assert row["reason"] or row["content"], row
    if kind == "pictures":
        keys = Counter(row["key"] for row in rows)
        assert keys == Counter(["whole", *(name.partition(".")[0] for name in files)])
        unread = 0
    else:
        # A file that isn't understood is named as unread, or counted if there are many.
        unread = len({*files} - {row["shard"] for row in rows})
        assert unread <= report["unread_files"] <= unread + 1, "a file has vanished"
    reasons = Counter(row["reason"] or "kept" for row in rows)
    return reasons + Counter({"(file not understood)": unread})
