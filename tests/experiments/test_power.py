"""What a study could find, and how often it finds what is not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ladder.experiments.power import (
    Components,
    components,
    false_positives,
    planned_detectable,
    power,
)
from ladder.experiments.results import RESULTS, Run, read_runs
from ladder.experiments.statistics import Analysis
from ladder.experiments.strata import Strata
from ladder.experiments.study import Study

ROOT = Path(__file__).parents[2]
LAYERS = Study.read("layers", root=ROOT)
KINDS = Strata.of([kind for kind in "abcdefg" for _ in range(15)], pooled=False)
MEASURED = ("edit.exact", "geneval_toy", "reasoning")
STUDY = Study(
    notebook="x.ipynb",
    analysis="scores",
    control="last",
    arms=["ladder", "last", "mean"],
    seeds=[1, 2, 3, 4, 5],
    outcomes=["heldout_loss.ti2i", "geneval_toy", "reasoning", "edit.exact"],
)


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return read_runs(LAYERS, ROOT / RESULTS)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("outcome", MEASURED)
def test_three_to_six_of_a_hundred_equal_arms_are_told_apart(runs, outcome: str, seeds: int):
    """At a nominal 5%, with the spread that the committed runs have: neither too sure nor too shy.

    2,000 studies know the share within half a point.
    """
    analysis = Analysis.of(runs, outcome)
    found = components(analysis, LAYERS.control)
    rate = false_positives(found, analysis.strata, len(LAYERS.arms), seeds)
    assert 0.03 <= rate <= 0.06


def drawn(rng: np.random.Generator, true: Components, arms: int, seeds: int) -> Analysis:
    """A study whose differences vary by `true`."""
    half = {name: np.sqrt(value / 2) for name, value in vars(true).items()}
    prompts = len(KINDS.kinds)
    scores = {}
    for arm in map(str, range(arms)):
        of_prompts = half["prompts"] * rng.normal(size=prompts)
        for seed in range(seeds):
            scores[arm, seed] = (
                of_prompts + half["seeds"] * rng.normal() + half["rest"] * rng.normal(size=prompts)
            )
    return Analysis("edit.exact", scores, KINDS, False)


def test_components_are_found_again():
    true = Components(seeds=0.003, prompts=0.1, rest=0.06)
    found = components(drawn(np.random.default_rng(0), true, 40, 5), "0")
    assert found.seeds == pytest.approx(true.seeds, rel=0.35)
    assert found.prompts == pytest.approx(true.prompts, rel=0.15)
    assert found.rest == pytest.approx(true.rest, rel=0.1)


def test_what_a_plan_promises_is_found_four_times_of_five():
    true, rng = Components(seeds=0.002, prompts=0.1, rest=0.06), np.random.default_rng(1)
    effect = planned_detectable(true, KINDS, arms=10, seeds=3, comparisons=1)
    hits = []
    for _ in range(400):
        study = drawn(rng, true, 10, 3)
        better = {run: values + effect * (run[0] == "1") for run, values in study.scores.items()}
        hits.append(Analysis("edit.exact", better, KINDS, False).difference("1", "0").p() < 0.05)
    assert np.mean(hits) == pytest.approx(0.8, abs=0.06)


def test_more_prompts_and_more_seeds_find_smaller_differences():
    true = Components(seeds=0.002, prompts=0.1, rest=0.06)
    plan = {"arms": 10, "seeds": 3, "comparisons": 9}
    base = planned_detectable(true, KINDS, **plan)
    more = Strata.of([kind for kind in "abcdefg" for _ in range(60)], pooled=False)
    assert planned_detectable(true, more, **plan) < base
    assert planned_detectable(true, KINDS, **plan | {"seeds": 6}) < base
    assert planned_detectable(true, KINDS, **plan | {"comparisons": 1}) < base
    with pytest.raises(ValueError, match="2 arms and 2 seeds are the least, got 10 and 1"):
        planned_detectable(true, KINDS, **plan | {"seeds": 1})


def test_the_table_has_what_the_settings_ask_and_what_runs_have_shown(config, runs, monkeypatch):
    monkeypatch.setattr("ladder.experiments.power.STUDIES", 20)
    rows = power(STUDY, config, [run for run in runs if run.arm in STUDY.arms])
    rows = rows.set_index("metric")
    assert rows.loc["geneval_toy", "prompts"] == 6 * config.evaluation.prompts
    assert rows.loc["edit.exact", "prompts"] == 7 * config.evaluation.edits
    assert rows.loc["heldout_loss.ti2i", "prompts"] == 240
    assert rows.loc["geneval_toy", "detectable"] < rows.loc["reasoning", "detectable"]
    assert pd.isna(rows.loc["heldout_loss.ti2i", "detectable"])  # no run has it
    with pytest.raises(ValueError, match="2 seeds"):
        power(STUDY.model_copy(update={"seeds": [1]}), config, [])
