"""One process at a time, which is named; one that is killed leaves no lock behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ladder.cli import main
from ladder.config.lock import BusyError, locked

ROOT = Path(__file__).parents[2]
HOLDER = """
import pathlib, sys, time
from ladder.config.lock import locked
with locked(pathlib.Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder():
    """Starts processes that hold a lock, and kills them in the end."""
    started: list[subprocess.Popen] = []

    def hold(path: Path) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path)],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        )
        started.append(process)
        assert process.stdout.readline() == b"locked\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_holder_is_named_and_one_that_is_killed_leaves_none(holder, tmp_path: Path):
    path = tmp_path / "run/lock"
    process = holder(path)
    year = time.strftime("%Y-", time.gmtime())
    with (
        pytest.raises(BusyError, match=rf"in {path.parent}; .* {process.pid} of .* since {year}"),
        locked(path),
    ):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    with locked(path):
        assert path.read_text().startswith(f"process {os.getpid()} of ")


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (["world"], "data/raw"),
        (["curate"], "data/curated"),
        (["curate", "--out", "mine"], "mine"),
        (["encode"], "data/encoded"),
        (["evaluate"], "experiments/results/ladder-0"),
        (["pretrain", "mllm"], "models/mllm"),
        (["examine"], "experiments/results/foundations"),
        (["train", "t2i"], "runs/ladder-0/t2i"),
    ],
)
def test_every_stage_excludes_another_of_its_kind(
    words: list[str], place: str, tmp_path: Path, monkeypatch, capsys
):
    for path in ("params.yaml", "experiments/arms", "dvc.yaml"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).symlink_to(ROOT / path)
    monkeypatch.chdir(tmp_path)
    folder, name = os.path.split(place)
    path = Path(place) / "lock" if words[0] == "train" else Path(folder) / f".{name}.lock"
    with locked(path.absolute()):
        assert main.main(words) == 2
    said = capsys.readouterr().err
    assert (
        f"one process at a time works in {tmp_path / place if 'mine' in words else place};" in said
    )
    assert f"at work is process {os.getpid()} of " in said
