"""How training reads encoded sets, beside two ways of streaming them: a measurement.

ladder bench reading    samples/s, seconds to the first batch, memory; what a resumption repeats

The same samples are read by their place (`ladder.data.training`, the way of training), from tars
by webdataset, and by the streaming of `datasets` from the same files; the latter two with a shuffle
buffer and with whole shards for each rank. Then eight ranks stop within an epoch, and four go on:
how many samples came twice, and how many never?
"""

from __future__ import annotations

import io
import json
import multiprocessing
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

SAMPLES, SHARDS = 4800, 8
SHAPE = (32, 16, 16)
"""Of latents: 512 pixels in Sana's autoencoder."""
BATCH = 25
BUFFER = 1000
"""Samples among which a stream is shuffled."""
RANKS = (8, 4)
"""How many read at first, and how many go on."""
MIB = 2**10
"""In the kibibytes of the kernel."""


@dataclass(frozen=True)
class Read:
    """A batch, and what a rank would keep to go on after it."""

    keys: list[str]
    latents: Float[Tensor, "B C H W"]
    state: Any


def reading(sizes: list[int] | None) -> list[dict[str, Any]]:
    """Of each way, for sets of `sizes` samples: what `_measured` and `_resumed` say.

    Each is measured in a process of its own. Raises ValueError for a size that the shards and
    ranks don't divide.
    """
    found = []
    unit = SHARDS * BATCH * max(RANKS)
    for size in sizes or [SAMPLES]:
        if size % unit:
            raise ValueError(f"samples must be a multiple of {unit}, got {size}")
        with (
            tempfile.TemporaryDirectory() as name,
            multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool,
        ):
            pool.apply(_write, (Path(name), size))
            for way in WAYS:
                row = {"samples": size, "way": way}
                row |= pool.apply(_measured, (Path(name), way, size))
                row |= pool.apply(_resumed, (Path(name), way, size))
                found.append(row)
    return found


def _by_place(folder: Path, rank: int, ranks: int, before: Sequence[Any]) -> Iterator[Read]:
    """As training reads: a place in a permutation of the whole set for each sample."""
    from ladder.config.load import ConditionDropout
    from ladder.data.training.datamodule import Mixture
    from ladder.data.training.encoded import open_split
    from ladder.data.training.sampler import StepBatches

    never = ConditionDropout(0.0, 0.0, 0.0, 0.0)
    mixture = Mixture({"set": open_split(folder / "set/train")}, never)
    start, seen = before[0] if before else (0, None)
    batches = StepBatches(
        mixture.sizes, {"set": 1.0}, steps=10**6, batch=BATCH, rank=rank, world_size=ranks,
        start=start, seen=seen,
    )  # fmt: skip
    for step, draws in enumerate(batches, start + 1):
        items = mixture.__getitems__(draws)
        latents = torch.stack([item.latents for item in items])
        yield Read([item.key for item in items], latents, (step, batches.seen(step)))


def _by_webdataset(folder: Path, rank: int, ranks: int, before: Sequence[int]) -> Iterator[Read]:
    """Each rank some tars. Its only place is how far it came, which is passed over anew."""
    import webdataset

    tars = sorted(str(path) for path in (folder / "tars").glob("*.tar"))[rank::ranks]
    stream = webdataset.WebDataset(tars, shardshuffle=False).shuffle(BUFFER, rng=Random(0))
    done = sum(before) // ranks
    rest = iter(islice(stream, done, None))
    while some := list(islice(rest, BATCH)):
        done += len(some)
        stacked = np.stack([np.frombuffer(one["bin"], np.uint16) for one in some])
        facts = [json.loads(one["json"]) for one in some]
        yield Read([fact["key"] for fact in facts], _latents(stacked), done)


def _by_datasets(folder: Path, rank: int, ranks: int, before: Sequence[int]) -> Iterator[Read]:
    """Each rank some files. The library's own states are of a rank's files: other ranks can't load
    them (IndexError), so that here too the place is how far it came."""
    import datasets
    from datasets.distributed import split_dataset_by_node

    files = sorted(str(path) for path in (folder / "set/train").glob("*.arrow"))
    datasets.disable_progress_bars()
    whole = datasets.load_dataset("arrow", data_files=files, split="train", streaming=True,
                                  cache_dir=str(folder / "cache")).with_format("numpy")  # fmt: skip
    stream = split_dataset_by_node(whole.shuffle(seed=0, buffer_size=BUFFER), rank, ranks)
    done = sum(before) // ranks
    rest = iter(stream.skip(done))
    while some := list(islice(rest, BATCH)):
        done += len(some)
        stacked = np.stack([np.asarray(one["latents"], np.uint16) for one in some])
        yield Read([str(one["key"]) for one in some], _latents(stacked), done)


WAYS: dict[str, Callable[[Path, int, int, Sequence[Any]], Iterator[Read]]] = {
    "place": _by_place, "webdataset": _by_webdataset, "datasets": _by_datasets,
}  # fmt: skip


def _latents(stored: np.ndarray) -> Float[Tensor, "B C H W"]:
    from ladder.data.training.encoded import values

    return values(torch.from_numpy(stored.reshape(-1, *SHAPE)))


def _measured(folder: Path, way: str, size: int) -> dict[str, float]:
    """Seconds to the first batch, samples/s (by the clock) of the rest of an epoch, and MiB that
    were added: the process's own, and pages of files, which the kernel may take back."""
    torch.set_num_threads(1)
    list(islice(WAYS[way](folder, 0, SHARDS, ()), 1))  # imports
    own, mapped = _resident()
    begun = time.perf_counter()
    stream = WAYS[way](folder, 0, 1, ())  # what it holds is counted below
    batches = islice(stream, size // BATCH)
    next(batches)
    first = time.perf_counter() - begun
    count = sum(len(read.keys) for read in batches)
    taken = time.perf_counter() - begun - first
    now, mapped_now = _resident()
    return {"first s": first, "samples/s": count / taken, "MiB": (now - own) / MIB,
            "mapped MiB": (mapped_now - mapped) / MIB}  # fmt: skip


def _resident() -> tuple[int, int]:
    """KiB of the process's own pages, and of files that it has mapped."""
    lines = Path("/proc/self/status").read_text().splitlines()
    held = {name: value.split()[0] for name, _, value in (line.partition(":") for line in lines)
            if value.split()}  # fmt: skip
    return int(held["RssAnon"]), int(held["RssFile"]) + int(held["RssShmem"])


def _resumed(folder: Path, way: str, size: int) -> dict[str, int]:
    """How many samples of an epoch came twice, and how many never, if the ranks changed within."""
    many, few = RANKS
    steps = size // 2 // (many * BATCH)
    first = [list(islice(WAYS[way](folder, rank, many, ()), steps)) for rank in range(many)]
    states = [reads[-1].state for reads in first]
    left = (size - steps * many * BATCH) // (few * BATCH)
    rest = [list(islice(WAYS[way](folder, rank, few, states), left)) for rank in range(few)]
    seen = Counter(key for reads in (*first, *rest) for read in reads for key in read.keys)
    return {"twice": sum(count > 1 for count in seen.values()), "never": size - len(seen)}


def _write(folder: Path, size: int) -> None:
    """The same samples as an encoded set and as tars, in SHARDS files each."""
    from ladder.data.training.encoded import ONLY, EncodedFile, PartWriter, Row, assemble, bits

    rng, each = torch.Generator().manual_seed(0), size // SHARDS
    made = []
    (folder / "tars").mkdir()
    for shard in range(SHARDS):
        path = folder / f"{shard}.arrow"
        with (
            PartWriter(path) as writer,
            tarfile.open(folder / f"tars/{shard:05d}.tar", "w") as tar,
        ):
            for number in range(each):
                latents = torch.randn(SHAPE, generator=rng).bfloat16()
                row = Row(f"{shard}/{number}", (f"caption {number} " * 10,), (), latents)
                writer.write(row)
                facts = json.dumps({"key": row.key, "captions": row.captions}).encode()
                for kind, data in (("bin", bits(latents).numpy().tobytes()), ("json", facts)):
                    member = tarfile.TarInfo(f"{shard}-{number}.{kind}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        made.append((EncodedFile(str(shard), ONLY, each, ""), path))
    assemble(folder / "set/train", made, "made up", several=False)
