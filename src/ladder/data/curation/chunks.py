"""Raw shards as chunks of records, each of which is worked on as a whole or not at all.

What listing and looking leave of a chunk lies in files under a key of what it depends on
(`ladder.data.curation.changes`), so that it is found again the next time.
"""

from __future__ import annotations

import logging
import pickle
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ladder.config.files import replacing
from ladder.data.curation import changes
from ladder.data.shards import batched
from ladder.data.sources.open import RawSet, Shard
from ladder.data.sources.record import Record, Rejected, UnknownLayoutError
from ladder.data.sources.tar import Extent

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listed:
    """The records of one raw shard, in chunks, as listing left them."""

    set: str
    shard: Shard
    folder: Path
    """Where a file lies for each chunk of records, and one with what follows."""
    chunk: int
    """Records of a chunk, at most."""
    lengths: tuple[int, ...] = ()
    """Records of each chunk; none where the shard is not understood, or holds none."""
    used: tuple[str, ...] = ()
    """Files that its records lie in, and the names of those that are rejected."""


@dataclass(frozen=True)
class Chunk:
    """Some records of a shard; its results have its number in their names."""

    set: str
    number: int
    first: int
    """Place of the first record in the set."""
    length: int
    """How many records it has."""
    records: Path
    part: Path
    """What was seen in them."""

    @property
    def name(self) -> str:
        return f"{self.part.parent.name}/{self.part.stem}"


def list_shard(listed: Listed) -> Listed:
    """The records of a shard, listed once and kept in chunks."""
    done = listed.folder / "done.pickle"
    if done.is_file():
        return pickle.loads(done.read_bytes())
    shutil.rmtree(listed.folder, ignore_errors=True)
    listed.folder.mkdir(parents=True)
    try:
        records = listed.shard.records()
    except UnknownLayoutError as error:
        log.warning("not understood: %s", error)
        records = []
    lengths = []
    for number, some in enumerate(batched(records, listed.chunk)):
        (listed.folder / f"{number:05d}.pickle").write_bytes(pickle.dumps(some))
        lengths.append(len(some))
    parts = (
        part for record in records if isinstance(record, Record)
        for part in (record.target, *record.sources) if isinstance(part, Extent)
    )  # fmt: skip
    faulty = {record.shard for record in records if isinstance(record, Rejected)}
    used = tuple(sorted(faulty | {str(part.path) for part in parts}))
    result = replace(listed, lengths=tuple(lengths), used=used)
    with replacing(done) as part:
        part.write_bytes(pickle.dumps(result))
    return result


def chunks_of(lists: Iterable[Listed], work: Path, seeing: str) -> list[Chunk]:
    """The chunks of all shards, numbered within their set; `seeing` is a hash of all that looking
    depends on."""
    chunks: list[Chunk] = []
    places: dict[str, tuple[int, int]] = {}
    for listed in lists:
        parts = work / "parts" / changes.key_of(listed.folder.name, seeing)
        for place, length in enumerate(listed.lengths):
            number, first = places.get(listed.set, (0, 0))
            records, part = listed.folder / f"{place:05d}.pickle", parts / f"{place:05d}.parquet"
            chunks.append(Chunk(listed.set, number, first, length, records, part))
            places[listed.set] = number + 1, first + length
    return chunks


def records_of(chunk: Chunk) -> list[Record | Rejected]:
    """What listing found, in its order."""
    return pickle.loads(chunk.records.read_bytes())


def find_records(
    chunks: Sequence[Chunk], name: str, numbers: set[int]
) -> dict[int, Record | Rejected]:
    """The records at some places of a set."""
    found = {}
    for chunk in chunks:
        inside = [number for number in numbers if 0 <= number - chunk.first < chunk.length]
        if chunk.set == name and inside:
            records = records_of(chunk)
            found |= {number: records[number - chunk.first] for number in sorted(inside)}
    return found


def unread(found: RawSet, lists: Iterable[Listed]) -> list[str]:
    """Files of a set that are in no sample and no verdict."""
    mine = [listed for listed in lists if listed.set == found.folder.name]
    used = {path for listed in mine for path in listed.used}
    without = [listed.shard.name for listed in mine if not listed.lengths]
    rest = {str(path): path.relative_to(found.folder).as_posix() for path in found.rest}
    return sorted([*without, *(name for path, name in rest.items() if not {path, name} & used)])


def forget(work: Path, lists: Iterable[Listed], chunks: Iterable[Chunk]) -> None:
    """Remove what was seen under other settings, or in shards that are no more."""
    kept = {listed.folder for listed in lists} | {chunk.part.parent for chunk in chunks}
    for folder in (*work.glob("records/*"), *work.glob("parts/*")):
        if folder not in kept:
            shutil.rmtree(folder)
