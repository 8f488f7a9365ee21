"""The whole pipeline at its smallest: every stage runs and leaves what dvc.yaml says it does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from ladder.config.load import load
from ladder.experiments.results import read_rows, read_table

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
        if name == "code" or name.startswith("foundations_"):
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


STUDY = """
notebook: notebooks/ablation_layers.ipynb
parameters: {profile: smoke}
analysis: scores
control: last
outcomes: [geneval_toy, edit.exact]
arms: [last, broken]
seeds: [3]
"""


@pytest.mark.slow
def test_a_study_is_run_collected_and_reported(tmp_path: Path):
    """One run is trained, scored and collected; one fails; both are rows; nothing runs twice."""
    configured(tmp_path)
    for name in ("models", "notebooks"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "experiments/arms/broken.yaml").write_text(
        "model: {scheme: list, layers: [99, 99, 99, 99, 99, 99]}"
    )
    studies = tmp_path / "experiments/studies"
    studies.mkdir()
    (studies / "layers.yaml").write_text(f"{STUDY}presets: {{full: {{}}}}\n")
    faulty = STUDY.replace("last, broken", "faults_off").replace("last", "faults_off")
    (studies / "monitors.yaml").write_text(faulty)
    command = [sys.executable, "-m", "ladder.cli.main", "study", "run", "layers"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "1 of 2 runs failed" in ended.stderr, ended.stderr[-3000:]

    results = tmp_path / "experiments/results/layers"
    assert {path.name for path in results.iterdir()} == {
        "runs.jsonl", "outcomes.parquet", "steps.parquet", "scores.parquet", "ceilings.json",
        "pictures",
    }  # fmt: skip
    failed, finished = read_rows(results)
    assert (failed["arm"], failed["status"]) == ("broken", "failed")
    assert "a layer is 0 .. 12" in failed["error"]
    assert (finished["arm"], finished["status"]) == ("last", "finished")
    assert finished["config"]["model"] == load("smoke", "last", root=ROOT).as_dict()["model"]
    assert {*finished["provenance"]} == {"git", "dirty", "data", "versions"}
    assert finished["cost"]["rungs"] == [{"norm": 1.0}] * 6
    assert finished["cost"]["parameters"]["queries"] == 38 * 128
    steps = read_table(results, "steps")
    assert steps["stage"].tolist() == ["t2i"] * 12 + ["ti2i"] * 6 + ["finetune"] * 6
    assert np.isfinite(steps[["loss", "norm"]]).all(axis=None)
    scored = read_table(results, "outcomes").groupby("metric")["score"].mean()
    for name in ("heldout_loss.t2i", "heldout_loss.ti2i", "geneval_toy"):
        assert finished["values"][name] == pytest.approx(scored[name], abs=1e-5)

    said = ladder(tmp_path, "study", "status", "layers")
    assert "a layer is 0 .. 12" in said
    before = (results / "runs.jsonl").read_bytes()
    (studies / "layers.yaml").write_text(
        f"{STUDY}presets: {{full: {{}}}}\n".replace(", broken", "")
    )
    ladder(tmp_path, "study", "run", "layers")
    assert (results / "runs.jsonl").read_bytes() == before
    assert ladder(tmp_path, "study", "report") == "experiments/report/report.html\n"
    page = (tmp_path / "experiments/report/report.html").read_text()
    assert "1 of these 2 runs have scores" in page


def intervals(metrics: dict, path: str = "") -> list[tuple[str, dict]]:
    """Every interval of a result, with its dotted name; there is nothing else in it."""
    if set(metrics) == {"mean", "low", "high", "n"}:
        return [(path, metrics)]
    found = []
    for name, value in metrics.items():
        assert isinstance(value, dict), f"{path}.{name} must be an interval"
        found += intervals(value, f"{path}.{name}")
    return found
