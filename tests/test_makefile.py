"""`make ablations` runs the studies and then the report, whatever becomes of the runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[1] / "Makefile"
DVC = """#!/bin/sh
echo "JOBS=$JOBS $*" >> calls
case "$*" in *layers*) echo "it broke" >&2; exit 1 ;; esac
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a DVC that notes what it is asked for, and fails in one study."""
    for name, text in (("dvc", DVC), ("ladder", "#!/bin/sh\n")):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)
    return tmp_path


def test_a_study_that_fails_keeps_no_other_from_running(place: Path):
    command = ["make", "-f", MAKEFILE, "--old-file=setup", "BIN=bin", "JOBS=2", "ablations"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    at = "experiments/dvc.yaml"
    assert [line.partition(" ")[2] for line in (place / "calls").read_text().splitlines()] == [
        "repro encode",
        f"repro --keep-going --single-item {at}:layers {at}:monitors",
        f"repro --single-item {at}:report",
    ]
    assert "JOBS=2 repro --keep-going" in (place / "calls").read_text()
