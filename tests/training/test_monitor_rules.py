"""The monitor rules as pure functions: what they may never do, and what each is meant to catch."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from tests.training.running import NO_FAULTS

from ladder.config.load import Monitor
from ladder.training.monitor_rules import Decision, State, check_step

SETTINGS = Monitor(
    rule="robust",
    threshold=8.0,
    decay=0.99,
    window=101,
    warmup=5,
    patience=25,
    rollbacks=2,
    faults=NO_FAULTS,
)
MEANT = ("ema", "robust")
positive = st.floats(1e-6, 1e6)
anything = st.floats(allow_nan=True, allow_infinity=True, min_value=None) | positive
steps = st.lists(st.tuples(anything, anything), max_size=60)


def settings(rule: str, **changes) -> Monitor:
    return replace(SETTINGS, rule=rule, **changes)


def replay(values, config: Monitor, state: State | None = None) -> list[Decision]:
    """The decisions on (loss, norm) pairs, one after another."""
    decisions, state = [], state or State()
    for loss, norm in values:
        decisions.append(check_step(loss, norm, state, config))
        state = decisions[-1].state
    return decisions


def calm(count: int = 60) -> list[tuple[float, float]]:
    """An undisturbed training: loss about 1, norm about 0.5, both varying by some per cent."""
    return [
        (1 + 0.05 * math.sin(7 * k), 0.5 * math.exp(0.1 * math.sin(3 * k))) for k in range(count)
    ]


def numbers(state: State) -> list[float]:
    return [value for value in (state.loss, state.norm, *state.window) if value is not None]


@given(steps, st.sampled_from(MEANT), st.integers(1, 6))
def test_what_is_not_finite_is_never_taken_nor_remembered(values, rule, patience):
    for (loss, norm), decision in zip(
        values, replay(values, settings(rule, patience=patience)), strict=True
    ):
        assert decision.take <= (math.isfinite(loss) and math.isfinite(norm))
        assert all(map(math.isfinite, numbers(decision.state)))


@given(steps, st.sampled_from(MEANT))
def test_skipped_values_do_not_move_the_baseline(values, rule):
    config, state = settings(rule, patience=10**6), State()
    for loss, norm in values:
        decision = check_step(loss, norm, state, config)
        if not decision.take:
            assert decision.state == replace(state, rejected=state.rejected + 1)
        state = decision.state


@given(steps, st.sampled_from(MEANT))
def test_the_decisions_on_good_steps_do_not_depend_on_skipped_ones(values, rule):
    config = settings(rule, patience=10**6)
    taken = [
        pair for pair, decision in zip(values, replay(values, config), strict=True) if decision.take
    ]
    assert all(decision.take for decision in replay(taken, config))


@given(st.lists(st.tuples(positive, positive), max_size=40), st.integers(-15, 15))
def test_ema_does_not_depend_on_the_unit(values, exponent):
    scaled = [(loss * 2.0**exponent, norm * 2.0**exponent) for loss, norm in values]
    plain, other = (replay(pairs, settings("ema")) for pairs in (values, scaled))
    assert [decision.take for decision in plain] == [decision.take for decision in other]


@given(st.lists(positive, max_size=40), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_robust_does_not_depend_on_the_unit(norms, scale, loss_scale):
    config, state, other = settings("robust"), State(), State()
    for norm in norms:
        decision = check_step(1.0, norm, state, config)
        # On the very limit rounding decides.
        assume(all(check_step(1.0, norm * near, state, config).take == decision.take
                   for near in (1 - 1e-9, 1 + 1e-9)))  # fmt: skip
        scaled = check_step(loss_scale, norm * scale, other, config)
        assert scaled.take == decision.take
        state, other = decision.state, scaled.state


@given(steps, st.sampled_from((*MEANT, "published", "off")))
@example([(math.nan, math.nan)], "published")
def test_states_and_decisions_survive_json(values, rule):
    for decision in replay(values, settings(rule)):
        text = json.dumps(asdict(decision))
        loaded = json.loads(text)
        loaded["state"] = State(**loaded["state"] | {"window": tuple(loaded["state"]["window"])})
        assert json.dumps(asdict(Decision(**loaded))) == text


@given(steps)
def test_off_takes_everything(values):
    assert all(decision.take for decision in replay(values, settings("off")))


@given(steps, st.sampled_from(("published", *MEANT)), st.integers(1, 5))
def test_patience_ends_after_that_many_skips_in_a_row(values, rule, patience):
    streak = 0
    for decision in replay(values, settings(rule, patience=patience)):
        streak = 0 if decision.take else streak + 1
        assert decision.exhausted == (streak == patience)
        streak %= patience
        assert decision.state.rejected == streak
        assert bool(decision.reason) == (not decision.take)


@pytest.mark.parametrize("rule", MEANT)
def test_a_baseline_that_refused_too_often_is_begun_anew(rule):
    config = settings(rule, patience=4)
    calm_state = replay(calm(), config)[-1].state
    higher = [(50.0, 50.0 + 0.1 * k) for k in range(30)]
    decisions = replay(higher, config, calm_state)
    assert [decision.take for decision in decisions[:4]] == [False] * 4
    assert decisions[3].exhausted
    assert decisions[3].state == State()
    assert all(decision.take for decision in decisions[4:])


@pytest.mark.parametrize("rule", MEANT)
@pytest.mark.parametrize("bad", [(1.0, 500.0), (1.0, math.nan), (math.nan, 1.0), (1.0, math.inf)])
def test_bursts_are_skipped_and_calm_steps_are_not(rule, bad):
    values = [*calm(), *[bad] * 20, *calm()]
    taken = [decision.take for decision in replay(values, settings(rule))]
    assert taken == [True] * 60 + [False] * 20 + [True] * 60


def test_robust_catches_a_fivefold_burst():
    taken = [v.take for v in replay([*calm(), *[(1.0, 2.5)] * 20], settings("robust"))]
    assert taken == [True] * 60 + [False] * 20


def test_robust_follows_a_training_whose_norm_falls_a_hundredfold():
    values = [(1.0, math.exp(-k / 100 + 0.1 * math.sin(3 * k))) for k in range(500)]
    assert all(decision.take for decision in replay(values, settings("robust")))


@pytest.mark.parametrize("rule", MEANT)
def test_only_finiteness_counts_during_the_warm_up(rule):
    config = settings(rule, warmup=3)
    values = [(1.0, 1.0), (math.nan, 1.0), (1.0, 1e9), (1.0, 1.0), (1.0, 1e30)]
    assert [v.take for v in replay(values, config)] == [True, False, True, True, False]


@pytest.mark.parametrize("rule", MEANT)
def test_without_a_warm_up_the_first_step_has_nothing_to_be_compared_with(rule):
    taken = [v.take for v in replay([(1.0, 1.0), (1.0, 1e9)], settings(rule, warmup=0))]
    assert taken == [True, False]


def published(threshold: float = 25.0) -> Monitor:
    return settings("published", threshold=threshold)


@pytest.mark.parametrize(("ratio", "take"), [(26, True), (32.9, True), (33.1, False)])
def test_published_averages_before_it_tests_so_25_is_really_33(ratio, take):
    state = State(accepted=100, loss=1.0, norm=2.0)
    assert check_step(1.0, 2.0 * ratio, state, published()).take == take


@pytest.mark.parametrize(("ratio", "take"), [(24.7, True), (24.8, False)])
def test_published_allows_a_loss_of_20_moved_averages(ratio, take):
    assert check_step(ratio, 2.0, State(accepted=100, loss=1.0, norm=2.0), published()).take == take


def test_ema_means_the_threshold_it_says():
    state = State(accepted=100, loss=1.0, norm=2.0)
    config = settings("ema", threshold=25.0)
    assert check_step(1.0, 2 * 24.9, state, config).take
    assert not check_step(1.0, 2 * 25.1, state, config).take
    assert check_step(19.9, 2.0, state, config).take
    assert not check_step(20.1, 2.0, state, config).take


def test_published_never_fails_the_first_step_by_its_ratios():
    assert check_step(1e300, 1e6, State(), published()).take
    assert not check_step(1.0, 1.1e6, State(), published()).take


def test_published_never_fails_a_norm_below_one_by_its_ratio():
    state = State(accepted=100, loss=1.0, norm=1e-6)
    assert check_step(1.0, 0.9, state, published()).take
    assert not check_step(1.0, 1.1, state, published()).take


def test_published_is_blind_for_good_after_one_nan():
    before = check_step(1.0, 1e5, replay(calm(), published())[-1].state, published())
    assert not before.take
    poisoned = replay([*calm(), (math.nan, math.nan), *calm(200)], published())
    assert [v.take for v in poisoned].count(False) == 1
    assert check_step(1e9, 9e5, poisoned[-1].state, published()).take


def test_published_learns_from_what_it_skips():
    decisions = replay([*calm(), *[(1.0, 100.0)] * 5], published())
    assert [v.take for v in decisions[-5:]] == [False, False, False, True, True]
