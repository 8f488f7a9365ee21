"""Imports between the rooms of the package go one way: the contract is in pyproject.toml.

Each of the thirteen rooms stands on one of seven floors, and imports only from lower floors. A room
that stands on no floor breaks the contract as well.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from importlinter import configuration
from importlinter.application.use_cases import lint_imports

ROOT = Path(__file__).parents[1]
PROJECT = ROOT / "pyproject.toml"
ROOMS = sorted(path.parent.name for path in ROOT.glob("src/ladder/*/__init__.py"))
FLOORS = tomllib.loads(PROJECT.read_text())["tool"]["importlinter"]["contracts"][0]["layers"]


def holds(project: Path) -> bool:
    """Whether the contract of a project file holds; why not is printed."""
    configuration.configure()
    return lint_imports(str(project), cache_dir=None, no_logo=True)


def test_imports_go_down(capsys: pytest.CaptureFixture[str]):
    assert holds(PROJECT), capsys.readouterr().out


def test_every_room_stands_on_a_floor():
    assert sorted(room for floor in FLOORS for room in floor.split(" | ")) == ROOMS


@pytest.mark.parametrize("floor", range(len(FLOORS) - 1))
def test_the_contract_breaks_where_two_floors_are_swapped(floor: int, tmp_path: Path):
    """So every floor is where it must be: something above imports something right below."""
    above, below = (f'    "{name}",\n' for name in FLOORS[floor : floor + 2])
    text = PROJECT.read_text()
    assert above + below in text
    swapped = tmp_path / "pyproject.toml"
    swapped.write_text(text.replace(above + below, below + above))
    assert not holds(swapped)


def test_nothing_but_the_package_file_stands_at_the_root():
    assert [path.name for path in (ROOT / "src/ladder").glob("*.py")] == ["__init__.py"]
