"""`make ablations` calls DVC for each cell, several at once, whatever becomes of the others."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[1] / "Makefile"
DVC = """#!/bin/sh
case "$*" in
  *"stage list"*)
    for cell in @ladder-1 @last-1 _monitor@faults_off-1; do
      echo "experiments/dvc.yaml:train$cell"; echo "experiments/dvc.yaml:evaluate$cell"
    done
    echo "experiments/dvc.yaml:report" ;;
  *) echo "$*" >> calls ;;
esac
case "$*" in *train@last-1*) echo "it broke" >&2; exit 1 ;; esac
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a DVC that notes what it is asked for, and fails in one cell."""
    for name, text in (("dvc", DVC), ("ladder", "#!/bin/sh\n")):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)
    return tmp_path


def test_a_cell_that_fails_keeps_no_other_from_running(place: Path):
    command = ["make", "-f", MAKEFILE, "--old-file=setup", "BIN=bin", "JOBS=2", "ablations"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = {line for line in done.stdout.splitlines() if line.startswith("train")}
    assert said == {
        "train@ladder-1: done", "train_monitor@faults_off-1: done",
        "train@last-1: failed, see runs/cells/train@last-1.log",
    }  # fmt: skip
    assert (place / "runs/cells/train@last-1.log").read_text() == "it broke\n"
    first, *cells, last = (place / "calls").read_text().splitlines()
    assert first == "repro encode"
    assert last == "repro --single-item experiments/dvc.yaml:report"
    begin, at = "--wait-for-lock repro --single-item", "experiments/dvc.yaml"
    assert sorted(cells) == [
        f"{begin} {at}:train@ladder-1 {at}:evaluate@ladder-1",
        f"{begin} {at}:train@last-1 {at}:evaluate@last-1",
        f"{begin} {at}:train_monitor@faults_off-1 {at}:evaluate_monitor@faults_off-1",
    ]
