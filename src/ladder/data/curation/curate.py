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
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
from tqdm import tqdm

from ladder.config.files import read_json, replacing, write_text
from ladder.config.load import Curation
from ladder.data.curation import changes
from ladder.data.curation.chunks import (
    Chunk,
    Listed,
    chunks_of,
    find_records,
    forget,
    list_shard,
    records_of,
    unread,
)
from ladder.data.curation.contamination import Finder, read_prompts
from ladder.data.curation.dask_map import map_unordered
from ladder.data.curation.duplicates import ExaminedChunk, decide
from ladder.data.curation.figures import save_figures
from ladder.data.curation.inspect import examine
from ladder.data.curation.summary import summarize
from ladder.data.curation.write import announced, write_shelf
from ladder.data.sources.open import RawSet, survey

log = logging.getLogger(__name__)

CHUNK = 1000
"""Records in a chunk, and so at most samples in a curated shard."""


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

    lists = list(
        tqdm(map_unordered(list_shard, todo, curation), desc="list", total=len(todo), unit="shard")
    )
    order = {listed.folder: place for place, listed in enumerate(todo)}
    lists.sort(key=lambda listed: order[listed.folder])
    chunks = chunks_of(lists, work, seeing)
    seen = map_unordered(partial(_examine, curation, finder), chunks, curation)
    for _ in tqdm(seen, desc="examine", total=len(chunks), unit="chunk"):
        pass
    decisions = out / "decisions.parquet"
    _decide(chunks, decisions, work, curation)
    shelves = announced(chunks, out, work)
    written = map_unordered(partial(write_shelf, decisions, out, work), shelves, curation)
    for _ in tqdm(written, desc="write", total=len(shelves), unit="shard"):
        pass
    save_figures(partial(find_records, chunks), out, curation.maximum_pixels)
    summarize(out, {found.folder.name: unread(found, lists) for found in sets})
    write_text(work / "state.json", json.dumps(now))
    forget(work, lists, chunks)


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
        return read_json(path)
    except FileNotFoundError:  # the first curation, or the first that comes to its end
        return {}


def _examine(curation: Curation, finder: Finder | None, chunk: Chunk) -> None:
    if chunk.part.is_file():
        return
    table = examine(records_of(chunk), chunk.name, curation, finder)
    with replacing(chunk.part) as part:
        pq.write_table(table, part)


def _decide(chunks: Sequence[Chunk], decisions: Path, work: Path, curation: Curation) -> None:
    """The decisions are made anew if anything they depend on changed."""
    parts = [ExaminedChunk(chunk.part, chunk.name, chunk.set, chunk.first) for chunk in chunks]
    asked = changes.key_of(
        changes.deciding(curation), changes.code(changes.DECIDING),
        [(part.chunk, part.set, part.first) for part in parts],
    )  # fmt: skip
    marker = work / "decided"
    if not (decisions.is_file() and marker.is_file() and marker.read_text() == asked):
        decide(parts, decisions, work / "scratch", curation)
        write_text(marker, asked)
