"""Means with 95% intervals, bootstrapped over prompts.

Pictures of one prompt are not independent, so whole prompts are drawn, never single pictures: a
value here is the mean of a prompt. The intervals are percentiles of resampled means. Where all
values are equal the interval has no width, which says that resampling finds no spread, not that
there is none.

`scipy.stats.bootstrap` draws the same samples and gives the same intervals but for the last digit.
It takes up to ten times as long and refuses a group of one prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean, its 95% interval, and the number of prompts behind it."""

    mean: float
    low: float
    high: float
    n: int


def mean_of_groups(groups: Mapping[str, Sequence[float]], resamples: int, seed: int) -> Interval:
    """The unweighted mean of the means of groups of prompts, each group resampled by itself.

    Raises ValueError for an empty group: a mean over nothing is no score.
    """
    empty = [name for name, values in groups.items() if not len(values)]
    if empty or not groups:
        raise ValueError(f"every group must have a value, got none for {empty or 'no group'}")
    rng = np.random.default_rng(seed)
    means, drawn = [], []
    for values in groups.values():
        array = np.asarray(values, float)
        means.append(array.mean())
        drawn.append(array[rng.integers(len(array), size=(resamples, len(array)))].mean(1))
    mean, tail = float(np.mean(means)), (1 - CONFIDENCE) / 2
    low, high = (float(value) for value in np.quantile(np.mean(drawn, 0), (tail, 1 - tail)))
    number = sum(len(values) for values in groups.values())
    # Rounding must not push the mean out of an interval without width.
    return Interval(mean, min(low, mean), max(high, mean), number)
