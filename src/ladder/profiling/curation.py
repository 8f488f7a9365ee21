"""How fast and how large curation is: measurements on made-up data.

ladder bench curation    samples/s of decoding alone and of a whole curation, in one process
ladder bench decisions   time and peak memory of the comparisons, by the number of records
"""

from __future__ import annotations

import io
import multiprocessing
import resource
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from ladder.config.load import Curation, load

QUALITY = 90
ROWS = 10_000
"""Records that are made up at once."""
SIDES, PIXELS = (512, 1024), 2000 * 512**2
"""Pixels of a side, and of all pictures of a set, where nothing else is asked for."""
REPEATS = 3
"""How often each is measured."""
FEW = 20
"""Pictures that are curated at least."""
WORDS = ("a", "photo", "of", "two", "red", "small", "dog", "cat", "house", "tree", "at", "night")


def curation(sizes: list[int] | None, sides: Sequence[int] = SIDES) -> list[dict[str, float]]:
    """Samples/s (of CPU time) for sets of `sizes` JPEGs of each of `sides`, in pixels: decoded, and
    curated.

    Curated means: read, decoded, hashed, compared (near pictures and captions, too), written. What
    every curation takes once however large its set is (imports, figures) is not in the rate, but
    given as seconds: a quarter of the set is curated, too, and the rate is that of the rest. All
    are the best of REPEATS, which take turns, since other work on the machine slows each. Raises
    ValueError for a size that is too small to tell one from the other.
    """
    if sizes and min(sizes) < 4 * FEW:
        raise ValueError(f"a set must have at least {4 * FEW} pictures, got {min(sizes)}")
    settings, measured = _settings(), []
    for side in sides:
        for size in sizes or [max(4 * FEW, PIXELS // side**2)]:
            part = size // 4
            with tempfile.TemporaryDirectory() as name:
                sets = {count: Path(name) / str(count) for count in (part, size)}
                for count, folder in sets.items():
                    _photographs(folder / "set/0.tar", count, side)
                first = _seconds_of(sets[part], settings)[1]
                turns = [sets[count] for _ in range(REPEATS) for count in (part, size)]
                taken = [_seconds_of(folder, settings) for folder in turns]
            few, whole = (min(seconds for _, seconds in taken[place::2]) for place in (0, 1))
            decoded = size / min(seconds for seconds, _ in taken[1::2])
            curated = (size - part) / (whole - few)
            measured.append({"side": side, "samples": size, "decoded/s": decoded,
                             "curated/s": curated, "once": first - part / curated,
                             "ratio": curated / decoded})  # fmt: skip
    return measured


def _seconds_of(raw: Path, settings: Curation) -> tuple[float, float]:
    """To decode the set in `raw`, and to curate it."""
    from ladder.data.curation.curate import curate
    from ladder.data.images import decode
    from ladder.data.sources.open import open_raw

    (shard,) = open_raw(raw / "set")
    records = shard.records()
    begun = time.process_time()
    for record in records:
        decode(record.target.read(), settings.maximum_pixels)
    decoded = time.process_time() - begun
    with tempfile.TemporaryDirectory() as name:
        begun = time.process_time()
        curate(raw, Path(name) / "out", settings)
        return decoded, time.process_time() - begun


def decisions(sizes: list[int] | None) -> list[dict[str, float]]:
    """Peak memory (MiB) and seconds (of CPU time) of comparing `sizes` records, each in a process
    of its own; what a record costs in microseconds, and how much more than with the size before.

    The seconds are the best of REPEATS.
    """
    measured: list[dict[str, float]] = []
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for size in sizes or [125_000, 250_000, 500_000, 1_000_000]:
            with tempfile.TemporaryDirectory() as name:
                pool.apply(_rows, (Path(name), size))
                runs = [pool.apply(_decide, (Path(name),)) for _ in range(REPEATS)]
            peaks, seconds = zip(*runs, strict=True)
            each = 1e6 * min(seconds) / size
            growth = each / measured[-1]["each"] if measured else 1.0
            measured.append({"records": size, "MiB": max(peaks), "seconds": min(seconds),
                             "each": each, "growth": growth})  # fmt: skip
    return measured


def _settings() -> Curation:
    """All of curation but decontamination, in this process."""
    asked = {"near_duplicates": 4, "near_captions": 0.8, "workers": 0, "scheduler": None}
    return replace(load().curation, **asked)


def _photographs(path: Path, count: int, side: int) -> None:
    """A tar of smooth pictures with a little noise, about as hard to decode as photographs."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 6, (side, side, 3)).astype(np.float32)
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            small = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
            pixels = np.asarray(small.resize((side, side), Image.Resampling.BICUBIC)) + noise
            file = io.BytesIO()
            picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            picture.save(file, "JPEG", quality=QUALITY)
            caption = " ".join(rng.choice(WORDS, 30)).encode()
            for name, data in ((f"{number}.jpg", file.getvalue()), (f"{number}.txt", caption)):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def _rows(folder: Path, count: int) -> None:
    """What examining `count` records would have left, a hundredth of them repeated."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from ladder.data.curation.inspect import SCHEMA
    from ladder.data.curation.near import BANDS

    rng = np.random.default_rng(0)
    for first in range(0, count, ROWS):
        numbers = np.arange(first, min(count, first + ROWS))
        content = np.where(rng.random(len(numbers)) < 0.01, numbers // 2, numbers)

        def lists(width: int, kind: type) -> pa.ListArray:
            values = rng.integers(0, np.iinfo(kind).max, len(numbers) * width, kind)  # noqa: B023
            edges = np.arange(0, len(values) + 1, width)
            return pa.ListArray.from_arrays(edges, values)

        columns = {
            "chunk": [str(first)] * len(numbers),
            "row": numbers - first,
            "shard": ["0.tar"] * len(numbers),
            "key": [str(number) for number in numbers],
            "captions": [[f"caption {number} " * 5] for number in numbers],
            "share": rng.random(len(numbers)),
            "sources": np.zeros(len(numbers), int),
            "content": [str(number) for number in content],
            "look": rng.integers(-(2**63), 2**63, len(numbers)),
            "phrase": numbers,
            "bands": lists(BANDS, np.uint64),
            "shingles": lists(28, np.uint32),
        }
        table = pa.table({name: pa.array(column) for name, column in columns.items()})
        absent = [name for name in SCHEMA.names if name not in columns]
        for name in absent:
            table = table.append_column(name, pa.nulls(len(numbers), SCHEMA.field(name).type))
        pq.write_table(table.select(SCHEMA.names).cast(SCHEMA), folder / f"{first}.parquet")


def _decide(folder: Path) -> tuple[float, float]:
    from ladder.data.curation.duplicates import ExaminedChunk, decide

    paths = sorted(folder.glob("[0-9]*.parquet"), key=lambda path: int(path.stem))
    parts = [ExaminedChunk(path, path.stem, "set", int(path.stem)) for path in paths]
    begun = time.process_time()
    decide(parts, folder / "decisions.parquet", folder / "scratch", _settings())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return peak, time.process_time() - begun
