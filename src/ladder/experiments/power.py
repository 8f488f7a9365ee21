"""`ladder study power`: what a study could find, and how often it would find what is not there.

Both come from how much runs of the study that are there vary (a pilot is enough), by the very test
that the report uses. A metric that no run has can't be said anything of.

Letters: S seeds, P prompts, A arms, N studies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ladder.config.load import Config
from ladder.experiments.heldout_loss import SETS
from ladder.experiments.results import Run
from ladder.experiments.statistics import (
    LEVEL,
    Analysis,
    Difference,
    contrast,
    detectable,
    seed_error,
)
from ladder.experiments.strata import Strata
from ladder.experiments.study import Study
from ladder.training.validation import SAMPLES
from ladder.world.edits import KINDS
from ladder.world.language import TASKS

STUDIES = 2000
"""That are simulated: enough to tell 5% from 4% and from 6%."""


@dataclass(frozen=True)
class Components:
    """Variances of a difference of two arms: what makes it vary."""

    seeds: float
    """Between seeds, for ever so many prompts."""
    prompts: float
    """Between prompts of one kind, for ever so many seeds."""
    rest: float
    """Of one prompt with one seed, beyond both."""


def components(analysis: Analysis, control: str) -> Components:
    """As they are measured in the differences to the control of all arms that share two seeds.

    Raises ValueError if none does.
    """
    share = float((analysis.strata.weights**2 / analysis.strata.sizes).sum())
    found = []
    for arm in analysis.compared(control):
        values = analysis.values(arm, control)
        # Back to variances of single prompts, the kinds weighted as in the score.
        both, rest = (float(part.sum()) / share for part in analysis.strata.variances(values))
        found.append((both - rest, rest * len(values)))
    if not found:
        raise ValueError(f"2 arms must share 2 seeds, none does so with {control}")
    prompts, rest = (float(value) for value in np.mean(found, axis=0))
    seeds = 2 * analysis.seed_error.mean_square - rest * share
    return Components(max(seeds, 0.0), max(prompts, 0.0), rest)


def planned_detectable(
    found: Components, over: Strata, arms: int, seeds: int, comparisons: int
) -> float:
    """The smallest true difference that a study of this size finds with 80% power.

    Raises ValueError for fewer than two arms or seeds.
    """
    if min(arms, seeds) < 2:
        raise ValueError(f"2 arms and 2 seeds are the least, got {arms} and {seeds}")
    share, within = over.weights**2 / over.sizes, over.sizes - 1
    of_rest = share * found.rest / seeds
    of_seeds = found.seeds / seeds + of_rest.sum()
    of_prompts = share * found.prompts + of_rest
    total = of_seeds + share.sum() * found.prompts
    spread = (
        of_seeds**2 / ((arms - 1) * (seeds - 1))
        + (of_prompts**2 / within).sum()
        + (of_rest**2 / (within * (seeds - 1))).sum()
    )
    return detectable(float(np.sqrt(total)), float(total**2 / spread), comparisons)


def false_positives(found: Components, over: Strata, arms: int, seeds: int) -> float:
    """The share of STUDIES without any effect in which two arms differ at p < .05."""
    rng = np.random.default_rng(0)
    wrong, prompts = 0, len(over.kinds)
    deviation = {name: np.sqrt(getattr(found, name) / 2) for name in ("seeds", "prompts", "rest")}
    alone = np.sqrt((over.weights**2 / over.sizes).sum())
    for _ in range(STUDIES):
        pair = (
            rng.normal(0, deviation["prompts"], (2, 1, prompts))
            + rng.normal(0, deviation["seeds"], (2, seeds, 1))
            + rng.normal(0, deviation["rest"], (2, seeds, prompts))
        )
        # Of the other arms only the mean of each run counts.
        others = rng.normal(0, deviation["seeds"], (arms - 2, seeds)) + rng.normal(
            0, deviation["rest"] * alone, (arms - 2, seeds)
        )
        means = {
            (str(arm), seed): over.mean(pair[arm, seed][None]) if arm < 2 else others[arm - 2, seed]
            for arm in range(arms)
            for seed in range(seeds)
        }
        values = pair[0] - pair[1]
        tested = Difference(*contrast(values, over, seed_error(means)), *values.shape)
        wrong += tested.p() < LEVEL
    return wrong / STUDIES


def planned_strata(outcome: str, config: Config) -> Strata | None:
    """The prompts that a run is asked for an outcome; None where the settings don't say."""
    asked, world = config.evaluation, config.world
    held_out = dict(zip(SETS, (world.t2i_samples, world.edit_samples), strict=True))
    kind, _, name = outcome.partition(".")
    if outcome == "geneval_toy":
        groups = [task for task in TASKS for _ in range(asked.prompts)]
    elif outcome == "reasoning":
        groups = ["all"] * asked.prompts
    elif kind == "edit":
        groups = [one for one in KINDS for _ in range(asked.edits)]
    elif kind == "heldout_loss":
        share = config.curation.evaluation_share
        groups = ["all"] * min(SAMPLES, round(share * held_out[name]))
    else:
        return None
    return Strata.of(groups, pooled=False)


def power(study: Study, config: Config, runs: Sequence[Run]) -> pd.DataFrame:
    """A row for each metric: prompts, seeds, the smallest true difference to the control that would
    be found in 80% of studies after Holm's correction, and the share of false positives.

    Empty where no run has the metric. Points of 100, but losses as they are. Raises ValueError for
    fewer than two seeds.
    """
    seeds, arms = len(study.seeds), len(study.arms)
    if seeds < 2:
        raise ValueError(f"2 seeds are the least, got {seeds}")
    rows = []
    for outcome in study.outcomes:
        over = planned_strata(outcome, config)
        if over is None:
            continue
        row = {"metric": outcome, "prompts": len(over.kinds), "seeds": seeds}
        known = [run for run in runs if run.has(outcome)]
        analysis = Analysis.of(known, outcome) if known else None
        if analysis and analysis.compared(study.control):
            found = components(analysis, study.control)
            unit = 1.0 if analysis.lower_is_better else 100.0
            row["detectable"] = unit * planned_detectable(found, over, arms, seeds, arms - 1)
            row["false positives"] = 100 * false_positives(found, over, arms, seeds)
        rows.append(row)
    return pd.DataFrame(rows)
