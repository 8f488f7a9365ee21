"""Differences of arms: right where they can be worked out by hand, honest where there are none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ladder.experiments.mixed_model import fit
from ladder.experiments.results import Run, read_evaluated, require_comparable
from ladder.experiments.statistics import (
    Analysis,
    Difference,
    SeedError,
    contrast,
    detectable,
    holm,
    seed_error,
    verdicts,
)
from ladder.experiments.strata import Strata

CONFIG = {
    "evaluation": {"seed": 1000, "prompts": 4, "resamples": 9},
    "sampling": {"steps": 20, "batch": 8},
}


def run(arm: str, seed: int, scores: np.ndarray, metric: str = "geneval_toy", **changes) -> Run:
    """A run with these scores, in two groups of prompts."""
    count = len(scores)
    outcomes = pd.DataFrame(
        {
            "metric": metric,
            "group": ["a"] * (count // 2) + ["b"] * (count - count // 2),
            "number": range(count),
            "prompt": [f"prompt {number}" for number in range(count)],
            "score": scores,
        }
    )
    config = {name: dict(values) for name, values in CONFIG.items()}
    for name, value in changes.items():
        section, _, key = name.partition("__")
        config[section][key] = value
    return Run(arm, seed, config, outcomes)


ONE_KIND = Strata.of(["a"] * 3, pooled=False)


def test_a_design_worked_out_by_hand():
    """Two seeds, three prompts of one kind; the means of prompts are 1.5, 3 and 4.5.

    Prompts vary by 2.25, a third of which is .75. Without prompt and seed -.5 0 .5 and .5 0 -.5 are
    left: MS_rest = 1 / 2, and 1 / 12 of it is in .75. Seeds: 2 x .3 / 2.
    """
    values = np.array([[0.0, 2.0, 4.0], [3.0, 4.0, 5.0]])
    mean, error, freedom = contrast(values, ONE_KIND, SeedError(0.3, 10))
    assert mean == 3
    assert error == pytest.approx(np.sqrt(0.3 + 0.75 - 1 / 12))
    assert freedom == pytest.approx(
        (0.3 + 0.75 - 1 / 12) ** 2 / (0.3**2 / 10 + 0.75**2 / 2 + (1 / 12) ** 2 / 2)
    )


def test_without_a_spread_of_seeds_it_is_the_paired_test_over_prompts():
    values = np.tile([0.1, 0.5, 0.3], (3, 1))
    mean, error, freedom = contrast(values, ONE_KIND, SeedError(0.0, 10))
    assert mean == pytest.approx(0.3)
    assert error == pytest.approx(stats.sem(values[0]))
    assert freedom == pytest.approx(2)


def test_the_error_of_seeds_is_that_of_an_additive_layout():
    """Arms 0 and 2 apart, seeds 0 and 4 apart, and .5 left in each run: 4 x .25 over one degree."""
    means = {("x", 1): 0.5, ("x", 2): 3.5, ("y", 1): 1.5, ("y", 2): 6.5}
    more = {**means, ("z", 3): 9.0}  # an arm with a seed of its own is explained whole
    for found in (seed_error(means), seed_error(more)):
        assert found.mean_square == pytest.approx(1.0)
        assert found.freedom == 1
    with pytest.raises(ValueError, match="at least 2 arms must share 2 seeds"):
        seed_error({("x", 1): 0.5, ("y", 1): 1.5})


def test_the_spread_of_seeds_comes_from_all_arms():
    """Two arms whose seeds agree by chance are not surer than the others allow."""
    same = [run("x", seed, np.array([1.0, 0, 1, 0])) for seed in (0, 1)]
    same += [run("y", seed, np.array([0.0, 0, 1, 0])) for seed in (0, 1)]
    restless = [run("z", seed, np.full(4, float(seed))) for seed in (0, 1)]
    alone = Analysis.of(same, "geneval_toy").difference("x", "y")
    among = Analysis.of(same + restless, "geneval_toy").difference("x", "y")
    assert among.mean == alone.mean == 0.25
    assert among.error > 1.5 * alone.error


def test_kinds_are_no_source_of_chance():
    """Kinds that differ much, and prompts that don't within them: there is no error of prompts."""
    kinds = Strata.of(["a", "a", "b", "b"], pooled=False)
    values = np.array([[0.0, 0, 1, 1], [0.0, 0, 1, 1]])
    assert contrast(values, kinds, SeedError(0.0, 10)) == (0.5, 0.0, 1.0)
    pooled = Strata.of(["a", "a", "b", "b"], pooled=True)
    assert contrast(values, pooled, SeedError(0.0, 10))[1] == pytest.approx(stats.sem(values[0]))
    with pytest.raises(ValueError, match=r"at least 2 prompts, got \[1, 2\]"):
        Strata.of(["a", "b", "b"], pooled=False)


def test_the_mean_is_that_of_the_groups():
    """Group b has three prompts and counts as much as a, which has two."""
    for metric, expected in (("geneval_toy", 0.5), ("reasoning", 0.4)):
        runs = [
            run(name, seed, scores, metric)
            for name, scores in (("x", np.array([1.0, 1, 0, 0, 0])), ("y", np.zeros(5)))
            for seed in (0, 1)
        ]
        found = Analysis.of(runs, metric).difference("x", "y")
        assert found.mean == pytest.approx(expected)
        assert (found.seeds, found.prompts) == (2, 5)


def test_a_loss_gains_by_falling():
    runs = [
        run(name, seed, np.array([level, level + 0.1 * seed, level, level]), "heldout_loss.ti2i")
        for name, level in (("x", 0.3), ("y", 0.5))
        for seed in (0, 1, 2)
    ]
    found = Analysis.of(runs, "heldout_loss.ti2i").difference("x", "y")
    assert found.mean == pytest.approx(-0.2)
    gain, low, high = found.gain
    assert (gain, low, high) == pytest.approx((0.2, -found.high, -found.low))
    assert verdicts({"x": found})["x"][1] == "better"
    assert found.p(than=0.2) == pytest.approx(1.0)


def both(arm: str, seed: int, first: np.ndarray, second: np.ndarray) -> Run:
    """A run with two metrics."""
    one, other = run(arm, seed, first, "edit.exact"), run(arm, seed, second, "edit.kept")
    return replace(one, outcomes=pd.concat([one.outcomes, other.outcomes]))


def test_more_gain_in_one_metric_than_in_another():
    """x gains .5 in exact and .25 in kept."""
    runs = [
        both(arm, seed, np.full(4, exact), np.full(6, kept))
        for arm, exact, kept in (("x", 0.75, 0.5), ("y", 0.25, 0.25))
        for seed in (0, 1)
    ]
    found = Analysis.of(runs, "edit.exact - edit.kept").difference("x", "y")
    assert found.mean == pytest.approx(0.25)
    assert found.prompts == 10
    with pytest.raises(ValueError, match="equal in sign"):
        Analysis.of(runs, "edit.exact - heldout_loss.t2i")
    with pytest.raises(ValueError, match=r"no run has the outcome reasoning"):
        Analysis.of(runs, "reasoning")


def test_a_large_effect_is_found():
    rng = np.random.default_rng(1)
    scores = {
        (arm, seed): np.clip(level + 0.2 * rng.normal(size=60), 0, 1)
        for arm, level in (("x", 0.6), ("y", 0.4))
        for seed in range(3)
    }
    scores |= {("z", seed): scores["y", (seed + 1) % 3] for seed in range(3)}  # the same mean
    runs = [run(arm, seed, values) for (arm, seed), values in scores.items()]
    analysis = Analysis.of(runs, "geneval_toy")
    found = {arm: analysis.difference(arm, "y") for arm in ("x", "z")}
    assert {arm: verdict for arm, (_, verdict) in verdicts(found).items()} == {
        "x": "better", "z": "not distinguishable",
    }  # fmt: skip


def test_one_seed_says_nothing():
    runs = [run("x", seed, np.zeros(4)) for seed in (0, 1)]
    runs += [run("y", seed, np.zeros(4)) for seed in (1, 2)]
    with pytest.raises(ValueError, match=r"at least 2 seeds that both have, got \[1\]"):
        Analysis.of(runs, "geneval_toy").difference("x", "y")


def test_holm_and_verdicts_by_hand():
    """Of three p the smallest is times 3, the next times 2, and none falls below the one before."""
    assert holm([0.02, 0.01, 0.9]) == pytest.approx([0.04, 0.03, 0.9])
    assert holm([]) == []
    sure = Difference(0.1, 0.01, 50.0, 3, 60)
    found = verdicts({"a": sure, "b": replace(sure, mean=-0.1), "c": replace(sure, mean=0.01)})
    assert [verdict for _, verdict in found.values()] == ["better", "worse", "not distinguishable"]


def test_a_detectable_difference_is_found_four_times_of_five():
    rng = np.random.default_rng(2)
    effect = detectable(error=1.0, freedom=20.0)
    found = effect + rng.normal(size=4000)
    errors = np.sqrt(rng.chisquare(20, 4000) / 20)
    hits = np.abs(found / errors) > stats.t.ppf(0.975, 20)
    assert hits.mean() == pytest.approx(0.8, abs=0.025)
    assert detectable(1.0, 20.0, comparisons=16) > effect


def test_the_mixed_model_says_the_same_of_a_balanced_design():
    """By REML and by mean squares, as far as both take the spread of seeds from two arms alone."""
    rng = np.random.default_rng(3)
    kinds = Strata.of(["a"] * 15 + ["b"] * 15, pooled=False)
    values = 0.2 + rng.normal(0, 0.3, 30) + rng.normal(0, 0.2, (4, 30))
    values += rng.normal(0, 0.1, (4, 1))
    means = [kinds.mean(row[None]) for row in values]
    own = SeedError(float(np.var(means, ddof=1)) / 2, 3)
    mean, error, _ = contrast(values, kinds, own)
    fitted = fit(values, kinds)
    assert fitted.converged
    assert fitted.mean == pytest.approx(mean, abs=1e-6)
    assert (fitted.high - fitted.low) / 2 == pytest.approx(1.96 * error, rel=0.02)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"evaluation__seed": 1}, "evaluation.seed"),
        ({"sampling__steps": 4}, "sampling.steps"),
        ({"sampling__guidance": 4}, "sampling.guidance"),
    ],
)
def test_runs_of_different_evaluations_are_never_compared(change: dict, field: str):
    with pytest.raises(ValueError, match=f"{field} must be equal"):
        require_comparable(
            [run("x", 0, np.zeros(4)), run("y", 0, np.zeros(4), **change)], "geneval_toy"
        )


def test_runs_with_other_prompts_are_never_compared():
    other = run("y", 0, np.zeros(4))
    other.outcomes.loc[2, "prompt"] = "something else"
    with pytest.raises(ValueError, match="the prompts of geneval_toy must be equal"):
        require_comparable([run("x", 0, np.zeros(4)), other], "geneval_toy")


def test_what_changes_no_score_may_differ():
    require_comparable(
        [run("x", 0, np.zeros(4)), run("y", 0, np.zeros(4), sampling__batch=1)], "geneval_toy"
    )


def test_an_unknown_metric_is_an_error():
    with pytest.raises(ValueError, match="a metric is one of geneval_toy, got 'geneval'"):
        run("x", 0, np.zeros(4)).of_metric("geneval")


def test_runs_are_read_from_what_the_evaluation_writes(tmp_path: Path):
    original = run("x", 3, np.array([0.25, 1.0]))
    original.outcomes.to_csv(tmp_path / "x-3.csv", index=False)
    (tmp_path / "x-3.json").write_text(json.dumps({"config": original.config}))
    found = read_evaluated("x", 3, tmp_path)
    read = found.outcomes.drop(columns="picture")
    pd.testing.assert_frame_equal(read, original.outcomes)
    with pytest.raises(FileNotFoundError, match=r"x-4\.json must hold the results of a run"):
        read_evaluated("x", 4, tmp_path)
