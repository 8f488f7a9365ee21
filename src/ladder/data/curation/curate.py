"""Raw sets to what may be trained on, with an account of every record.

records --examine (a map)--> parquet --decide (queries)--> parquet --write (a map)--> our shards

Every record of every raw set is either kept, in our own shards, or rejected under one reason:
kept + rejected = read, per shard and in total. The split is chosen by a hash of the pixels, never
by position, so that a repeated picture never lies on both sides, in this set or in another.

Work is done in chunks, whose results are there as a whole or not at all; a curation that was
stopped goes on where it was, and one that is complete does nothing.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import pyarrow.parquet as pq
import xxhash
from tqdm import tqdm

from ladder.config.load import Curation
from ladder.data.curation.contamination import Finder, read_prompts
from ladder.data.curation.dask_map import spread
from ladder.data.curation.duplicates import decide
from ladder.data.curation.figures import save_figures
from ladder.data.curation.inspect import examine
from ladder.data.curation.summary import summarize
from ladder.data.images import storable
from ladder.data.shards import SPLITS, Packed, batched, write_shard
from ladder.data.sources.open import open_raw
from ladder.data.sources.record import Record, Rejected

log = logging.getLogger(__name__)

CHUNK = 1000
"""Records in a chunk, and so at most samples in a curated shard."""


@dataclass(frozen=True)
class Chunk:
    """Some records of a shard; its results have its number in their names."""

    folder: str
    """The set."""
    number: int
    first: int
    """Place of the first record in the set."""
    records: list[Record | Rejected]


def curate(raw: Path, out: Path, curation: Curation) -> None:
    """Curates every set (folder) of `raw` into `out`/SET/{train,evaluation}.

    Beside them: decisions.parquet (a row for every record, see `ladder.data.curation.inspect`),
    manifest.json (counts and the hash of each set and of all), report.json (counts by set, shard
    and reason) and figures. What is unfinished lies in `out`'s neighbour of the same name with a
    dot before it. Errors: no sets; a set in an unknown layout; `out` holds what we didn't make.
    """
    sets = sorted(folder for folder in raw.iterdir() if folder.is_dir())
    if not sets:
        raise ValueError(f"{raw} must hold a folder for each raw set, but has none")
    work = out.parent / f".{out.name}"
    _begin(work, out, _state(sets, curation))
    if (out / "manifest.json").is_file():
        log.info("%s is complete and up to date", out)
        return
    finder = None
    if curation.decontaminate != "none":
        prompts = read_prompts(Path(curation.prompts))
        finder = Finder(curation.decontaminate, prompts, curation.similarity)
    for _ in spread(partial(_examine, work, curation, finder), _listed(sets), curation):
        pass
    decisions = out / "decisions.parquet"
    decide(work, decisions, curation)
    for _ in spread(partial(_write, decisions, out), _listed(sets), curation):
        pass
    save_figures(raw, out, curation.maximum_pixels)
    summarize(out)
    for folder in sets:
        shutil.rmtree(work / folder.name)


def _state(sets: list[Path], curation: Curation) -> str:
    """A hash of what the result depends on: settings, raw files, and the code of this package."""
    settings = dataclasses.asdict(curation)
    del settings["workers"], settings["scheduler"]
    files = [path for folder in sets for path in sorted(folder.rglob("*")) if path.is_file()]
    found = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    code = [path.read_text() for path in sorted(Path(__file__).parent.glob("*.py"))]
    return xxhash.xxh3_128_hexdigest(json.dumps([settings, found, code]).encode())


def _begin(work: Path, out: Path, state: str) -> None:
    """Keep what an equal curation has left, and remove what another one has."""
    marker = work / "state"
    if marker.is_file() and marker.read_text() != state:
        shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(work)
    if not marker.is_file():
        if out.is_dir() and (found := sorted(path.name for path in out.iterdir())):
            raise ValueError(f"{out} must be empty or of an earlier curation, but has {found[:5]}")
        work.mkdir(parents=True, exist_ok=True)
        marker.write_text(state)
    out.mkdir(parents=True, exist_ok=True)


def _listed(sets: list[Path]) -> Iterator[Chunk]:
    """The records of all sets in chunks; listing is cheap, and gives the same chunks each time."""
    for folder in sets:
        number = first = 0
        for shard in tqdm(open_raw(folder), desc=folder.name, unit="shard"):
            for records in batched(shard.records(), CHUNK):
                yield Chunk(folder.name, number, first, records)
                number, first = number + 1, first + len(records)


def _examine(work: Path, curation: Curation, finder: Finder | None, chunk: Chunk) -> None:
    part = work / chunk.folder / f"{chunk.number:05d}.parquet"
    if part.is_file():
        return
    part.parent.mkdir(exist_ok=True)
    table = examine(chunk.records, (chunk.folder, chunk.first), curation, finder)
    unfinished = part.with_suffix(".unfinished")
    pq.write_table(table, unfinished)
    unfinished.replace(part)


def _write(decisions: Path, out: Path, chunk: Chunk) -> None:
    """Write the kept records of a chunk, from their files and their verdicts."""
    last = chunk.first + len(chunk.records) - 1
    place = [("set", "=", chunk.folder), ("number", ">=", chunk.first), ("number", "<=", last)]
    rows = pq.read_table(decisions, filters=place).to_pylist()
    for split in SPLITS:
        kept = [row for row in rows if row["split"] == split]
        path = out / chunk.folder / split / f"{chunk.number:05d}.tar"
        if kept and not path.is_file():
            records = (chunk.records[row["number"] - chunk.first] for row in kept)
            write_shard(map(_packed, records, kept), path)


def _packed(record: Record, row: dict) -> Packed:
    # A key is unique in its shard only, so the shard becomes part of it.
    key = f"{PurePosixPath(record.shard).with_suffix('')}/{record.key}"
    target, *sources = (storable(part.read()) for part in (record.target, *record.sources))
    truth = row["truth"] and json.loads(row["truth"])
    return Packed(key, tuple(row["captions"]), target, tuple(sources), truth)
