"""Means with 95% intervals, bootstrapped over prompts.

Pictures of one prompt are not independent, so whole prompts are drawn, never single pictures: the
statistic is a mean of prompt means. Percentile intervals of `scipy.stats.bootstrap`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean, its 95% interval, and the number of prompts behind it."""

    mean: float
    low: float
    high: float
    n: int


def interval(values: Sequence[float], resamples: int, seed: int) -> Interval:
    """The mean of `values`, one a prompt."""
    return mean_of_groups({"all": values}, resamples, seed)


def mean_of_groups(groups: Mapping[str, Sequence[float]], resamples: int, seed: int) -> Interval:
    """The unweighted mean of the means of groups of prompts, each group resampled by itself.

    Raises ValueError for an empty group: a mean over nothing is no score.
    """
    empty = [name for name, values in groups.items() if not len(values)]
    if empty or not groups:
        raise ValueError(f"every group must have a value, got none for {empty or 'no group'}")
    arrays = [np.asarray(values, float) for values in groups.values()]
    mean = float(np.mean([array.mean() for array in arrays]))
    number = sum(len(array) for array in arrays)
    if all(np.ptp(array) == 0 for array in arrays):
        return Interval(mean, mean, mean, number)
    found = stats.bootstrap(
        arrays,
        lambda *parts, axis: sum(part.mean(axis=axis) for part in parts) / len(parts),
        n_resamples=resamples,
        confidence_level=CONFIDENCE,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high), number)
