"""Loggers by name: what each leaves, and that a stage that goes on has each step once."""

from __future__ import annotations

import csv
import dataclasses
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.training.running import curve, losses, outage, train

from ladder.config.layers import ConfigError
from ladder.config.load import Config, load
from ladder.training.loggers import MAKERS, loggers


def logged_by(config: Config, *names: str) -> Config:
    return dataclasses.replace(config, training=dataclasses.replace(config.training, loggers=names))


def test_a_stage_leaves_the_files_of_the_loggers_that_are_named(short, encoded, tmp_path):
    folder = train(logged_by(short, "csv"), encoded, tmp_path / "runs")
    assert not (folder / "dvclive").exists()
    assert not (folder / "tensorboard").exists()
    with (folder / "csv/metrics.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [int(row["step"]) for row in rows] == [*range(10)]
    assert all(float(row["loss"]) > 0 for row in rows)


def test_an_interrupted_table_has_each_step_once(short, encoded, tmp_path, monkeypatch):
    config = logged_by(short, "csv", "dvclive")
    with monkeypatch.context() as patch:
        losses(patch, outage(6))
        with pytest.raises(ConnectionError):
            train(config, encoded, tmp_path / "runs")
    with (tmp_path / "runs/ladder-0/ti2i/csv/metrics.csv").open("a") as file:
        file.write("0.5,0.0")
    folder = train(config, encoded, tmp_path / "runs")
    with (folder / "csv/metrics.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    for name in ("loss", "norm", "lr"):
        found = [(int(row["step"]), float(row[name])) for row in rows]
        assert [step for step, _ in found] == [*range(10)]
        assert [value for _, value in found] == pytest.approx([v for _, v in curve(folder, name)])


def test_a_missing_package_is_named_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("ladder.training.loggers.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"training.loggers wandb .* pip install wandb"):
        loggers(["wandb"], tmp_path, 0)


@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is missing: pip install wandb")
def test_wandb_keeps_a_run_for_each_stage_offline(short, encoded, tmp_path, monkeypatch):
    """Two stages in one process are two runs; one that goes on is the same one."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    config = logged_by(short, "wandb")
    with monkeypatch.context() as patch:
        losses(patch, outage(6))
        with pytest.raises(ConnectionError):
            train(config, encoded, tmp_path / "runs")
    run = (tmp_path / "runs/ladder-0/ti2i/wandb/id").read_text()
    folder = train(config, encoded, tmp_path / "runs")
    assert (folder / "wandb/id").read_text() == run
    assert len([*folder.glob(f"wandb/offline-run-*-{run}/*.wandb")]) == 2
    other = train(config, encoded, tmp_path / "others")
    assert (other / "wandb/id").read_text() != run


def test_every_name_that_may_be_set_has_a_maker(root: Path):
    for name in MAKERS:
        assert load(root=root, arguments=[f"training.loggers=[{name}]"]).training.loggers == (name,)
    with pytest.raises(ConfigError, match=r"training.loggers"):
        load(root=root, arguments=["training.loggers=[mlflow]"])
    with pytest.raises(ConfigError, match=r"must be named once each"):
        load(root=root, arguments=["training.loggers=[csv, csv]"])
