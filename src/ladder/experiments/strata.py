"""Prompts in kinds: what each kind counts in a score, and how prompts vary within it.

Letters: S seeds, P prompts, G kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Strata:
    """The kind of every prompt, and the weight of every kind.

    Raises ValueError for a kind of fewer than two prompts: how they vary can't be known.
    """

    kinds: Int[np.ndarray, " P"]
    weights: Float[np.ndarray, " G"]
    """Their sum is 1, or 0 where a score is the difference of two."""

    def __post_init__(self) -> None:
        if len(self.kinds) == 0 or self.sizes.min() < 2:
            raise ValueError(f"a kind needs at least 2 prompts, got {self.sizes.tolist()}")

    @classmethod
    def of(cls, groups: Sequence[str] | np.ndarray, pooled: bool, sign: float = 1.0) -> Strata:
        """Every group counts the same; or they are one kind if they are `pooled`."""
        names, kinds = np.unique(["" if pooled else name for name in groups], return_inverse=True)
        return cls(kinds, np.full(len(names), sign / len(names)))

    @classmethod
    def joined(cls, parts: Sequence[Strata]) -> Strata:
        """One after the other."""
        starts = np.cumsum([0, *(len(part.weights) for part in parts[:-1])])
        kinds = [part.kinds + start for part, start in zip(parts, starts, strict=True)]
        return cls(np.concatenate(kinds), np.concatenate([part.weights for part in parts]))

    @property
    def sizes(self) -> Int[np.ndarray, " G"]:
        """Prompts of each kind."""
        return np.bincount(self.kinds, minlength=len(self.weights))

    def mean(self, values: Float[np.ndarray, "S P"]) -> float:
        """The weighted mean of the kinds' means."""
        sums = np.bincount(self.kinds, values.mean(0), len(self.weights))
        return float(self.weights @ (sums / self.sizes))

    def variances(
        self, values: Float[np.ndarray, "S P"]
    ) -> tuple[Float[np.ndarray, " G"], Float[np.ndarray, " G"]]:
        """What each kind adds to the variance of the mean: by its prompts, and by the rest.

        The rest is what neither seed nor prompt explains. The first holds the second, too.
        """
        seeds, share = len(values), self.weights**2 / self.sizes
        by_prompt = self._spread(values.mean(0)[None])
        rest = self._spread(values - values.mean(0)) / seeds / max(seeds - 1, 1)
        return share * by_prompt, share * rest

    def _spread(self, values: Float[np.ndarray, "S P"]) -> Float[np.ndarray, " G"]:
        """The variances of the prompts of each kind within a seed, summed over seeds."""
        total = np.zeros(len(self.weights))
        for row in values:
            means = np.bincount(self.kinds, row, len(self.weights)) / self.sizes
            squares = (row - means[self.kinds]) ** 2
            total += np.bincount(self.kinds, squares, len(self.weights)) / (self.sizes - 1)
        return total
