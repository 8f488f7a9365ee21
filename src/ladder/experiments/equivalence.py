"""Whether scores of two runs over the same prompts are the same: paired tests of equivalence.

What they are put together to is told in `ladder.experiments.reproduced`.

Letters: P prompts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats
from statsmodels.stats.multitest import multipletests

MARGIN = 0.03
"""Largest difference of scores that counts as the same."""
LEVEL = 0.05
"""Of each one-sided test of equivalence; intervals have 1 - 2 LEVEL."""
SURE = 0.01
"""Level of all tests together by which a single score is called other."""
Finding = Literal["same", "other", "undecided"]


@dataclass(frozen=True)
class PairedDifference:
    """A score here minus the committed one, both from 0 to 1."""

    committed: float
    here: float
    low: float
    high: float
    """The 90% interval of the difference, over prompts."""
    p: float
    """Two-sided, of no difference."""

    @property
    def mean(self) -> float:
        return self.here - self.committed

    @property
    def within(self) -> bool:
        """Whether the equivalence test says that it is less than MARGIN."""
        return self.low > -MARGIN and self.high < MARGIN

    @property
    def beyond(self) -> bool:
        """Whether the whole interval is further than MARGIN from no difference."""
        return self.low > MARGIN or self.high < -MARGIN

    def __str__(self) -> str:
        mean, low, high = (100 * value for value in (self.mean, self.low, self.high))
        return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def difference(before: Float[np.ndarray, " P"], after: Float[np.ndarray, " P"]) -> PairedDifference:
    """The difference of two means over the same prompts, by a paired t test.

    Raises ValueError for fewer than two prompts.
    """
    values = after - before
    if len(values) < 2:
        raise ValueError(f"a difference needs at least 2 prompts, got {len(values)}")
    error, freedom = float(stats.sem(values)), len(values) - 1
    half = float(stats.t.ppf(1 - LEVEL, freedom)) * error
    mean = float(values.mean())
    p = float(2 * stats.t.sf(abs(mean) / error, freedom)) if error else float(mean == 0)
    return PairedDifference(float(before.mean()), float(after.mean()), mean - half, mean + half, p)


def judge(differences: Mapping[str, PairedDifference]) -> dict[str, Finding]:
    """Whether each score is the same, another one, or can't be told."""
    sure = multipletests([found.p for found in differences.values()], SURE, "holm")[0]
    findings: dict[str, Finding] = {}
    for (name, found), differs in zip(differences.items(), sure, strict=True):
        findings[name] = finding(found, bool(differs) and abs(found.mean) > MARGIN)
    return findings


def finding(found: PairedDifference, other: bool) -> Finding:
    """What is to be said of a difference; `other` is the outcome of the test for that."""
    return "same" if found.within else "other" if other else "undecided"


def agrees(
    before: Float[np.ndarray, " P"], after: Float[np.ndarray, " P"], groups: list[str]
) -> float:
    """How far two runs agree on single prompts within `groups`, in standard deviations over what a
    permutation within groups would give; infinite where one of them treats all prompts alike.

    Over all permutations the sum of products of centred values has mean 0 and a known variance.
    """
    product, variance = 0.0, 0.0
    for _, rows in pd.DataFrame({"a": before, "b": after}).groupby(groups):
        if len(rows) > 1:
            a, b = (rows[name] - rows[name].mean() for name in ("a", "b"))
            product += float((a * b).sum())
            variance += float((a**2).sum() * (b**2).sum()) / (len(rows) - 1)
    return product / variance**0.5 if variance > 0 else float("inf")
