"""Which samples make up step k: a pure function of the seed, the stage and k, with no state.

All samples of a stage form one endless sequence. Position g of it belongs to one data set (so that
the rates of the mixture hold exactly over every `BLOCK` positions) and to one place in the endless
sequence of that set, which is one permutation of the set after another. Rank r of W takes its
batch of step k from position (k W + r) batch on. Hence ranks are disjoint, together they see every
sample once an epoch, and a run may be resumed at any step, with any number of micro-batches, and
sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import xxhash
from torch.utils.data import Sampler

BLOCK = 1000
"""Positions over which the rates of a mixture are exact, up to rounding."""


@dataclass(frozen=True)
class Draw:
    """One sample of a batch."""

    name: str
    """Of the data set."""
    index: int
    """In the data set."""
    seed: tuple[int, ...]
    """Seeds whatever is random about the sample at this step: its caption, its dropping."""


class StepBatches(Sampler[list[Draw]]):
    """Batch sampler: the micro-batches of one rank from step `start` on, to step `steps`.

    Its length counts from step 0, since Lightning counts the micro-batches before a resumption.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        rates: Mapping[str, float],
        *,
        steps: int,
        batch: int,
        accumulate: int = 1,
        seed: int = 0,
        stage: str = "",
        rank: int = 0,
        world_size: int = 1,
        start: int = 0,
    ) -> None:
        """`sizes` and `rates` by set (rates sum to 1); `batch` samples a step and rank, in
        `accumulate` micro-batches; `seed` and the name of the `stage` choose the order."""
        for name, rate in rates.items():
            if rate > 0 and sizes.get(name, 0) < 1:
                raise ValueError(f"set {name} of the mixture has no samples; there are {sizes}")
        if abs(sum(rates.values()) - 1) > 1e-6 or min(rates.values()) < 0:
            raise ValueError(f"rates must be at least 0 and sum to 1, got {dict(rates)}")
        if batch % accumulate:
            raise ValueError(f"accumulate must divide batch {batch}, got {accumulate}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be 0 to {world_size - 1}, got {rank}")
        if not 0 <= start <= steps:
            raise ValueError(f"start must be 0 to {steps}, got {start}")
        self.sizes = dict(sizes)
        self.names = sorted(rates)
        self.counts = _counts([rates[name] for name in self.names])
        self.steps, self.start = steps, start
        self.batch, self.accumulate = batch, accumulate
        self.seed, self.stage = seed, xxhash.xxh32_intdigest(stage.encode())
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        return self.steps * self.accumulate

    def __iter__(self) -> Iterator[list[Draw]]:
        micro = self.batch // self.accumulate
        for step in range(self.start, self.steps):
            draws = self.draws(step)
            for first in range(0, self.batch, micro):
                yield draws[first : first + micro]

    def draws(self, step: int) -> list[Draw]:
        """The `batch` samples of this rank at `step`, over all micro-batches."""
        first = (step * self.world_size + self.rank) * self.batch
        draws = []
        for position in range(self.batch):
            name, index = self._sample(first + position)
            seed = (self.seed, self.stage, self.rank, step, position)
            draws.append(Draw(name, index, seed))
        return draws

    def _sample(self, position: int) -> tuple[str, int]:
        """The set at a position of the stage's sequence, and the index in it."""
        block, offset = divmod(position, BLOCK)
        owners, before = _block(self.counts, (self.seed, self.stage, block))
        number = int(owners[offset])
        place = block * self.counts[number] + int(before[offset])
        name = self.names[number]
        epoch, place = divmod(place, self.sizes[name])
        key = (self.seed, self.stage, xxhash.xxh32_intdigest(name.encode()), epoch)
        return name, int(_permutation(self.sizes[name], key)[place])


def _counts(rates: list[float]) -> tuple[int, ...]:
    """Positions of each set in a block: the rates by largest remainder, so they sum to BLOCK."""
    exact = np.array(rates) / sum(rates) * BLOCK
    counts = np.floor(exact).astype(int)
    largest = np.argsort(counts - exact, kind="stable")
    counts[largest[: BLOCK - counts.sum()]] += 1
    return tuple(int(count) for count in counts)


@lru_cache(maxsize=8)
def _block(counts: tuple[int, ...], seed: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Which set each position of a block belongs to, and how many of it come before in the block:
    two arrays of BLOCK."""
    owners = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    before = np.empty(BLOCK, int)
    for number, count in enumerate(counts):
        before[owners == number] = np.arange(count)
    return owners, before


@lru_cache(maxsize=8)
def _permutation(size: int, seed: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).permutation(size)
