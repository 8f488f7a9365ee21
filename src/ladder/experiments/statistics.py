"""How much better is an arm than another, and could it be chance?

Two things are drawn at random: the prompts, and the seeds of training. A difference that holds for
these prompts may not hold for others, and one of this seed often doesn't hold for the next (a 2.7
sigma win of one seed did not replicate in the prototype). Both are therefore random effects of a
crossed design, every prompt having been asked of every seed. The variance of a mean difference over
S seeds and P prompts is estimated from the mean squares of the two-way layout,

    (MS_seeds + MS_prompts - MS_rest) / (S P),

with Satterthwaite's degrees of freedom (Clark 1973, doi:10.1016/S0022-5371(73)80014-3). Few seeds
estimate their mean square badly, and where it comes out low by chance a test is too sure: in
simulations without any effect 6 to 9% of differences over two or three seeds had p < .05. MS_seeds
is therefore never taken to be lower than MS_prompts, which makes that 0 to 3% for seeds whose
logits of being right differ by a standard deviation of .3, and 5 to 6% for one of 1. Several arms
against one control are corrected by Holm's method.

Letters: S seeds, P prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ladder.evaluation.confidence import mean_of_groups
from ladder.evaluation.outcomes import strata, weights
from ladder.experiments.results import Run, require_comparable

LEVEL = 0.05
"""Of significance; intervals have 1 - LEVEL."""
RESAMPLES = 1000
"""Of prompts, for the interval of one arm."""
POWER = 0.8
"""With which the minimum detectable effect would be detected."""

Verdict = Literal["better", "worse", "not distinguishable"]


@dataclass(frozen=True)
class Difference:
    """An arm minus its control, in points of a score from 0 to 1."""

    mean: float
    low: float
    high: float
    """The 95% interval, over prompts and seeds."""
    p: float
    """Two-sided; of no difference."""
    seeds: int
    prompts: int
    improvement: float
    """Probability that a seed of the arm does better than one of the control, in a group of
    prompts drawn at random (arXiv 2108.13264); 0.5 is no difference."""


@dataclass(frozen=True)
class ArmMean:
    """A score of one arm over its seeds."""

    mean: float
    low: float
    high: float
    """The 95% interval over prompts: of these trained models, not of others."""
    spread: float
    """Standard deviation of the seeds' means; NaN for one seed."""
    prompts: int


def arm_mean(runs: Sequence[Run], metric: str) -> ArmMean:
    """The mean of an arm's seeds, bootstrapped over prompts, and its spread over seeds.

    Raises ValueError if the runs weren't asked the same.
    """
    require_comparable(runs, metric)
    tables = [run.of_metric(metric) for run in runs]
    groups = tables[0]["group"].to_numpy()
    scores = np.stack([table["score"] for table in tables])
    weighted = weights(metric, groups) * scores
    whole = mean_of_groups(strata(metric, groups, scores.mean(0)), RESAMPLES, seed=0)
    spread = float(weighted.mean(1).std(ddof=1)) if len(runs) > 1 else float("nan")
    return ArmMean(whole.mean, whole.low, whole.high, spread, len(groups))


def paired(arm: Sequence[Run], control: Sequence[Run], metric: str) -> Difference:
    """The difference of two arms in a metric, over the seeds that both have.

    Raises ValueError if they share fewer than two seeds (one says nothing of the next), or weren't
    asked the same.
    """
    mine, theirs = ({run.seed: run for run in runs} for runs in (arm, control))
    seeds = sorted(mine.keys() & theirs.keys())
    if len(seeds) < 2:
        raise ValueError(f"arms are compared over at least 2 seeds that both have, got {seeds}")
    require_comparable([run[seed] for run in (theirs, mine) for seed in seeds], metric)
    rows = theirs[seeds[0]].of_metric(metric)
    scores, others = (
        np.stack([runs[seed].of_metric(metric)["score"] for seed in seeds])
        for runs in (mine, theirs)
    )
    groups = rows["group"].to_numpy()
    weighted = weights(metric, groups) * (scores - others)
    mean, error, freedom = crossed(weighted)
    half = float(stats.t.ppf(1 - LEVEL / 2, freedom)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, freedom)) if error else float(mean == 0)
    better = probability_of_improvement(scores, others, groups)
    return Difference(mean, mean - half, mean + half, p, *weighted.shape, better)


def crossed(values: Float[np.ndarray, "S P"]) -> tuple[float, float, float]:
    """Mean, standard error and degrees of freedom of values with random seeds and prompts."""
    seeds, prompts = values.shape
    mean = values.mean()
    by_seed, by_prompt = values.mean(1) - mean, values.mean(0) - mean
    rest = values - mean - by_seed[:, None] - by_prompt
    free_seeds, free_prompts = seeds - 1, prompts - 1
    of_prompts = seeds * (by_prompt**2).sum() / free_prompts
    of_seeds = max(prompts * (by_seed**2).sum() / free_seeds, of_prompts)
    of_rest = (rest**2).sum() / (free_seeds * free_prompts)
    total = of_seeds + max(of_prompts - of_rest, 0.0)
    if total == 0:
        return float(mean), 0.0, 1.0
    spread = (
        of_seeds**2 / free_seeds
        + of_prompts**2 / free_prompts
        + of_rest**2 / (free_seeds * free_prompts)
    )
    return float(mean), float(np.sqrt(total / values.size)), float(total**2 / spread)


def probability_of_improvement(
    scores: Float[np.ndarray, "S P"], others: Float[np.ndarray, "S P"], groups: np.ndarray
) -> float:
    """How often a seed's mean of a group is higher than one of the others; ties count half."""
    found = []
    for name in np.unique(groups):
        mine, theirs = scores[:, groups == name].mean(1), others[:, groups == name].mean(1)
        wins = np.sign(mine[:, None] - theirs[None, :])
        found.append((wins + 1).mean() / 2)
    return float(np.mean(found))


def verdicts(differences: Mapping[str, Difference]) -> dict[str, tuple[float, Verdict]]:
    """Holm-corrected p and verdict of every arm against the same control."""
    if not differences:
        return {}
    corrected = multipletests([d.p for d in differences.values()], LEVEL, "holm")[1]
    found: dict[str, tuple[float, Verdict]] = {}
    for (arm, difference), p in zip(differences.items(), corrected, strict=True):
        sure: Verdict = "better" if difference.mean > 0 else "worse"
        found[arm] = (float(p), sure if p < LEVEL else "not distinguishable")
    return found


def minimum_detectable_effect(
    prompts: int, seeds: int, prompt_deviation: float, seed_deviation: float, comparisons: int = 1
) -> float:
    """The smallest true difference that a comparison would find with 80% power.

    The deviations are those of a difference: between prompts, and between seeds. The level is
    divided by the number of comparisons, as for the first of Holm's.
    """
    if seeds < 2 or prompts < 2:
        raise ValueError(f"2 seeds and 2 prompts are the least, got {seeds} and {prompts}")
    of_prompts, of_seeds = prompt_deviation**2 / prompts, seed_deviation**2 / seeds
    if of_prompts == of_seeds == 0:
        return 0.0
    taken = max(of_seeds, of_prompts)  # for what seeds contribute, as by `crossed`
    freedom = (of_prompts + taken) ** 2 / (of_prompts**2 / (prompts - 1) + taken**2 / (seeds - 1))
    wanted, chance = stats.t.ppf([1 - LEVEL / comparisons / 2, POWER], freedom)
    return float(wanted * np.sqrt(of_prompts + taken) + chance * np.sqrt(of_prompts + of_seeds))
