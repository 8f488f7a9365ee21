"""Every command of README and site is run: here, word for word, or where ELSEWHERE says."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.test_docs import blocks, commands
from tests.test_end_to_end import configured

from ladder.config.load import load

ROOT = Path(__file__).parents[1]
ELSEWHERE = {
    "make setup": "tests/test_makefile.py",
    "make repro": "tests/test_end_to_end.py",
    "make playground": "tests/playground",
    "make test": ".ci/run",
    "ladder reproduced": "tests/experiments/test_reproduced.py",
    "ladder study": "tests/experiments",
    "papermill notebooks/ablation_layers.ipynb": "tests/test_notebooks.py",
    "ladder fetch benchmark": "tests/evaluation/download",
    "ladder draw": "tests/evaluation/test_published.py",
    "ladder observe": "tests/evaluation/vlm_judges",
    "ladder score": "tests/evaluation/scorers",
    "ladder benchmark": "tests/evaluation/test_published.py",
    "ladder table": "tests/evaluation/test_published.py",
    "torchrun": "tests/data/training/test_encode.py",
    "ladder import-published": "tests/inference",
    "ladder export-published": "tests/inference",
}
"""Commands by how they begin, and who runs them: on made-up input, since theirs comes from a
network, from results that aren't there, or from hours of work."""
BY_DOCUMENT = {"dvc": "docs/how-to/dvc.md"}
"""Programs whose commands are run together, with the only document that names them."""
PREPARING = ("world", "curate", "encode")
PHOTOS = 12
"""Of the set that README trains on."""
LEAVES = {
    "train t2i --profile smoke seed=7": ["runs/ladder-7/t2i/ladder/training.json"],
    "train t2i --profile smoke seed=9": ["models/photos/model_index.json"],
    "train ti2i": ["runs/ladder-7/ti2i/ladder/training.json"],
    "train finetune": ["runs/ladder-7/finetune/ladder/training.json"],
    "evaluate": ["experiments/results/ladder-7.json", "experiments/pictures/ladder-7/t2i.png"],
    "curate": ["data/curated/decisions.parquet", "data/curated/report.json"],
    "encode": ["data/encoded/photos"],
    "sweep": ["experiments/sweeps/00_world/table.csv"],
}
"""What must be there after a verb."""


def typed() -> list[tuple[str, str]]:
    """The commands of every document with the document, without the folder of programs."""
    return [
        (name, command.removeprefix(".venv/bin/"))
        for name, command in commands()
        if not command.startswith("git ")
    ]


def elsewhere(command: str) -> str | None:
    return next((where for start, where in ELSEWHERE.items() if command.startswith(start)), None)


def test_who_runs_the_others_is_there():
    for start, where in ELSEWHERE.items():
        assert any(command.startswith(start) for _, command in typed()), f"nobody types {start}"
        assert (ROOT / where).exists(), where


def test_every_command_is_run():
    """Each one is that of `ladder`, which the tests below run, or somebody else's."""
    for document, command in typed():
        program = command.split()[0]
        assert (
            elsewhere(command) or program in ("ladder", "eval") or BY_DOCUMENT[program] == document
        ), f"{document}: nobody runs {command}"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a clone holds, with the data of the profile `smoke` and a raw set of pictures."""
    place = tmp_path_factory.mktemp("place")
    configured(place)
    shutil.copytree(ROOT / "notebooks", place / "notebooks")
    shutil.copytree(ROOT / "experiments/results", place / "experiments/results")
    (place / "models").mkdir()
    for path in (ROOT / "src", *(ROOT / "models").iterdir()):
        (place / path.relative_to(ROOT)).symlink_to(path)
    for verb in PREPARING:
        run(f"ladder {verb} --profile smoke", place)
    bring_photos(place / "data/raw/photos")
    return place


def bring_photos(folder: Path) -> None:
    """A raw set as the guide describes it: JPEGs beside a metadata.jsonl."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for number in range(PHOTOS):
        name, text = f"{number:04}.jpg", f"a picture of noise number {number}"
        Image.fromarray(rng.integers(0, 256, (96, 96, 3), np.uint8)).save(folder / name)
        rows.append(json.dumps({"file_name": name, "text": text}))
    (folder / "metadata.jsonl").write_text("\n".join(rows))


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


def of_ladder(document: str) -> list[str]:
    """The commands of a document that are run here, as `ladder` and words."""
    found = [command for name, command in typed() if name == document and not elsewhere(command)]
    completion = [
        shlex.split(command)[1].strip("$()") for command in found if command.startswith("eval ")
    ]
    plain = [command for command in found if command.startswith("ladder ")]
    return plain + [command.removeprefix(".venv/bin/") for command in completion]


DOCUMENTS = [name for name in dict(typed()) if of_ladder(name)]


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_commands_of_a_document_run_in_their_order(document: str, prepared: Path):
    for command in of_ladder(document):
        said = run(command, prepared)
        verb = command.removeprefix("ladder ")
        left = [path for start, paths in LEAVES.items() if verb.startswith(start) for path in paths]
        left += re.findall(r" -o (\S+)", command)
        assert left or said.strip(), f"{command} must say or leave something"
        for path in left:
            assert (prepared / path).exists(), f"{command} must leave {path}"


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
    for _, command in typed():
        if command.startswith("dvc "):
            program, *words = shlex.split(command)
            program = Path(sys.executable).with_name(program)
            # The clone has no .venv: its stages run by the Python of the tests.
            path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
            ended = subprocess.run(
                [program, *words],
                cwd=clone,
                env=os.environ | {"PATH": path},
                capture_output=True,
                text=True,
            )
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
    (code,) = (block for _, block in blocks("python"))
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=300)
    assert (tmp_path / "hearts.png").is_file()
