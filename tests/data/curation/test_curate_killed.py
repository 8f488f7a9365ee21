"""`ladder curate`, killed in the midst of its work, goes on where it was."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "ladder.cli.main"]
SMALL = ["--profile", "smoke", "world.t2i_samples=2500"]
"""Three chunks of captioned pictures, and one of each other set."""
PATIENCE = 600
"""Seconds until a chunk must be there."""


@pytest.mark.slow
def test_killed_it_ends_with_the_same_bytes_and_repeats_no_chunk(tmp_path: Path, root: Path):
    place, whole = tmp_path / "killed", tmp_path / "whole"
    place.mkdir()
    shutil.copy(root / "params.yaml", place)
    for folder in ("arms", "profiles"):
        shutil.copytree(root / "experiments" / folder, place / "experiments" / folder)
    subprocess.run([*COMMAND, "world", *SMALL], cwd=place, check=True, capture_output=True)
    shutil.copytree(place, whole)
    curate = [*COMMAND, "curate", *SMALL]
    subprocess.run(curate, cwd=whole, check=True, capture_output=True)

    running = subprocess.Popen(
        curate, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    finished = wait_for_chunks(place / "data/.curated", running)
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert not (place / "data/curated/manifest.json").exists()

    again = subprocess.Popen(
        curate, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert again.wait() == 0
    assert finished == {path: path.stat().st_mtime_ns for path in finished}, (
        "a finished chunk was examined again"
    )
    one, two = whole / "data/curated", place / "data/curated"
    files = {path.relative_to(one) for path in one.rglob("*") if path.is_file()}
    assert files == {path.relative_to(two) for path in two.rglob("*") if path.is_file()}
    for path in files:
        assert (one / path).read_bytes() == (two / path).read_bytes(), path


def wait_for_chunks(work: Path, running: subprocess.Popen) -> dict[Path, int]:
    """The first finished chunks, with the times at which they were written."""
    begun = time.monotonic()
    while not (found := sorted(work.glob("parts/*/*.parquet"))):
        assert running.poll() is None, "it ended without a chunk"
        assert time.monotonic() - begun < PATIENCE
        time.sleep(0.01)
    return {path: path.stat().st_mtime_ns for path in found}
