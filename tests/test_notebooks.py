"""Notebooks: stripped, short, driven by parameters, and they run.

Lectures also have what a lecture needs, and the answers to their exercises run.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat
import papermill
import pytest

from ladder.experiments.notebook import FOLDER, code_cells, defaults_of

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LECTURES = [path for path in NOTEBOOKS if path.stem[0] == "0"]
MOST_CELLS = 20
ANSWER = re.compile(r"<details>.*?</details>", re.DOTALL)
CODE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHORT = ["stages.t2i.steps=6", "connector_warmup.steps=20"]
TINY = {
    "01_foundations": {"pictures": 40},
    "03_stages": {"steps": 8},
    "04_monitor": {"steps": 8, "rate": 0.3},
    "05_evaluation": {"prompts": 2, "images": 2},
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
    """With the answers to its exercises, as if a reader had typed them in."""
    given = TINY.get(path.stem, {})
    if FOLDER in defaults_of(path):
        given = given | {FOLDER: str(tmp_path)}
    typed = nbformat.read(path, as_version=4)
    typed.cells = [one for cell in typed.cells for one in (cell, *answers(cell))]
    nbformat.write(typed, tmp_path / f"typed-{path.name}")
    papermill.execute_notebook(
        str(tmp_path / f"typed-{path.name}"), str(tmp_path / path.name), given,
        kernel_name="python3", progress_bar=False, cwd=str(ROOT),
    )  # fmt: skip


def answers(cell: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The code in the folded answers of a cell, as cells."""
    if cell.cell_type != "markdown":
        return []
    folded = "".join(ANSWER.findall(cell.source))
    return [nbformat.v4.new_code_cell(code) for code in CODE.findall(folded)]


# ---- lectures ----


@pytest.fixture(params=LECTURES, ids=lambda path: path.stem)
def lecture(request: pytest.FixtureRequest) -> Path:
    return request.param


def prose(path: Path) -> str:
    """All text of a notebook."""
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def test_a_lecture_has_its_contents_and_leads_on(lecture: Path):
    """Contents link to every section, and each lecture to the one before and the one after."""
    text = prose(lecture)
    anchors = re.findall(r'<a id="([a-z]+)"></a>\n## ', text)
    assert anchors == re.findall(r'<a href="#([a-z]+)">', text)
    assert len(re.findall(r"^## ", text, re.MULTILINE)) == len(anchors)
    assert anchors[0] == "idea"
    assert anchors[-3:] == ["exercises", "large", "references"]
    row = [*LECTURES, lecture.with_name("results.ipynb")]
    place = row.index(lecture)
    for other in (*row[max(place - 1, 0) : place], row[place + 1]):
        assert text.count(f"({other.name})") == 2, "above and below"
        assert other.is_file()


def test_a_lecture_draws_derives_and_checks(lecture: Path):
    """Its idea is drawn, its formulas are set, and the reader's own code is checked by asserts."""
    text = prose(lecture)
    code = [cell.source for cell in code_cells(lecture)]
    assert any(re.search(r"^diagram\($", source, re.MULTILINE) for source in code)
    assert text.count("$$") >= 4
    rebuilt = re.findall(r"\bYour own\b", text)
    assert len(rebuilt) >= 2
    assert sum("assert " in source for source in code) >= len(rebuilt)


def test_a_lecture_has_three_exercises_with_folded_answers(lecture: Path):
    text = prose(lecture)
    assert re.findall(r"^\*\*(Easy|Medium|Open)\.\*\*", text, re.MULTILINE) == [
        "Easy", "Medium", "Open",
    ]  # fmt: skip
    assert len(ANSWER.findall(text)) == text.count("<summary>") == 3


def test_prose_follows_every_figure_of_a_lecture(lecture: Path):
    """What to see in it, but for the picture of the idea, which the text before it explains."""
    cells = nbformat.read(lecture, as_version=4).cells
    plotted = [place for place, cell in enumerate(cells) if cell.cell_type == "code"
               and re.search(r"plt\.|figures\.", cell.source)
               and "figure" in cell.metadata.get("tags", ())]  # fmt: skip
    assert plotted
    for place in plotted:
        later = [
            cell for cell in cells[place + 1 :] if "figure" not in cell.metadata.get("tags", ())
        ]
        assert later[0].cell_type == "markdown", cells[place].source


def test_a_lecture_can_be_shown_as_slides(lecture: Path):
    """Each cell says whether it begins a slide, goes on with one, or isn't shown."""
    cells = nbformat.read(lecture, as_version=4).cells
    kinds = [cell.metadata.get("slideshow", {}).get("slide_type") for cell in cells]
    assert {*kinds} == {"slide", "subslide", "-", "skip"}
    assert kinds[0] == "slide"
    for cell, kind in zip(cells, kinds, strict=True):
        if cell.source.startswith(("# ", '<a id="')) and "## References" not in cell.source:
            assert kind == "slide"
