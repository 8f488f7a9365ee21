"""Curated pictures to latents, once: training then never runs the autoencoder.

curated shards --chunks, over processes and GPUs--> files, each whole or absent --links--> OUT

A chunk is some shards behind one another. What it becomes is named by a hash of the shards'
content and of all that decides the result. So an encoding that was stopped goes on where it was,
and new sets and shards are added without encoding the others again. What is unfinished lies in the
output's neighbour of the same name with a dot before it. The same input gives the same bytes.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from pathlib import Path

from torch import distributed as ranks
from tqdm import tqdm

from ladder.config.files import read_json
from ladder.config.load import Config
from ladder.data.curation.dask_map import map_unordered
from ladder.data.shards import SPLITS
from ladder.data.training.encode_chunk import (
    Chunk,
    Made,
    Recipe,
    autoencoder_of,
    encode_chunk,
    parts_of,
)
from ladder.data.training.encoded import (
    MANIFEST,
    EncodedFile,
    assemble,
    read_manifest,
    write_manifest,
)

log = logging.getLogger(__name__)

OLD = "old"
"""In the folder of unfinished work: the output that is being replaced."""


def encode(
    config: Config, curated: Path = Path("data/curated"), out: Path = Path("data/encoded")
) -> None:
    """Encode every set of `curated` (as `curate` left it) into `out`/SET/{train,evaluation}.

    What `out` holds is described in `ladder.data.training.encoded`. Pictures are scaled and cropped
    to the nearest bucket, a source together with its target. An empty split is left out. Work is
    shared by the processes that torchrun started, if it did, and by those of Dask. Raises
    ValueError for a shard that is not whole, and if `out` holds what isn't ours.
    """
    sets = read_json(curated / "manifest.json")["sets"]
    recipe, encoding = Recipe.of(config), config.encoding
    work = out.parent / f".{out.name}"
    earlier = _earlier(out, work / OLD)
    work.mkdir(parents=True, exist_ok=True)
    chunks = _chunks(curated, sets, encoding.chunk * 2**20)
    rank, processes = (int(os.environ.get(name, n)) for name, n in (("RANK", 0), ("WORLD_SIZE", 1)))
    mine = chunks[rank::processes]
    here = encoding.workers == 0 and encoding.scheduler is None
    total = sum(sets[chunk.name][chunk.split] for chunk in _firsts(chunks)) // processes
    keys: dict[int, str] = {}
    with tqdm(total=total, desc="encode", unit="sample") as bar:
        # Only where it works itself, a process hears of single batches.
        tick = bar.update if here else _nothing
        task = partial(encode_chunk, recipe, work, {*earlier}, tick)
        for number, key, rows in map_unordered(task, mine, encoding):
            keys[number] = key
            if not here:
                bar.update(rows)
    autoencoder_of.cache_clear()
    keys = _gathered(keys, processes)
    if rank == 0:
        _finish(out, work, sets, [(chunk, keys[chunk.number]) for chunk in chunks], earlier, recipe)


def _chunks(curated: Path, sets: dict, size: int) -> list[Chunk]:
    """The shards of every split, in their order, in chunks of at most `size` bytes if they can."""
    chunks: list[Chunk] = []
    for name in sets:
        for split in SPLITS:
            waiting: list[Path] = []
            full = 0
            for shard in sorted((curated / name / split).glob("*.tar")):
                more = shard.stat().st_size
                if waiting and full + more > size:
                    chunks.append(Chunk(len(chunks), name, split, tuple(waiting)))
                    waiting, full = [], 0
                waiting.append(shard)
                full += more
            if waiting:
                chunks.append(Chunk(len(chunks), name, split, tuple(waiting)))
    return chunks


def _firsts(chunks: Iterable[Chunk]) -> Iterable[Chunk]:
    """One chunk of every split."""
    return {(chunk.name, chunk.split): chunk for chunk in chunks}.values()


def _earlier(out: Path, old: Path) -> dict[str, Made]:
    """What an earlier encoding left in `out`, by key; one that was stopped when it replaced `out`
    left that as `old`.

    Raises ValueError if there is something else.
    """
    if not out.exists() and old.is_dir():
        old.rename(out)
    if out.is_dir() and not (out / MANIFEST).is_file() and (found := sorted(out.iterdir())):
        names = [path.name for path in found[:5]]
        raise ValueError(
            f"{out} must be empty or have the {MANIFEST} of an earlier encoding, but has {names}; "
            "remove it to encode anew"
        )
    made: dict[str, Made] = {}
    for path, part in read_manifest(out).items():
        if path.is_file():
            made.setdefault(part.key, []).append((part, path))
    return made


def _gathered(keys: dict[int, str], processes: int) -> dict[int, str]:
    """The keys of all chunks, from all processes of torchrun."""
    if processes == 1:
        return keys
    # One may have much more to do than another.
    ranks.init_process_group("gloo", timeout=timedelta(days=7))
    found: list[dict[int, str]] = [{} for _ in range(processes)]
    ranks.all_gather_object(found, keys)
    ranks.destroy_process_group()
    return {number: key for one in found for number, key in one.items()}


def _finish(
    out: Path,
    work: Path,
    sets: dict,
    done: list[tuple[Chunk, str]],
    earlier: dict[str, Made],
    recipe: Recipe,
) -> None:
    """Put `out` together from what is done, in the place of what it was, and remove `work`."""
    new = work / "out"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    splits: dict[tuple[str, str], Made] = {}
    for chunk, key in done:
        made = earlier.get(key) or parts_of(work / key)
        splits.setdefault((chunk.name, chunk.split), []).extend(made)
    files: dict[Path, EncodedFile] = {}
    for (name, split), made in splits.items():
        fingerprint = sets[name]["hash"]
        files |= assemble(new / name / split, made, fingerprint, len(recipe.sizes) > 1)
    write_manifest(new, files)
    kept = sum(key in earlier for _, key in done)
    log.info("%s: %d files of samples, %d of them as they were", out, len(files), kept)
    old = work / OLD
    shutil.rmtree(old, ignore_errors=True)
    if out.is_dir():
        out.rename(old)
    new.rename(out)
    shutil.rmtree(work)


def _nothing(_: int) -> None:
    """In place of a progress bar's."""
