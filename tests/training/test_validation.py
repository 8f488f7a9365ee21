"""The loss on held-out samples: fixed, of the averaged weights, and without any effect."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tests.training.running import curve, equal, losses, outage, train, weights, with_stage

from ladder.config.load import Config, Validation
from ladder.models.ladder import Ladder
from ladder.training import validation
from ladder.training.stages import run_stage
from ladder.training.validation import heldout_losses


def validated(config: Config, every: int, samples: int = 64) -> Config:
    shown = dataclasses.replace(config.training, validation=Validation(every, samples))
    return dataclasses.replace(config, training=shown)


@pytest.fixture
def ladder(short: Config) -> Ladder:
    return Ladder.from_foundations(short.model, short.foundations, seed=0).eval()


def test_it_is_the_same_each_time_and_whatever_is_computed_at_once(ladder, encoded):
    first = heldout_losses(ladder, encoded, "ti2i")
    assert first.shape == (2, len(validation.TIMES))
    assert heldout_losses(ladder, encoded, "ti2i").equals(first)
    assert not heldout_losses(ladder, encoded, "ti2i", seed=1).equals(first)  # under other noise
    single = heldout_losses(ladder, encoded, "ti2i", batch=1)
    assert single.to_numpy() == pytest.approx(first.to_numpy(), rel=1e-5)
    assert len(heldout_losses(ladder, encoded, "ti2i", samples=1)) == 1


def test_samples_of_every_bucket_count(ladder, encoded, monkeypatch):
    (part,) = validation.open_split(encoded / "t2i/evaluation").values()
    buckets = {"32x32": part.take(1), "64x16": part}
    monkeypatch.setattr(validation, "open_split", lambda folder: buckets)
    assert len(heldout_losses(ladder, encoded)) == 3
    assert len(heldout_losses(ladder, encoded, samples=2)) == 2


def test_it_is_logged_beside_the_training_loss_and_changes_nothing(short, encoded, tmp_path):
    watched = train(validated(short, 4), encoded, tmp_path / "a")
    for name in ("t2i", "ti2i"):
        assert [step for step, _ in curve(watched, f"validation_{name}")] == [3, 7]
    unwatched = train(short, encoded, tmp_path / "b")
    assert not (unwatched / "dvclive/plots/metrics/validation_t2i.tsv").exists()
    assert equal(weights(watched / "ladder"), weights(unwatched / "ladder"))


def test_the_last_one_is_that_of_the_ladder_that_comes_out(short, encoded, tmp_path):
    config = with_stage(validated(short, 5), "ti2i", steps=10)
    folder = train(config, encoded, tmp_path / "runs")
    out = Ladder.from_pretrained(folder / "ladder").eval()
    for name in ("t2i", "ti2i"):
        expected = heldout_losses(out, encoded, name).to_numpy().mean()
        assert dict(curve(folder, f"validation_{name}"))[9] == pytest.approx(expected, rel=1e-5)


def test_an_interrupted_stage_has_each_once(short, encoded, tmp_path, monkeypatch):
    config = validated(short, 4)
    whole = train(config, encoded, tmp_path / "whole")
    with monkeypatch.context() as patch:
        losses(patch, outage(9))
        with pytest.raises(ConnectionError):
            train(config, encoded, tmp_path / "parts")
    parts = train(config, encoded, tmp_path / "parts")
    assert curve(parts, "validation_ti2i") == curve(whole, "validation_ti2i")


def test_mixed_precision_takes_it_as_it_trains(short, encoded, tmp_path):
    config = with_stage(validated(short, 10), "ti2i", precision="bf16-mixed")
    folder = train(config, encoded, tmp_path / "runs")
    ladder = Ladder.from_pretrained(folder / "ladder").eval()
    exact = heldout_losses(ladder, encoded, "t2i").to_numpy().mean()
    found = dict(curve(folder, "validation_t2i"))[9]
    assert found != exact
    assert found == pytest.approx(exact, rel=0.05)


def test_it_needs_held_out_samples(short, encoded, tmp_path):
    for name in ("t2i", "ti2i"):
        (tmp_path / "encoded" / name).mkdir(parents=True)
        (tmp_path / "encoded" / name / "train").symlink_to(encoded / name / "train")
    run_stage(short, "t2i", encoded, tmp_path / "runs")
    with pytest.raises(ValueError, match=r"needs held-out samples .* has none of ti2i, t2i"):
        run_stage(validated(short, 4), "ti2i", tmp_path / "encoded", tmp_path / "runs")


def test_the_generator_is_left_as_it_was(short, encoded, ladder):
    """Fixed noise is drawn from a generator of its own."""
    state = torch.random.get_rng_state()
    heldout_losses(ladder, encoded)
    assert torch.equal(torch.random.get_rng_state(), state)
