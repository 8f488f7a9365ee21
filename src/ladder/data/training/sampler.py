"""Which samples make up step k: a pure function of the seed, the stage and a global position.

All samples of a bucket (pictures of one size) form one endless sequence. Position g of it belongs
to one data set, so that the rates of the mixture hold over every `BLOCK` positions, and to one
place in the endless sequence of that set, which is one permutation of the set after another. Each
step draws from one bucket, and takes the next positions of it: rank r of W takes its batch from
r batch on. Hence ranks are disjoint, and together they see every sample once an epoch. A run may be
resumed at any step, with any number of micro-batches, and sees what it would have seen. Resumed on
another number of ranks, it goes on at the position that all ranks together had reached.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import xxhash
from torch.utils.data import Sampler

from ladder.data.training.encoded import ONLY

BLOCK = 1000
"""Positions over which the rates of a mixture are exact, up to rounding."""


@dataclass(frozen=True)
class Draw:
    """One sample of a batch."""

    name: str
    """Of the data set."""
    index: int
    """In the bucket of the data set."""
    seed: tuple[int, ...]
    """Seeds whatever is random about the sample at this step: its caption, its dropping."""
    bucket: str = ONLY


class Shares:
    """An endless sequence of names, in which each has its share of every BLOCK positions.

    What a share leaves over when it is rounded to whole positions is made up for in later blocks:
    a share of .0004 gets two positions in every five blocks.
    """

    def __init__(self, shares: Mapping[str, float], seed: tuple[int, ...]) -> None:
        """`seed` chooses the order within each block."""
        self.names = sorted(shares)
        self.seed = seed
        total = sum(shares[name] for name in self.names)
        self._exact = np.array([shares[name] for name in self.names]) / total * BLOCK
        self._owed = np.zeros(len(self.names))
        self._counts: list[tuple[int, ...]] = []
        self._before = [np.zeros(len(self.names), int)]

    def at(self, position: int) -> tuple[str, int]:
        """The name at a position, and how often it comes before."""
        block, offset = divmod(position, BLOCK)
        owners, before = self._block(block)
        number = int(owners[offset])
        return self.names[number], int(self._before[block][number] + before[offset])

    def before(self, position: int) -> dict[str, int]:
        """How often each name comes before a position."""
        block, offset = divmod(position, BLOCK)
        owners, _ = self._block(block)
        counts = self._before[block] + np.bincount(owners[:offset], minlength=len(self.names))
        return dict(zip(self.names, counts.tolist(), strict=True))

    def _block(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        while len(self._counts) <= block:
            floors = np.floor(self._exact).astype(int)
            self._owed += self._exact - floors
            most = np.argsort(-self._owed, kind="stable")[: BLOCK - floors.sum()]
            floors[most] += 1
            self._owed[most] -= 1
            self._counts.append(tuple(floors.tolist()))
            self._before.append(self._before[-1] + floors)
        return _order(self._counts[block], (*self.seed, block))


class StepBatches(Sampler[list[Draw]]):
    """Batch sampler: the micro-batches of one rank from step `start` on, to step `steps`.

    Its length counts from step 0, since Lightning counts the micro-batches before a resumption.
    """

    def __init__(
        self,
        sizes: Mapping[str, Mapping[str, int]],
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
        seen: Mapping[str, int] | None = None,
    ) -> None:
        """The samples of each set by bucket (`sizes`), the share of each set (`rates`, sum 1), and
        `batch` samples a step and rank in `accumulate` micro-batches. `seed` and the name of the
        `stage` choose the order. `seen`: how many samples all ranks together took of each bucket
        before `start`; None: as many as these ranks would have.

        Raises ValueError for a set without samples and for numbers that don't fit together.
        """
        for name, rate in rates.items():
            if rate > 0 and sum(sizes.get(name, {}).values()) < 1:
                raise ValueError(f"set {name} of the mixture has no samples")
        if abs(sum(rates.values()) - 1) > 1e-6:
            raise ValueError(f"rates of a mixture sum to 1, got {dict(rates)}")
        total = steps * batch * world_size
        for name, rate in rates.items():
            if 0 < rate * total < 1:
                raise ValueError(
                    f"a set of the mixture must get a sample: {name} with a share of {rate} of "
                    f"{total} samples gets none"
                )
        if batch % accumulate:
            raise ValueError(f"accumulate must divide batch {batch}, got {accumulate}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be 0 to {world_size - 1}, got {rank}")
        if not 0 <= start <= steps:
            raise ValueError(f"start must be 0 to {steps}, got {start}")
        self.sizes = {name: dict(sizes[name]) for name in rates if rates[name] > 0}
        self.steps, self.start = steps, start
        self.batch, self.accumulate = batch, accumulate
        self.seed, self.stage = seed, xxhash.xxh32_intdigest(stage.encode())
        self.rank, self.world_size = rank, world_size
        shares: dict[str, dict[str, float]] = {}
        for name, buckets in self.sizes.items():
            for bucket, size in buckets.items():
                share = rates[name] * size / sum(buckets.values())
                shares.setdefault(bucket, {})[name] = share
        own = (self.seed, self.stage)
        self._sets = {bucket: Shares(by, own + _named(bucket)) for bucket, by in shares.items()}
        totals = {bucket: sum(by.values()) for bucket, by in shares.items()}
        self._buckets = Shares(totals, (*own, BLOCK))
        self._permutations: dict[tuple[str, str], tuple[int, np.ndarray]] = {}
        self._begun = self._buckets.before(start)
        together = batch * world_size
        self._seen = dict(seen or {b: steps * together for b, steps in self._begun.items()})
        if self._seen.keys() != shares.keys():
            raise ValueError(
                f"what was seen must be of the buckets {sorted(shares)}, got {sorted(self._seen)}"
            )

    def __len__(self) -> int:
        return self.steps * self.accumulate

    def __iter__(self) -> Iterator[list[Draw]]:
        micro = self.batch // self.accumulate
        for step in range(self.start, self.steps):
            draws = self.draws(step)
            for first in range(0, self.batch, micro):
                yield draws[first : first + micro]

    def draws(self, step: int) -> list[Draw]:
        """The `batch` samples of this rank at `step`, over all micro-batches; all of one bucket."""
        bucket, number = self._buckets.at(step)
        together = self.batch * self.world_size
        first = self._seen[bucket] + (number - self._begun[bucket]) * together
        draws = []
        for place in range(self.rank * self.batch, (self.rank + 1) * self.batch):
            name, index = self._sample(bucket, first + place)
            # The 0 was the rank once; with it, the captions of earlier trainings come again.
            draws.append(Draw(name, index, (self.seed, self.stage, 0, step, place), bucket))
        return draws

    def seen(self, step: int) -> dict[str, int]:
        """How many samples of each bucket all ranks together have taken before `step`."""
        together = self.batch * self.world_size
        steps = self._buckets.before(step)
        return {b: self._seen[b] + (steps[b] - self._begun[b]) * together for b in steps}

    def _sample(self, bucket: str, position: int) -> tuple[str, int]:
        """The set at a position of a bucket's sequence, and the index in its bucket."""
        name, place = self._sets[bucket].at(position)
        size = self.sizes[name][bucket]
        epoch, place = divmod(place, size)
        of_set = xxhash.xxh32_intdigest(name.encode())
        key = (self.seed, self.stage, *_named(bucket), of_set, epoch)
        # One epoch of each set is kept: its permutation takes 8 bytes a sample.
        kept, order = self._permutations.get((name, bucket), (-1, None))
        if kept != epoch:
            order = np.random.default_rng(key).permutation(size)
            self._permutations[name, bucket] = epoch, order
        return name, int(order[place])


def _named(bucket: str) -> tuple[int, ...]:
    """What the name of a bucket adds to a seed."""
    return () if bucket == ONLY else (xxhash.xxh32_intdigest(bucket.encode()),)


@lru_cache(maxsize=32)
def _order(counts: tuple[int, ...], seed: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Which name each position of a block belongs to, and how often it comes before in the block:
    two arrays of BLOCK."""
    owners = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    before = np.empty(BLOCK, int)
    for number, count in enumerate(counts):
        before[owners == number] = np.arange(count)
    return owners, before
