"""How much better is an arm than another, and could it be chance?

Two things are drawn at random: the prompts, and the seeds of training. A difference that holds for
these prompts may not hold for others, and that of one seed often doesn't hold for the next. Both
are therefore random in a crossed design: every seed is asked every prompt. Kinds of prompts (tasks,
kinds of edits) are strata, chosen and not drawn.

The variance of a mean difference of two arms over S seeds is a sum of two parts:

    2 MS / S                                  what seeds do: one error term for all arms
    sum over kinds g of w_g^2 (s_g^2 - r_g) / P_g    what prompts do: of these two arms

MS is the mean square of what arm and seed do not explain in the scores of all runs, the ordinary
error term of an analysis of variance. Two or three seeds of two arms say little about how seeds
vary; all arms together say enough. s_g^2 is the variance of the P_g prompts of kind g, each meaned
over seeds; r_g is the part of it that MS holds already; w_g is the share of the kind. Degrees of
freedom are Satterthwaite's (Clark 1973, doi:10.1016/S0022-5371(73)80014-3). Several differences are
corrected by Holm's method. `ladder study power` measures how often this finds what is not there.

Letters: S seeds, P prompts, A arms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ladder.evaluation.confidence import mean_of_groups
from ladder.evaluation.outcomes import metric_of, strata
from ladder.experiments.results import Run, require_comparable
from ladder.experiments.strata import Strata

LEVEL = 0.05
"""Of significance; intervals have 1 - LEVEL."""
RESAMPLES = 1000
"""Of prompts, for the interval of one arm."""
POWER = 0.8
"""With which the minimum detectable effect would be detected."""
MINUS = " - "
"""Between two metrics of an outcome that is the difference of both."""

Verdict = Literal["better", "worse", "not distinguishable"]


@dataclass(frozen=True)
class Difference:
    """An arm minus its control, in the unit of the outcome."""

    mean: float
    error: float
    """Standard error of the mean, over prompts and seeds."""
    freedom: float
    """Degrees of freedom of the error."""
    seeds: int
    prompts: int
    lower_is_better: bool = False

    @property
    def low(self) -> float:
        return self.mean - self._half

    @property
    def high(self) -> float:
        """The 95% interval ends here and at `low`."""
        return self.mean + self._half

    @property
    def _half(self) -> float:
        return float(stats.t.ppf(1 - LEVEL / 2, self.freedom)) * self.error

    @property
    def gain(self) -> tuple[float, float, float]:
        """The difference and its interval, turned so that more is better."""
        if self.lower_is_better:
            return -self.mean, -self.high, -self.low
        return self.mean, self.low, self.high

    def p(self, than: float = 0.0) -> float:
        """Two-sided, of the hypothesis that the true gain is `than`."""
        distance = abs(self.gain[0] - than)
        if self.error == 0:
            return float(distance == 0)
        return float(2 * stats.t.sf(distance / self.error, self.freedom))

    def detectable(self, comparisons: int = 1) -> float:
        """The smallest true difference that is found with 80% power as the first of Holm's."""
        return detectable(self.error, self.freedom, comparisons)


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


@dataclass(frozen=True)
class SeedError:
    """How much runs of one arm differ by their seeds alone."""

    mean_square: float
    freedom: int


@dataclass(frozen=True)
class Analysis:
    """One outcome of all runs of a study, in which any two arms can be compared.

    An outcome is a metric, or "A - B": how much more an arm gains in metric A than in metric B.
    """

    outcome: str
    scores: Mapping[tuple[str, int], Float[np.ndarray, " P"]]
    """By arm and seed."""
    strata: Strata
    lower_is_better: bool

    @classmethod
    def of(cls, runs: Sequence[Run], outcome: str) -> Analysis:
        """The outcome in those of `runs` that have it.

        Raises ValueError for an unknown metric, for metrics of opposite directions, if no run has
        the outcome, or if the runs weren't asked the same.
        """
        metrics = outcome.split(MINUS)
        lower = {metric_of(metric).lower_is_better for metric in metrics}
        if len(metrics) > 2 or len(lower) > 1:
            raise ValueError(f"an outcome is a metric or A{MINUS}B, equal in sign, got {outcome!r}")
        known = [run for run in runs if all(map(run.has, metrics))]
        if not known:
            raise ValueError(f"no run has the outcome {outcome}")
        parts = []
        for metric, sign in zip(metrics, (1.0, -1.0), strict=False):
            require_comparable(known, metric)
            groups = known[0].of_metric(metric)["group"].to_numpy()
            parts.append(Strata.of(groups, metric_of(metric).pooled, sign))
        scores = {
            (run.arm, run.seed): np.concatenate(
                [run.of_metric(metric)["score"].to_numpy() for metric in metrics]
            )
            for run in known
        }
        return cls(outcome, scores, Strata.joined(parts), lower.pop())

    def seeds(self, *arms: str) -> list[int]:
        """The seeds that all of these arms have."""
        having = [{seed for name, seed in self.scores if name == arm} for arm in arms]
        return sorted(set.intersection(*having))

    @property
    def arms(self) -> list[str]:
        return [*dict.fromkeys(arm for arm, _ in self.scores)]

    def compared(self, control: str) -> list[str]:
        """The other arms that share two seeds or more with `control`."""
        return [arm for arm in self.arms if arm != control and len(self.seeds(arm, control)) > 1]

    @cached_property
    def seed_error(self) -> SeedError:
        """Of the runs' scores, by arms that have two seeds or more."""
        several = [arm for arm in self.arms if len(self.seeds(arm)) > 1]
        means = {
            run: self.strata.mean(values[None])
            for run, values in self.scores.items()
            if run[0] in several
        }
        return seed_error(means)

    def values(self, arm: str, control: str) -> Float[np.ndarray, "S P"]:
        """The arm's scores minus the control's, over the seeds that both have.

        Raises ValueError for fewer than two: one seed says nothing of the next.
        """
        seeds = self.seeds(arm, control)
        if len(seeds) < 2:
            raise ValueError(f"arms are compared over at least 2 seeds that both have, got {seeds}")
        return np.stack([self.scores[arm, s] - self.scores[control, s] for s in seeds])

    def difference(self, arm: str, control: str) -> Difference:
        """The difference of two arms. Raises as `values` does."""
        values = self.values(arm, control)
        mean, error, freedom = contrast(values, self.strata, self.seed_error)
        return Difference(mean, error, freedom, *values.shape, self.lower_is_better)


def arm_mean(runs: Sequence[Run], metric: str) -> ArmMean:
    """The mean of an arm's seeds, bootstrapped over prompts, and its spread over seeds.

    Raises ValueError if the runs weren't asked the same.
    """
    require_comparable(runs, metric)
    tables = [run.of_metric(metric) for run in runs]
    groups = tables[0]["group"].to_numpy()
    scores = np.stack([table["score"] for table in tables])
    own = Strata.of(groups, metric_of(metric).pooled)
    whole = mean_of_groups(strata(metric, groups, scores.mean(0)), RESAMPLES, seed=0)
    means = [own.mean(row[None]) for row in scores]
    spread = float(np.std(means, ddof=1)) if len(runs) > 1 else float("nan")
    return ArmMean(whole.mean, whole.low, whole.high, spread, len(groups))


def seed_error(means: Mapping[tuple[str, int], float]) -> SeedError:
    """The mean square of what arm and seed do not explain in the scores of runs.

    By least squares, so that arms may have different seeds. Raises ValueError where the runs are
    too few to leave anything unexplained.
    """
    arms, seeds = (sorted({run[part] for run in means}) for part in (0, 1))
    design = np.array(
        [[arm == a for a in arms] + [seed == s for s in seeds] for arm, seed in means], float
    ).reshape(len(means), -1)
    scores = np.array([*means.values()])
    found, _, rank, _ = np.linalg.lstsq(design, scores)
    freedom = len(means) - int(rank)
    if freedom < 1:
        raise ValueError(f"at least 2 arms must share 2 seeds, got the runs {[*means]}")
    return SeedError(float(((scores - design @ found) ** 2).sum()) / freedom, freedom)


def contrast(
    values: Float[np.ndarray, "S P"], over: Strata, seeds: SeedError
) -> tuple[float, float, float]:
    """Mean, standard error and degrees of freedom of a difference of two arms."""
    mean, count, within = over.mean(values), len(values), over.sizes - 1
    total = 2 * seeds.mean_square / count
    spread = total**2 / seeds.freedom
    of_prompts, of_rest = over.variances(values)
    if (more := float(of_prompts.sum() - of_rest.sum())) > 0:
        total += more
        spread += float((of_prompts**2 / within).sum() + (of_rest**2 / within).sum() / (count - 1))
    if total == 0:
        return mean, 0.0, 1.0
    return mean, float(np.sqrt(total)), float(total**2 / spread)


def verdicts(differences: Mapping[str, Difference]) -> dict[str, tuple[float, Verdict]]:
    """Holm-corrected p and verdict of every difference of a family."""
    corrected = holm([d.p() for d in differences.values()])
    found: dict[str, tuple[float, Verdict]] = {}
    for (arm, difference), p in zip(differences.items(), corrected, strict=True):
        sure: Verdict = "better" if difference.gain[0] > 0 else "worse"
        found[arm] = (p, sure if p < LEVEL else "not distinguishable")
    return found


def holm(values: Sequence[float]) -> list[float]:
    """p corrected by Holm's method for as many tests as there are."""
    return [float(p) for p in multipletests(values, LEVEL, "holm")[1]] if len(values) else []


def detectable(error: float, freedom: float, comparisons: int = 1) -> float:
    """The smallest true difference that a comparison with this error finds with 80% power.

    The level is divided by the number of comparisons, as for the first of Holm's.
    """
    wanted, chance = stats.t.ppf([1 - LEVEL / comparisons / 2, POWER], freedom)
    return float((wanted + chance) * error)
