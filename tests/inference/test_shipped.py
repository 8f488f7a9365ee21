"""The ladder that comes with the repository is found wherever one stands, or one line says how."""

from __future__ import annotations

from pathlib import Path

import pytest

from ladder.inference import shipped
from ladder.inference.shipped import shipped_ladder


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What is looked for in a repository."""
    clone = tmp_path / "clone"
    for folder in ("experiments/arms", "models/ladder", "notebooks"):
        (clone / folder).mkdir(parents=True)
    (clone / "params.yaml").touch()
    (clone / "models/ladder/model_index.json").touch()
    return clone


@pytest.fixture(autouse=True)
def _unnamed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable is set, and the package is installed alone."""
    monkeypatch.delenv("LADDER_MODEL", raising=False)
    monkeypatch.setattr(shipped, "__file__", str(tmp_path / "site-packages/ladder/shipped.py"))


def test_the_variable_goes_first(clone: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(clone)
    monkeypatch.setenv("LADDER_MODEL", "mine")
    assert shipped_ladder() == Path("mine")


def test_that_of_the_repository_one_stands_in_is_found(clone, tmp_path, monkeypatch):
    for folder in (clone, clone / "notebooks"):
        monkeypatch.chdir(folder)
        assert shipped_ladder() == clone / "models/ladder"
    monkeypatch.setattr(shipped, "__file__", str(clone / "src/ladder/inference/shipped.py"))
    monkeypatch.chdir(tmp_path)
    assert shipped_ladder() == clone / "models/ladder"


def test_elsewhere_it_is_said_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"inside a clone .* --model FOLDER"):
        shipped_ladder()
