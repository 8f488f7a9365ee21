"""A wheel installed anywhere has the whole shell, and says what it needs from a clone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's files, beside no repository."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    built = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", place, source]
    subprocess.run([*pip, *built], check=True)
    (wheel,) = place.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", place / "site", wheel], check=True)
    return place / "site"


def ladder(installed: Path, *words: str, **variables: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k not in ("LADDER_MODEL", "PYTHONPATH")}
    return subprocess.run(
        [sys.executable, "-m", "ladder.cli.main", *words],
        cwd=installed.parent,
        env=environment | {"PYTHONPATH": str(installed)} | variables,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_every_module_is_in_it(installed: Path):
    files = {path.relative_to(installed) for path in installed.glob("ladder/**/*.py")}
    expected = {path.relative_to(ROOT / "src") for path in (ROOT / "src").rglob("*.py")}
    assert files == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["generate", "a star"], "no trained ladder comes with this installation: run inside a"),
        (["playground"], "no trained ladder comes with this installation: run inside a"),
        (["world"], "this must run inside a clone of the repository"),
    ],
)
def test_away_from_a_clone_one_line_says_what_to_do(installed: Path, words, said):
    ended = ladder(installed, *words)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert said in ended.stderr or "needs gradio" in ended.stderr


@pytest.mark.slow
def test_a_ladder_that_is_named_is_used(installed: Path, tmp_path: Path):
    """Here it is none, which the line says of its folder."""
    ended = ladder(installed, "generate", "a star", LADDER_MODEL=str(tmp_path))
    assert ended.stderr == f"ladder generate: {tmp_path}: no trained ladder here\n"
