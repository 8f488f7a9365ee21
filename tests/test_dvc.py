"""DVC runs the stages by the clone's own environment, whatever is on PATH."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BARE = "/usr/local/bin:/usr/bin:/bin"
"""A PATH without the environment."""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with one stage, `world`, of the smallest world."""
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("params.yaml", "ladder"):
        shutil.copy(ROOT / name, clone)
    for folder in ("experiments/arms", "experiments/profiles"):
        shutil.copytree(ROOT / folder, clone / folder)
    (clone / ".venv").symlink_to(sys.prefix)
    stage = "stages:\n  world:\n    cmd: ./ladder world --profile smoke\n    outs: [data/raw]\n"
    (clone / "dvc.yaml").write_text(stage)
    for command in (["git", "init", "--quiet"], [".venv/bin/dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=clone, check=True, env=environment())
    return clone


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    return kept | {"PATH": BARE, "PYTHONPATH": str(ROOT / "src")} | more


@pytest.mark.slow
def test_a_stage_runs_without_the_environment_on_path(clone: Path):
    command = [".venv/bin/dvc", "repro"]
    ended = subprocess.run(command, cwd=clone, env=environment(), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert any((clone / "data/raw").rglob("*.tar"))
    assert "stage 1 of 1: world" in ended.stdout + ended.stderr


def test_the_script_takes_the_environment_that_is_active_first(tmp_path: Path):
    shutil.copy(ROOT / "ladder", tmp_path)
    for name in ("active", ".venv"):
        python = tmp_path / name / "bin/python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\n[ "$1" = -c ] || echo {name} "$@"\n')
        python.chmod(0o755)
    for active, expected in ((str(tmp_path / "active"), "active"), ("", ".venv")):
        ended = subprocess.run(
            ["./ladder", "generate", "a star"], cwd=tmp_path, capture_output=True, text=True,
            check=True, env=environment(VIRTUAL_ENV=active),
        )  # fmt: skip
        assert ended.stdout == f"{expected} -m ladder.cli.main generate a star\n"


def test_without_an_environment_the_script_says_what_to_do(tmp_path: Path):
    shutil.copy(ROOT / "ladder", tmp_path)
    ended = subprocess.run(
        ["./ladder", "--help"], cwd=tmp_path, capture_output=True, text=True,
        env={"PATH": BARE},
    )  # fmt: skip
    assert ended.returncode == 127
    assert ended.stderr == "ladder: no Python here has it installed: run make setup in .\n"
