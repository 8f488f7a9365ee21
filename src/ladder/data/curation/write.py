"""Curated shards: which of them there are to be, what is to be written, and the writing.

A shard holds the kept samples of a chunk in one split, and a marker says which. So those that hold
what they are to hold stay as they are, and what happens to any other is told first.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from ladder.config.files import write_text
from ladder.data.curation import changes
from ladder.data.curation.chunks import Chunk, records_of
from ladder.data.curation.summary import query
from ladder.data.images import storable
from ladder.data.shards import SPLITS, Packed, write_shard
from ladder.data.sources.record import Record

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shelf:
    """A shard of ours that is to hold samples of a chunk; `state` is a hash of what it holds."""

    chunk: Chunk
    split: str
    state: str

    def path(self, out: Path) -> Path:
        """Where it lies in the curated data."""
        return out / self.chunk.set / self.split / f"{self.chunk.number:05d}.tar"


def announced(chunks: Sequence[Chunk], out: Path, work: Path) -> list[Shelf]:
    """The shards of ours that are to be written; what happens to finished ones is told first."""
    shelves = {shelf.path(out): shelf for shelf in _shelves(chunks, out / "decisions.parquet")}
    there = {path for split in SPLITS for path in out.glob(f"*/{split}/*.tar")}
    todo = {path: shelf for path, shelf in shelves.items() if not _is_done(shelf, out, work)}
    gone = sorted(there - shelves.keys())
    again = [path for path in todo if path in there]
    log.info(
        "curated shards: %d stay as they are, %d new, %d written again, %d removed",
        len(shelves) - len(todo), len(todo) - len(again), len(again), len(gone),
    )  # fmt: skip
    for said, paths in (("removed", gone), ("written again", again)):
        for path in paths:
            log.info("%s: %s", said, path)
    if todo or gone:
        (out / "manifest.json").unlink(missing_ok=True)
    for path in gone:
        path.unlink()
        _marker(work, path).unlink(missing_ok=True)
    return list(todo.values())


def _shelves(chunks: Sequence[Chunk], decisions: Path) -> list[Shelf]:
    """The shards that hold what is kept, each with a hash of its samples."""
    names = {"set": pa.string(), "first": pa.int64()}
    places = [{"set": chunk.set, "first": chunk.first} for chunk in chunks]
    table = pa.Table.from_pylist(places, pa.schema(names))
    table = table.append_column("place", pa.array(range(len(chunks)), pa.int64()))
    found = query(
        decisions,
        """SELECT place, split, count(*) AS samples,
            bit_xor(hash(number - first, key, captions, truth, content)) AS state
        FROM decisions ASOF JOIN chunk
            ON decisions.set = chunk.set AND decisions.number >= chunk.first
        WHERE split IS NOT NULL GROUP BY ALL ORDER BY place, split DESC""",
        chunk=table,
    )
    rest = changes.code(changes.WRITING)
    return [
        Shelf(chunk, split, changes.key_of(chunk.records.parent.name, samples, str(state), rest))
        for place, split, samples, state in found.itertuples(index=False)
        for chunk in [chunks[place]]
    ]


def _marker(work: Path, path: Path) -> Path:
    """The file that says what the shard `path` of ours holds."""
    return work / "written" / path.parent.parent.name / path.parent.name / path.stem


def _is_done(shelf: Shelf, out: Path, work: Path) -> bool:
    marker = _marker(work, shelf.path(out))
    return shelf.path(out).is_file() and marker.is_file() and marker.read_text() == shelf.state


def write_shelf(decisions: Path, out: Path, work: Path, shelf: Shelf) -> None:
    """Write the kept records of a chunk, from their files and their verdicts."""
    chunk, path = shelf.chunk, shelf.path(out)
    records = records_of(chunk)
    last = chunk.first + chunk.length - 1
    place = [("set", "=", chunk.set), ("number", ">=", chunk.first), ("number", "<=", last),
             ("split", "=", shelf.split)]  # fmt: skip
    columns = ["number", "captions", "truth", "formats"]
    rows = pq.read_table(decisions, columns=columns, filters=place, partitioning=None).to_pylist()
    marker = _marker(work, path)
    marker.unlink(missing_ok=True)
    write_shard((_packed(records[row["number"] - chunk.first], row) for row in rows), path)
    write_text(marker, shelf.state)


def _packed(record: Record, row: dict) -> Packed:
    # A key is unique in its shard only, so the shard becomes part of it.
    key = f"{_stem(record.shard)}/{record.key}"
    parts = zip((*record.sources, record.target), row["formats"], strict=True)
    *sources, target = (storable(part.read(), kind) for part, kind in parts)
    truth = row["truth"] and json.loads(row["truth"])
    return Packed(key, tuple(row["captions"]), target, tuple(sources), truth)


@lru_cache(maxsize=8)
def _stem(shard: str) -> str:
    return str(PurePosixPath(shard).with_suffix(""))
