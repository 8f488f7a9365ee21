"""Raw sets to what may be trained on, with an account of every record.

shards --list (a map)--> records --examine (a map)--> parquet --decide--> parquet --write (a map)-->
our shards

Every record of every raw set is either kept, in our own shards, or rejected under one reason:
kept + rejected = read, per shard and in total; files that are neither are named as unread. The
split is chosen by a hash of the pixels, never by position, so that a repeated picture never lies on
both sides, in this set or in another.

Work is done in chunks, whose results are there as a whole or not at all, under a key of what they
depend on (`ladder.data.curation.changes`). So a curation that was stopped goes on where it was, one
that is complete does nothing, and a new shard or setting redoes what depends on it, which is told
before anything that was finished is touched.
"""

from __future__ import annotations

import json
import logging
import pickle
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from ladder.config.files import replacing, write_text
from ladder.config.load import Curation
from ladder.data.curation import changes
from ladder.data.curation.contamination import Finder, read_prompts
from ladder.data.curation.dask_map import spread
from ladder.data.curation.duplicates import Part, decide
from ladder.data.curation.figures import save_figures
from ladder.data.curation.inspect import examine
from ladder.data.curation.summary import query, summarize
from ladder.data.images import storable
from ladder.data.shards import SPLITS, Packed, batched, write_shard
from ladder.data.sources.open import RawSet, Shard, survey
from ladder.data.sources.record import Record, Rejected, UnknownLayoutError
from ladder.data.sources.tar import Extent

log = logging.getLogger(__name__)

CHUNK = 1000
"""Records in a chunk, and so at most samples in a curated shard."""


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
    """Records of each chunk."""
    understood: bool = True
    used: tuple[str, ...] = ()
    """Files that its records lie in."""


@dataclass(frozen=True)
class Chunk:
    """Some records of a shard; its results have its number in their names."""

    set: str
    number: int
    first: int
    """Place of the first record in the set."""
    records: Path
    part: Path
    """What was seen in them."""

    @property
    def name(self) -> str:
        return f"{self.part.parent.name}/{self.part.stem}"


@dataclass(frozen=True)
class Shelf:
    """A shard of ours that is to hold samples of a chunk; `state` is a hash of what it holds."""

    chunk: Chunk
    split: str
    state: str

    def path(self, out: Path) -> Path:
        return out / self.chunk.set / self.split / f"{self.chunk.number:05d}.tar"


def curate(raw: Path, out: Path, curation: Curation) -> None:
    """Curates every set (folder) of `raw` into `out`/SET/{train,evaluation}.

    Beside them: decisions.parquet (a row for every record, see `ladder.data.curation.inspect`),
    manifest.json (counts and the hash of each set and of all), report.json (counts by set, shard
    and reason, and unread files) and figures. What was seen in records stays in `out`'s neighbour
    of the same name with a dot before it, for the next time.

    Raises ValueError: no sets; no set in a known layout; `out` holds what we didn't make.
    """
    sets = [survey(folder) for folder in sorted(raw.iterdir()) if folder.is_dir()]
    if not any(found.shards for found in sets):
        rule = "must hold a folder for each raw set, in a layout of ladder.data.sources.open"
        raise ValueError(f"{raw} {rule}, but has {sorted(path.name for path in raw.iterdir())[:5]}")
    work = out.parent / f".{out.name}"
    _own(work, out)
    prompts = read_prompts(Path(curation.prompts)) if curation.decontaminate != "none" else {}
    finder = Finder(curation.decontaminate, prompts, curation.similarity) if prompts else None
    listing = changes.code(changes.LISTING)
    seeing = changes.key_of(changes.looking(curation), prompts, changes.code(changes.LOOKING))
    todo = [
        Listed(found.folder.name, shard, work / "records" / changes.key_of(
            found.folder.name, shard.name, CHUNK, changes.stamp(shard.depends), listing
        ), CHUNK)
        for found in sets for shard in found.shards
    ]  # fmt: skip
    now = _state(sets, todo, seeing, curation)
    before = _read(work / "state.json")
    if before == now and (out / "manifest.json").is_file():
        log.info("%s is complete and up to date", out)
        return
    for line in changes.told(before, now):
        log.info("%s", line)

    lists = list(tqdm(spread(_list, todo, curation), desc="list", total=len(todo), unit="shard"))
    order = {listed.folder: place for place, listed in enumerate(todo)}
    lists.sort(key=lambda listed: order[listed.folder])
    chunks = _chunks(lists, work, seeing)
    seen = spread(partial(_examine, curation, finder), chunks, curation)
    for _ in tqdm(seen, desc="examine", total=len(chunks), unit="chunk"):
        pass
    decisions = out / "decisions.parquet"
    _decide(chunks, decisions, work, curation)
    shelves = _announced(chunks, out, work)
    written = spread(partial(_write, decisions, out, work), shelves, curation)
    for _ in tqdm(written, desc="write", total=len(shelves), unit="shard"):
        pass
    save_figures(partial(_find, chunks), out, curation.maximum_pixels)
    summarize(out, {found.folder.name: _unread(found, lists) for found in sets})
    write_text(work / "state.json", json.dumps(now))
    _forget(work, lists, chunks)


def _own(work: Path, out: Path) -> None:
    """Make sure that `out` is ours."""
    if not work.is_dir() and out.is_dir() and any(out.iterdir()):
        found = sorted(path.name for path in out.iterdir())[:5]
        raise ValueError(f"{out} must be empty or of an earlier curation, but has {found}")
    work.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)


def _state(sets: Sequence[RawSet], todo: Sequence[Listed], seeing: str, curation: Curation) -> dict:
    """What the whole result depends on."""
    shards: dict[str, dict[str, str]] = {}
    for listed in todo:
        shards.setdefault(listed.set, {})[listed.shard.name] = listed.folder.name
    rest = changes.code((*changes.DECIDING, *changes.WRITING, "curation/summary.py"))
    settings = json.loads(json.dumps(changes.deciding(curation)))
    others = changes.key_of([sorted(map(str, found.rest)) for found in sets])
    code = changes.key_of(seeing, rest)
    return {"settings": settings, "shards": shards, "others": others, "code": code}


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:  # the first curation, or the first that comes to its end
        return {}


def _list(listed: Listed) -> Listed:
    """The records of a shard, listed once and kept in chunks."""
    done = listed.folder / "done.pickle"
    if done.is_file():
        return pickle.loads(done.read_bytes())
    shutil.rmtree(listed.folder, ignore_errors=True)
    listed.folder.mkdir(parents=True)
    try:
        records, understood = listed.shard.records(), True
    except UnknownLayoutError as error:
        log.warning("not understood: %s", error)
        records, understood = [], False
    lengths = []
    for number, some in enumerate(batched(records, listed.chunk)):
        (listed.folder / f"{number:05d}.pickle").write_bytes(pickle.dumps(some))
        lengths.append(len(some))
    parts = (
        part for record in records if isinstance(record, Record)
        for part in (record.target, *record.sources) if isinstance(part, Extent)
    )  # fmt: skip
    used = tuple(sorted({str(part.path) for part in parts}))
    result = replace(listed, lengths=tuple(lengths), understood=understood, used=used)
    with replacing(done) as part:
        part.write_bytes(pickle.dumps(result))
    return result


def _chunks(lists: Iterable[Listed], work: Path, seeing: str) -> list[Chunk]:
    chunks: list[Chunk] = []
    places: dict[str, tuple[int, int]] = {}
    for listed in lists:
        parts = work / "parts" / changes.key_of(listed.folder.name, seeing)
        for place, length in enumerate(listed.lengths):
            number, first = places.get(listed.set, (0, 0))
            records, part = listed.folder / f"{place:05d}.pickle", parts / f"{place:05d}.parquet"
            chunks.append(Chunk(listed.set, number, first, records, part))
            places[listed.set] = number + 1, first + length
    return chunks


def _examine(curation: Curation, finder: Finder | None, chunk: Chunk) -> None:
    if chunk.part.is_file():
        return
    table = examine(_records(chunk), chunk.name, curation, finder)
    with replacing(chunk.part) as part:
        pq.write_table(table, part)


def _records(chunk: Chunk) -> list[Record | Rejected]:
    return pickle.loads(chunk.records.read_bytes())


def _decide(chunks: Sequence[Chunk], decisions: Path, work: Path, curation: Curation) -> None:
    """The decisions are made anew if anything they depend on changed."""
    parts = [Part(chunk.part, chunk.name, chunk.set, chunk.first) for chunk in chunks]
    asked = changes.key_of(
        changes.deciding(curation), changes.code(changes.DECIDING),
        [(part.chunk, part.set, part.first) for part in parts],
    )  # fmt: skip
    marker = work / "decided"
    if not (decisions.is_file() and marker.is_file() and marker.read_text() == asked):
        decide(parts, decisions, work / "scratch", curation)
        write_text(marker, asked)


def _announced(chunks: Sequence[Chunk], out: Path, work: Path) -> list[Shelf]:
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


def _write(decisions: Path, out: Path, work: Path, shelf: Shelf) -> None:
    """Write the kept records of a chunk, from their files and their verdicts."""
    chunk, path = shelf.chunk, shelf.path(out)
    records = _records(chunk)
    last = chunk.first + len(records) - 1
    place = [("set", "=", chunk.set), ("number", ">=", chunk.first), ("number", "<=", last)]
    rows = pq.read_table(decisions, filters=place, partitioning=None).to_pylist()
    kept = [row for row in rows if row["split"] == shelf.split]
    marker = _marker(work, path)
    marker.unlink(missing_ok=True)
    write_shard((_packed(records[row["number"] - chunk.first], row) for row in kept), path)
    write_text(marker, shelf.state)


def _packed(record: Record, row: dict) -> Packed:
    # A key is unique in its shard only, so the shard becomes part of it.
    key = f"{PurePosixPath(record.shard).with_suffix('')}/{record.key}"
    target, *sources = (storable(part.read()) for part in (record.target, *record.sources))
    truth = row["truth"] and json.loads(row["truth"])
    return Packed(key, tuple(row["captions"]), target, tuple(sources), truth)


def _find(chunks: Sequence[Chunk], name: str, numbers: set[int]) -> dict[int, Record | Rejected]:
    """The records at some places of a set."""
    found = {}
    for chunk in chunks:
        inside = sorted(number - chunk.first for number in numbers if number >= chunk.first)
        if chunk.set == name and inside:
            records = _records(chunk)
            found |= {chunk.first + at: records[at] for at in inside if at < len(records)}
    return found


def _unread(found: RawSet, lists: Iterable[Listed]) -> list[str]:
    """Files of a set that are in no sample and no verdict."""
    mine = [listed for listed in lists if listed.set == found.folder.name]
    used = {path for listed in mine for path in listed.used}
    unknown = [listed.shard.name for listed in mine if not listed.understood]
    unread = [path for path in found.rest if str(path) not in used]
    return sorted([*unknown, *(path.relative_to(found.folder).as_posix() for path in unread)])


def _forget(work: Path, lists: Iterable[Listed], chunks: Iterable[Chunk]) -> None:
    """Remove what was seen under other settings, or in shards that are no more."""
    kept = {listed.folder for listed in lists} | {chunk.part.parent for chunk in chunks}
    for folder in (*work.glob("records/*"), *work.glob("parts/*")):
        if folder not in kept:
            shutil.rmtree(folder)
