"""Every command of the README is run by a test: here, word for word, or where ELSEWHERE says."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.test_docs import blocks, commands
from tests.test_end_to_end import configured

from ladder.config.load import load

ROOT = Path(__file__).parents[1]
ELSEWHERE = {
    "make repro": "tests/test_end_to_end.py",
    "make ablations": "tests/test_makefile.py",
    "make playground": "tests/playground",
    "make test": ".ci/run",
    "ladder sweep notebooks/ablation_layers.ipynb": "tests/test_notebooks.py",
    "papermill notebooks/ablation_monitor.ipynb": "tests/test_notebooks.py",
    "ladder train t2i --profile smoke seed=8 --export models/mine": "tests/test_own_data.py",
    "ladder generate 'a garden in spring'": "tests/test_own_data.py",
    "ladder fetch benchmark": "tests/evaluation/test_fetch.py",
    "ladder observe": "tests/evaluation/test_observing.py",
    "ladder score": "tests/evaluation/test_score.py",
    "ladder import-published": "tests/test_published.py",
    "ladder export-published": "tests/test_published.py",
}
"""Commands by how they begin, and who runs them: on made-up input, since theirs comes from a
network, from results that aren't there, or from hours of work."""
PREPARING = ("world", "curate", "encode")
LEAVES = {
    "generate": ["picture.png"],
    "edit": ["edited.png"],
    "train t2i": ["runs/ladder-7/t2i/ladder/training.json"],
    "train ti2i": ["runs/ladder-7/ti2i/ladder/training.json"],
    "train finetune": ["runs/ladder-7/finetune/ladder/training.json"],
    "evaluate": ["experiments/results/ladder-7.json", "experiments/pictures/ladder-7/t2i.png"],
    "curate": ["data/curated/decisions.parquet", "data/curated/report.json"],
    "encode": ["data/encoded/manifest.json"],
    "sweep": ["experiments/sweeps/00_world/table.csv"],
}
"""What must be there after a verb."""


def typed() -> list[str]:
    """The README's commands, without the folder of programs."""
    found = [command.removeprefix(".venv/bin/") for name, command in commands()
             if name == "README.md"]  # fmt: skip
    return [command for command in found if not command.startswith("git ")]


def elsewhere(command: str) -> str | None:
    return next((where for start, where in ELSEWHERE.items() if command.startswith(start)), None)


def test_who_runs_the_others_is_there():
    for start, where in ELSEWHERE.items():
        assert any(command.startswith(start) for command in typed()), f"nobody types {start}"
        assert (ROOT / where).exists(), where


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a clone holds, with the data of the profile `smoke`."""
    place = tmp_path_factory.mktemp("place")
    configured(place)
    shutil.copytree(ROOT / "notebooks", place / "notebooks")
    shutil.copytree(ROOT / "experiments/results", place / "experiments/results")
    for name in ("models", "src"):
        (place / name).symlink_to(ROOT / name)
    for verb in PREPARING:
        run(f"ladder {verb} --profile smoke", place)
    return place


def run(command: str, place: Path) -> str:
    """Run a `ladder` as it is typed, in a process of its own; returns what it says.

    Libraries must not speak in between: Dask of its connections, diffusers and Lightning of theirs.
    """
    words = [sys.executable, "-m", "ladder.cli.main", *shlex.split(command)[1:]]
    ended = subprocess.run(words, cwd=place, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{command}: {ended.stderr[-3000:]}"
    for noise in ("Traceback", "Scheduler", "deprecated", "should be kept in float32"):
        assert noise not in ended.stderr, f"{command}: {ended.stderr[-3000:]}"
    return ended.stdout


@pytest.mark.slow
def test_the_commands_run_in_their_order(place: Path):
    for command in typed():
        if elsewhere(command) or command.startswith("dvc "):
            continue
        assert command.startswith("ladder "), f"nobody runs {command}"
        said = run(command, place)
        verb = command.removeprefix("ladder ")
        left = [path for start, paths in LEAVES.items() if verb.startswith(start) for path in paths]
        assert left or said.strip(), f"{command} must say or leave something"
        for path in left:
            assert (place / path).is_file(), f"{command} must leave {path}"


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="DVC compares with what git holds")
def test_dvc_runs_an_experiment_and_shows_how_it_differs(tmp_path: Path):
    """In a clone whose main job is that of the profile `smoke`, without the ablations."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    (clone / "params.yaml").write_text(json.dumps(load("smoke", root=ROOT).as_dict()))
    for name in ("dvc.yaml", "dvc.lock"):
        (clone / "experiments" / name).unlink(missing_ok=True)
    commit = ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-am", "Smoke"]
    subprocess.run(["git", *commit], cwd=clone, check=True)

    said = {}
    for command in typed():
        if command.startswith("dvc "):
            program, *words = shlex.split(command)
            program = Path(sys.executable).with_name(program)
            ended = subprocess.run([program, *words], cwd=clone, capture_output=True, text=True)
            assert ended.returncode == 0, f"{command}: {ended.stderr[-3000:]}"
            said[" ".join(words[:2])] = ended.stdout
    columns = re.findall(r"\S+", said["exp show"].splitlines()[1])
    scores = [f"metrics.{name}.mean" for name in ("geneval_toy.overall", "edit.exact")]
    assert columns == ["Experiment", "Created", *scores, "stages.ti2i.lr"]
    assert "[gentle]" in said["exp show"]
    assert "geneval_toy.overall.mean" in said["metrics diff"]
    page = clone / "dvc_plots/index.html"
    assert said["plots diff"].strip() == said["plots show"].strip() == page.as_uri()
    assert "loss.tsv" in page.read_text()


@pytest.mark.slow
def test_the_python_runs(tmp_path: Path):
    (code,) = (block for name, block in blocks("python") if name == "README.md")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=300)
    assert (tmp_path / "hearts.png").is_file()
