"""The whole pipeline at its smallest: every stage runs and leaves what dvc.yaml says it does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from ruamel.yaml import YAML

from ladder.config.load import load

ROOT = Path(__file__).parents[1]
STAGES = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
RUN = "ladder-0"


def configured(place: Path) -> None:
    """Put the configuration there."""
    shutil.copy(ROOT / "params.yaml", place)
    for folder in ("arms", "profiles"):
        shutil.copytree(ROOT / "experiments" / folder, place / "experiments" / folder)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the configuration and the shipped foundations."""
    place = tmp_path_factory.mktemp("place")
    configured(place)
    (place / "models").mkdir()
    for name in ("mllm", "sana"):
        (place / "models" / name).symlink_to(ROOT / "models" / name)
    return place


def ladder(place: Path, *words: str) -> str:
    """Run the command as a person or DVC would, in a process of its own; returns its stdout."""
    command = [sys.executable, "-m", "ladder.cli.main", *words]
    ended = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


@pytest.mark.slow
def test_every_stage_runs_and_leaves_what_it_should(place: Path):
    for name, stage in STAGES.items():
        if name.startswith("foundations_"):
            continue
        ladder(place, *stage["cmd"].split()[1:], "--profile", "smoke")
        for entry in (*stage.get("outs", ()), *stage.get("metrics", ())):
            path = entry if isinstance(entry, str) else next(iter(entry))
            path = place / path.replace("${arm}-${seed}", RUN)
            assert path.is_file() or any(path.iterdir()), f"{name} must leave {path}"

    results = json.loads((place / f"experiments/results/{RUN}.json").read_text())
    assert (results["arm"], results["seed"]) == ("ladder", 0)
    assert results["config"] == load("smoke", root=ROOT).as_dict()
    assert set(results["metrics"]) >= {"geneval_toy", "reasoning", "edit", "understanding"}
    assert set(results["provenance"]) == {"git", "dirty", "data", "versions"}
    for path, interval in intervals(results["metrics"]):
        assert interval["low"] <= interval["mean"] <= interval["high"], path
        assert interval["n"] > 0, path

    words = ["a red star", "--model", "models/ladder", "--steps", "2", "-o", "drawn.png"]
    assert ladder(place, "generate", *words) == "drawn.png\n"
    assert Image.open(place / "drawn.png").getextrema() != ((0, 0),) * 3


@pytest.mark.slow
def test_a_cell_of_the_ablations_is_trained_evaluated_and_reported(place: Path):
    profiles = place / "experiments/profiles"
    shutil.copy(profiles / "smoke.yaml", profiles / "ablation.yaml")
    words = ["--profile", "ablation", "--arm", "last", "seed=3", "stages.ti2i.steps=0"]
    for part in ("train", "evaluate"):
        ladder(place, "cell", part, *words)
    results = place / "experiments/results/ablation"
    assert {path.name for path in results.iterdir()} == {
        f"last-3{ending}"
        for ending in (".json", ".outcomes.parquet", ".steps.csv", ".cost.json", ".png")
    }
    steps = pd.read_csv(results / "last-3.steps.csv")
    assert steps["stage"].tolist() == ["t2i"] * 12 + ["finetune"] * 6
    assert np.isfinite(steps[["loss", "norm"]]).all(axis=None)
    spent = json.loads((results / "last-3.cost.json").read_text())
    assert spent["rungs"] == [{"norm": 1.0}] * 6
    assert spent["parameters"]["queries"] == 38 * 128
    assert {path.name for path in (place / "runs/ablation/last-3").iterdir()} == {
        "finetune", "evaluation",
    }  # fmt: skip

    failing = ["cell", "train", *words[:2], "seed=4", "model.scheme=list", "model.layers=[99]"]
    command = [sys.executable, "-m", "ladder.cli.main", *failing]
    ended = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "a layer is 0 .. 12" in ended.stderr
    study = {"control": "last", "arms": ["last", "ladder"], "seeds": [3, 4]}
    study |= {"monitors": [], "monitor_seeds": [], "full_length": [], "full_length_seeds": []}
    (place / "experiments/params.yaml").write_text(json.dumps(study))
    assert ladder(place, "report") == "experiments/report/report.html\n"
    page = (place / "experiments/report/report.html").read_text()
    assert "a layer is 0 .. 12" in page
    assert "1 of these 4 cells have scores" in page
    assert "<td>ladder</td><td>3</td><td>no results: not run, or killed</td>" in page


def intervals(metrics: dict, path: str = "") -> list[tuple[str, dict]]:
    """Every interval of a result, with its dotted name; there is nothing else in it."""
    if set(metrics) == {"mean", "low", "high", "n"}:
        return [(path, metrics)]
    found = []
    for name, value in metrics.items():
        assert isinstance(value, dict), f"{path}.{name} must be an interval"
        found += intervals(value, f"{path}.{name}")
    return found
