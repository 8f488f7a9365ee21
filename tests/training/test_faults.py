"""Faults put into training: the same steps for every monitor, and really spoilt."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from typing import get_args

import pytest
import torch
from tests.training.running import NO_FAULTS, curve, equal, events, outage, train, weights
from tests.training.running import losses as change_losses

from ladder.config.load import Faults
from ladder.config.training_schema import Fault
from ladder.training.faults import NOISE, SPIKE, fault_at, spoil

KINDS = get_args(Fault)
MANY = Faults(rate=0.3, kinds=KINDS, seed=1)


def with_faults(config, rule="off", **changes):
    faults = dataclasses.replace(MANY, **changes)
    return dataclasses.replace(
        config, monitor=dataclasses.replace(config.monitor, rule=rule, faults=faults, warmup=2)
    )


def test_the_share_of_spoilt_steps_is_the_rate_and_kinds_are_equally_common():
    found = [fault_at(step, MANY) for step in range(4000)]
    counts = Counter(kind for kind in found if kind)
    assert 0.27 < counts.total() / len(found) < 0.33
    assert all(0.2 < counts[kind] / counts.total() < 0.3 for kind in KINDS)
    assert found == [fault_at(step, MANY) for step in range(4000)]
    assert found != [fault_at(step, dataclasses.replace(MANY, seed=2)) for step in range(4000)]
    assert not any(fault_at(step, NO_FAULTS) for step in range(100))


def test_what_each_kind_does_to_gradients():
    def gradients():
        return [torch.ones(3, 2), torch.full((4,), -2.0)]

    norm = torch.nn.utils.get_total_norm(gradients())
    spiked, noisy, broken = gradients(), gradients(), gradients()
    spoil("spike", spiked, 0)
    assert all(torch.equal(a, SPIKE * b) for a, b in zip(spiked, gradients(), strict=True))
    spoil("noise", noisy, 0)
    torch.testing.assert_close(torch.nn.utils.get_total_norm(noisy), NOISE * norm)
    spoil("nan", broken, 0)
    assert sum(int(value.isnan().sum()) for value in broken) == 1


@pytest.mark.parametrize("kind", ["spike", "noise", "garbage"])
def test_every_kind_shows_in_the_norm_of_its_steps_only(short, encoded, tmp_path, kind):
    clean = dict(curve(train(with_faults(short, rate=0.0), encoded, tmp_path / "a"), "norm"))
    folder = train(with_faults(short, kinds=(kind,)), encoded, tmp_path / "b")
    spoilt, norms = recorded(folder), dict(curve(folder, "norm"))
    first = min(spoilt)
    assert all(norms[step] == clean[step] for step in range(first))
    assert norms[first] > 5 * clean[first]


def recorded(folder) -> dict[int, str]:
    lines = (folder / "faults.jsonl").read_text().splitlines()
    return {event["step"]: event["kind"] for event in map(json.loads, lines)}


def test_the_monitor_skips_what_is_not_finite_and_every_monitor_meets_the_same(
    short, encoded, tmp_path
):
    config = with_faults(short, "robust", kinds=("nan",))
    folder = train(config, encoded, tmp_path / "a")
    spoilt = recorded(folder)
    assert spoilt
    assert {event["step"] for event in events(folder)} == set(spoilt)
    assert all(torch.isfinite(value).all() for value in weights(folder / "ladder").values())
    other = train(with_faults(short, "ema", kinds=("nan",)), encoded, tmp_path / "b")
    assert recorded(other) == spoilt


def test_a_run_that_goes_on_records_every_fault_once(short, encoded, tmp_path, monkeypatch):
    config = with_faults(short, "robust")
    whole = train(config, encoded, tmp_path / "whole")
    with monkeypatch.context() as patch:
        change_losses(patch, outage(7))
        with pytest.raises(ConnectionError):
            train(config, encoded, tmp_path / "broken")
    resumed = train(config, encoded, tmp_path / "broken")
    assert recorded(resumed) == recorded(whole)
    lines = (resumed / "faults.jsonl").read_text().splitlines()
    assert len(lines) == len(recorded(resumed))
    assert equal(weights(resumed / "ladder"), weights(whole / "ladder"))


def test_lora_and_noisy_queries_train_through_the_stages(short, encoded, tmp_path):
    for change in ({"lora_rank": 2}, {"query_noise": 0.5}):
        model = dataclasses.replace(short.model, **change)
        config = dataclasses.replace(short, model=model)
        runs = tmp_path / next(iter(change))
        first = weights(train(config, encoded, runs / "a") / "ladder")
        assert not any("lora" in name for name in first)
        assert equal(first, weights(train(config, encoded, runs / "b") / "ladder"))
        plain = weights(train(short, encoded, runs / "c") / "ladder")
        assert first.keys() == plain.keys()
        assert not equal(first, plain)
