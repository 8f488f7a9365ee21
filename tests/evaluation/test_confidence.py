"""Intervals cover, are drawn over prompts, and don't change from run to run."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ladder.evaluation.confidence import Interval, mean_of_groups


def interval(values: list[float], resamples: int, seed: int) -> Interval:
    """Of one group."""
    return mean_of_groups({"all": values}, resamples, seed)


def test_the_mean_is_that_of_the_prompts():
    found = interval([0.0, 0.25, 1.0, 0.5], 200, seed=0)
    assert found.mean == pytest.approx(0.4375)
    assert 0 <= found.low <= found.mean <= found.high <= 1
    assert found.n == 4


def test_equal_seeds_give_equal_intervals():
    values = [*np.random.default_rng(0).random(30)]
    assert interval(values, 500, seed=1) == interval(values, 500, seed=1)
    assert interval(values, 500, seed=1) != interval(values, 500, seed=2)


def test_95_of_100_intervals_hold_the_true_mean():
    rng = np.random.default_rng(3)
    held = []
    for _ in range(300):
        values = rng.binomial(4, 0.7, 60) / 4
        found = interval([*values], 400, seed=0)
        held.append(found.low <= 0.7 <= found.high)
    assert 0.9 <= np.mean(held) <= 0.99


def test_pictures_of_a_prompt_are_not_independent():
    """Four equal pictures a prompt are worth one: the interval is as wide as with one."""
    prompts = np.random.default_rng(4).binomial(1, 0.5, 50).astype(float)
    clustered = interval([*prompts], 2000, seed=0)
    naive = interval([*np.repeat(prompts, 4)], 2000, seed=0)
    assert clustered.high - clustered.low > 1.7 * (naive.high - naive.low)


def test_groups_weigh_the_same_whatever_their_size():
    groups = {"a": [1.0] * 99, "b": [0.0, 0.0, 0.0]}
    found = mean_of_groups(groups, 200, seed=0)
    assert (found.mean, found.n) == (0.5, 102)
    # Each group is resampled by itself: where neither varies, nothing does.
    assert found.low == found.high == 0.5


def test_intervals_are_those_of_scipy():
    rng = np.random.default_rng(0)
    groups = {"a": [*rng.random(20)], "b": [*rng.random(30)]}
    theirs = stats.bootstrap(
        [np.array(values) for values in groups.values()],
        lambda *samples, axis: np.mean([sample.mean(axis) for sample in samples], 0),
        n_resamples=300, method="percentile", rng=np.random.default_rng(5), vectorized=True,
    ).confidence_interval  # fmt: skip
    found = mean_of_groups(groups, 300, seed=5)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), rel=1e-12)


def test_a_group_without_values_is_an_error():
    with pytest.raises(ValueError, match=r"every group must have a value.*'b'"):
        mean_of_groups({"a": [1.0], "b": []}, 100, seed=0)
