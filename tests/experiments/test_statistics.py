"""Differences of arms: right where they can be worked out by hand, honest where there are none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ladder.experiments.results import Run, read_evaluated, require_comparable
from ladder.experiments.statistics import (
    Difference,
    crossed,
    minimum_detectable_effect,
    paired,
    probability_of_improvement,
    verdicts,
)

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


def difference(p: float, mean: float = 0.1) -> Difference:
    return Difference(mean, mean - 0.1, mean + 0.1, p, 2, 10, 0.5)


def test_a_design_worked_out_by_hand():
    """Two seeds, three prompts. Mean 3; seeds 2 and 4; prompts 1.5, 3 and 4.5.

    MS_seeds = 3 (1 + 1) / 1 = 6, MS_prompts = 2 (2.25 + 0 + 2.25) / 2 = 4.5; what is left is
    -0.5 0 0.5 and 0.5 0 -0.5: MS_rest = 1 / 2.
    """
    values = np.array([[0.0, 2.0, 4.0], [3.0, 4.0, 5.0]])
    mean, error, freedom = crossed(values)
    assert mean == 3
    assert error == pytest.approx(np.sqrt((6 + 4.5 - 0.5) / 6))
    assert freedom == pytest.approx(10**2 / (6**2 / 1 + 4.5**2 / 2 + 0.5**2 / 2))


def test_with_equal_seeds_these_are_taken_to_vary_as_prompts_do():
    """MS_seeds, 0, is raised to MS_prompts, so that the variance is twice that over prompts."""
    values = np.tile([0.1, 0.5, 0.3, 0.9], (3, 1))
    mean, error, freedom = crossed(values)
    assert mean == pytest.approx(0.45)
    assert error == pytest.approx(np.sqrt(2) * stats.sem(values[0]))
    assert freedom == pytest.approx(2**2 / (1 / 2 + 1 / 3))


def test_with_equal_prompts_it_is_the_test_over_seeds():
    values = np.tile([[0.1], [0.5], [0.3]], (1, 8))
    mean, error, freedom = crossed(values)
    assert error == pytest.approx(stats.sem(values[:, 0]))
    assert freedom == pytest.approx(2)
    assert mean == pytest.approx(0.3)


def test_the_mean_is_that_of_the_groups():
    """Group b has three prompts and counts as much as a, which has two."""
    arms = [run("x", seed, np.array([1.0, 1, 0, 0, 0])) for seed in (0, 1)]
    control = [run("y", seed, np.zeros(5)) for seed in (0, 1)]
    assert paired(arms, control, "geneval_toy").mean == pytest.approx(0.5)
    reasoning = [
        [run(name, seed, scores, "reasoning") for seed in (0, 1)]
        for name, scores in (("x", np.array([1.0, 1, 0, 0, 0])), ("y", np.zeros(5)))
    ]
    assert paired(*reasoning, "reasoning").mean == pytest.approx(0.4)


def simulate(rng: np.random.Generator, effect: float, seeds: int = 3, prompts: int = 60):
    """Two arms whose pictures are right with a chance that depends on prompt, seed and arm."""
    ease = rng.normal(0, 1, prompts)

    def arm(name: str, better: float) -> list[Run]:
        own = rng.normal(0, 0.5, prompts)
        return [
            run(
                name,
                seed,
                rng.binomial(4, 1 / (1 + np.exp(-ease - own - better - rng.normal(0, 0.3)))) / 4,
            )
            for seed in range(seeds)
        ]

    return arm("x", effect), arm("y", 0.0)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_without_an_effect_at_most_a_twentieth_of_differences_are_found(seeds: int):
    rng = np.random.default_rng(0)
    found = [paired(*simulate(rng, 0.0, seeds), "geneval_toy") for _ in range(400)]
    assert np.mean([d.p < 0.05 for d in found]) <= 0.05
    assert np.mean([d.low <= 0 <= d.high for d in found]) >= 0.95
    assert abs(np.mean([d.mean for d in found])) < 0.02


def test_a_large_effect_is_found():
    rng = np.random.default_rng(1)
    found = [paired(*simulate(rng, 2.0, seeds=5), "geneval_toy") for _ in range(60)]
    assert np.mean([d.p < 0.05 for d in found]) > 0.8
    assert all(d.mean > 0 and d.improvement > 0.5 for d in found)


def test_one_seed_says_nothing():
    with pytest.raises(ValueError, match=r"at least 2 seeds that both have, got \[1\]"):
        paired(
            [run("x", seed, np.zeros(4)) for seed in (0, 1)],
            [run("y", seed, np.zeros(4)) for seed in (1, 2)],
            "geneval_toy",
        )


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


def test_holm_by_hand():
    """p .01, .02, .03 of three: .03, .04 (2 x .02), and .04 again, since it may not fall."""
    found = verdicts({"a": difference(0.02, -0.1), "b": difference(0.01), "c": difference(0.03)})
    assert {arm: p for arm, (p, _) in found.items()} == pytest.approx(
        {"a": 0.04, "b": 0.03, "c": 0.04}
    )
    assert found["a"][1] == "worse"
    assert found["b"][1] == "better"
    assert verdicts({"a": difference(0.2)})["a"] == (pytest.approx(0.2), "not distinguishable")
    assert verdicts({}) == {}


def test_probability_of_improvement_by_hand():
    """Group a: .5 against 0 and .5, 1 against both: 3.5 of 4 wins; group b: all ties."""
    scores = np.array([[0.5, 0.0], [1.0, 0.0]])
    others = np.array([[0.0, 0.0], [0.5, 0.0]])
    found = probability_of_improvement(scores, others, np.array(["a", "b"]))
    assert found == pytest.approx((3.5 / 4 + 0.5) / 2)


def test_the_detectable_effect_falls_with_prompts_and_seeds():
    base = minimum_detectable_effect(300, 3, 0.4, 0.02)
    assert minimum_detectable_effect(1200, 3, 0.4, 0.02) < base
    assert minimum_detectable_effect(300, 6, 0.4, 0.02) < base
    assert minimum_detectable_effect(300, 3, 0.4, 0.02, comparisons=10) > base
    # Without a spread of seeds, taken to be that of prompts: (t.975 root 2 + t.8) sigma / root P;
    # with very many prompts 2^2 / (1 / 2) degrees of freedom.
    many = minimum_detectable_effect(10**6, 3, 0.4, 0.0)
    assert many == pytest.approx((2.30600 * np.sqrt(2) + 0.88889) * 0.4 / 1000, rel=1e-4)


def test_an_effect_of_that_size_is_found_four_times_of_five():
    rng = np.random.default_rng(2)
    seeds, prompts, deviations = 5, 50, (0.4, 0.05)
    effect = minimum_detectable_effect(prompts, seeds, *deviations)
    hits = []
    for _ in range(400):
        values = (
            effect
            + rng.normal(0, deviations[0], prompts)
            + rng.normal(0, deviations[1], (seeds, 1))
        )
        mean, error, freedom = crossed(values)
        hits.append(2 * stats.t.sf(abs(mean) / error, freedom) < 0.05)
    assert np.mean(hits) == pytest.approx(0.8, abs=0.06)


def test_runs_are_read_from_what_the_evaluation_writes(tmp_path: Path):
    original = run("x", 3, np.array([0.25, 1.0]))
    original.outcomes.to_csv(tmp_path / "x-3.csv", index=False)
    (tmp_path / "x-3.json").write_text(json.dumps({"config": original.config}))
    found = read_evaluated("x", 3, tmp_path)
    read = found.outcomes.drop(columns="picture")
    pd.testing.assert_frame_equal(read, original.outcomes)
    with pytest.raises(FileNotFoundError, match=r"x-4\.json must hold the results of a run"):
        read_evaluated("x", 4, tmp_path)
