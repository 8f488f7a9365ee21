"""Notebooks: stripped, short, driven by parameters, and they run."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import papermill
import pytest

from ladder.experiments.notebook import FOLDER, defaults_of

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MOST_CELLS = 20
SHORT = ["stages.t2i.steps=6", "connector_warmup.steps=20"]
TINY = {
    "01_foundations": {"pictures": 40},
    "03_stages": {"steps": 8},
    "04_monitor": {"steps": 8, "rate": 0.3},
    "05_evaluation": {"prompts": 2, "images": 1},
    "ablation_layers": {"profile": "small", "settings": SHORT, "pictures": False},
    "ablation_monitor": {"profile": "small", "settings": SHORT, "pictures": False},
}
"""Parameters with which a notebook takes seconds."""


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def cells(path: Path) -> list[nbformat.NotebookNode]:
    """The code cells."""
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_nothing_of_a_run_is_kept(cells: list[nbformat.NotebookNode]):
    assert not any(cell.outputs or cell.execution_count for cell in cells)


def test_the_first_cell_is_for_parameters_and_holds_literals_only(
    path: Path, cells: list[nbformat.NotebookNode]
):
    first, *others = cells
    assert first.metadata.tags == ["parameters"]
    assert not any("parameters" in cell.metadata.get("tags", ()) for cell in others)
    for statement in ast.parse(first.source).body:
        assert isinstance(statement, ast.Assign)
        ast.literal_eval(statement.value)
    assert papermill.inspect_notebook(str(path))


def test_it_is_short_and_defines_nothing(cells: list[nbformat.NotebookNode]):
    """What is worth a function belongs to the library, where it is tested."""
    assert len(cells) <= MOST_CELLS
    definitions = (ast.FunctionDef, ast.ClassDef, ast.Lambda)
    for cell in cells:
        assert not any(isinstance(node, definitions) for node in ast.walk(ast.parse(cell.source)))


def test_it_ends_in_something_that_can_fail_or_be_seen(cells: list[nbformat.NotebookNode]):
    assert any("assert " in cell.source or "imshow" in cell.source for cell in cells)


@pytest.mark.slow
def test_it_runs(path: Path, tmp_path: Path):
    given = TINY.get(path.stem, {})
    if FOLDER in defaults_of(path):
        given = given | {FOLDER: str(tmp_path)}
    papermill.execute_notebook(
        str(path), str(tmp_path / path.name), given, kernel_name="python3",
        progress_bar=False, cwd=str(ROOT),
    )  # fmt: skip
