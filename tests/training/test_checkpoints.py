"""The history of checkpoints: the last N, the last one always whole."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from tests.training.running import equal, losses, outage, train, weights, with_stage

from ladder.config.load import Config


@pytest.fixture
def keeping(short: Config) -> Config:
    """A checkpoint after every step, of which three are kept."""
    config = with_stage(short, "ti2i", checkpoint_every=1)
    return dataclasses.replace(config, training=dataclasses.replace(config.training, keep=3))


def steps(folder: Path) -> dict[str, int]:
    """The step of every checkpoint of a stage."""
    files = sorted(folder.glob("*.ckpt"))
    return {file.name: torch.load(file, weights_only=True)["global_step"] for file in files}


def test_the_last_three_are_kept_and_each_can_be_gone_on_from(
    keeping, encoded, tmp_path, monkeypatch
):
    whole = train(keeping, encoded, tmp_path / "whole")
    assert steps(whole) == {"step-00000008.ckpt": 8, "step-00000009.ckpt": 9}
    folder = tmp_path / "parts/ladder-0/ti2i"
    with monkeypatch.context() as patch:
        losses(patch, outage(7))
        with pytest.raises(ConnectionError):
            train(keeping, encoded, tmp_path / "parts")
    assert steps(folder) == {"last.ckpt": 7, "step-00000005.ckpt": 5, "step-00000006.ckpt": 6}
    shutil.copy(folder / "step-00000005.ckpt", folder / "last.ckpt")
    parts = train(keeping, encoded, tmp_path / "parts")
    assert equal(weights(whole / "ladder"), weights(parts / "ladder"))
    assert steps(folder) == steps(whole)


def test_what_is_later_than_the_last_one_is_dropped(keeping, encoded, tmp_path, monkeypatch):
    """One goes back to step 2 by hand; those of steps 4 and 5 are of a run that is no more."""
    folder = tmp_path / "runs/ladder-0/ti2i"
    with monkeypatch.context() as patch:
        losses(patch, outage(4))
        with pytest.raises(ConnectionError):
            train(keeping, encoded, tmp_path / "runs")
    assert steps(folder) == {"last.ckpt": 4, "step-00000002.ckpt": 2, "step-00000003.ckpt": 3}
    shutil.copy(folder / "step-00000002.ckpt", folder / "last.ckpt")
    with monkeypatch.context() as patch:
        losses(patch, outage(3))
        with pytest.raises(ConnectionError):
            train(keeping, encoded, tmp_path / "runs")
    assert steps(folder) == {"last.ckpt": 3, "step-00000002.ckpt": 2}


def test_there_is_a_good_one_at_every_moment(keeping, encoded, tmp_path, monkeypatch):
    """Power is lost while the new one gets its name."""
    rename = Path.replace

    def lose(path: Path, target: Path) -> Path:
        folder = tmp_path / "runs/ladder-0/ti2i"
        if path.suffix == ".part" and target.name == "last.ckpt" and target.exists():
            if steps(folder)["last.ckpt"] == 4:
                raise ConnectionError("power lost")
            assert "last.ckpt" in steps(folder)
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lose)
        with pytest.raises(ConnectionError):
            train(keeping, encoded, tmp_path / "runs")
    folder = tmp_path / "runs/ladder-0/ti2i"
    assert steps(folder)["last.ckpt"] == 4
    whole = train(keeping, encoded, tmp_path / "whole")
    parts = train(keeping, encoded, tmp_path / "runs")
    assert equal(weights(whole / "ladder"), weights(parts / "ladder"))


def test_a_stage_that_begins_anew_drops_the_history(keeping, encoded, tmp_path):
    train(keeping, encoded, tmp_path / "runs")
    again = dataclasses.replace(keeping, training=dataclasses.replace(keeping.training, keep=1))
    assert steps(train(again, encoded, tmp_path / "runs")) == {}
