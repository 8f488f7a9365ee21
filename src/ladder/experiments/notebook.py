"""A notebook executed with parameters, in a process of its own.

`python -m ladder.experiments.notebook NOTEBOOK FOLDER PARAMETERS` leaves in FOLDER the executed
notebook and, last of all, result.json with what the notebook shows as JSON in its cell tagged
"result". The same parameters give the same bytes: what differs from run to run (times, names of
cells, progress bars) is taken out.
"""

from __future__ import annotations

import ast
import difflib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import papermill
from nbformat import NotebookNode
from papermill.translators import PythonTranslator, papermill_translators

from ladder.config.files import replacing, write_text
from ladder.experiments.meaning import PARAMETERS, code_cells

EXECUTED, RESULT = "executed.ipynb", "result.json"
TAG = "result"
JSON = "application/json"
FOLDER = "folder"
"""The parameter of a notebook that says where it may leave files."""
ANY = object()
"""The default of a parameter whose type isn't known, because it is no literal."""


class Translator(PythonTranslator):
    """papermill's, which would turn tuples and NumPy's scalars into strings."""

    @classmethod
    def translate(cls, val: Any) -> str:
        if isinstance(val, np.generic):
            return super().translate(plain(val))
        if isinstance(val, tuple):
            return "(" + "".join(f"{cls.translate(item)}, " for item in val) + ")"
        return super().translate(val)


def defaults_of(notebook: Path) -> dict[str, Any]:
    """The parameters of a notebook with their defaults; ANY for what is an expression or None.

    Raises ValueError for a file that is no notebook, or whose parameters aren't Python.
    """
    found: dict[str, Any] = {}
    for cell in code_cells(notebook):
        if PARAMETERS not in cell.metadata.get("tags", ()):
            continue
        try:
            lines = ast.parse(cell.source).body
        except SyntaxError as error:
            raise ValueError(f"{notebook}: parameters must be Python, {error}") from error
        for line in lines:
            targets = line.targets if isinstance(line, ast.Assign) else []
            targets = [line.target] if isinstance(line, ast.AnnAssign) else targets
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            found |= {name: _literal(line.value) for name in names}
    return found


def _literal(node: ast.expr) -> Any:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        return ANY  # such as 24 * 7, or a set of lists
    return ANY if value is None else value


def require_parameters(notebook: Path, given: Mapping[str, Any]) -> None:
    """Raise ValueError unless `notebook` has these parameters, with values of these types."""
    known = defaults_of(notebook)
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f"parameters of {notebook} are {', '.join(known)}, got {name}{hint}")
        require_type(name, value, known[name])


def require_type(name: str, value: Any, default: Any) -> None:
    """Raise ValueError unless `value` is of the type of `default`; a float may be whole."""
    value = plain(value)
    fits = type(value) is type(default) or (type(value), type(default)) == (int, float)
    if default is not ANY and not fits:
        raise ValueError(
            f"{name} must be of type {type(default).__name__} as {default!r}, got {value!r}"
        )


def plain(value: Any) -> Any:
    """NumPy's scalars as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def execute(notebook: Path, folder: Path, parameters: dict[str, Any]) -> None:
    """Run `notebook` with `parameters` and write EXECUTED and RESULT into `folder`.

    Raises papermill's error, after the notebook as far as it came was written, if a cell fails.
    """
    executed = run(notebook, folder / EXECUTED, parameters)
    text = json.dumps({"parameters": parameters, "values": shown(executed)}, indent=1, default=str)
    write_text(folder / RESULT, f"{text}\n")


def run(notebook: Path, path: Path, parameters: dict[str, Any]) -> NotebookNode:
    """Run `notebook` with `parameters`; what it showed is written to `path`, and returned."""
    papermill_translators.register("python", Translator)
    path.parent.mkdir(parents=True, exist_ok=True)
    papermill.execute_notebook(
        str(notebook), str(path), parameters, kernel_name="python3", progress_bar=False,
        log_output=True,
    )  # fmt: skip
    executed = cleaned(nbformat.read(path, as_version=4))
    with replacing(path) as part:
        nbformat.write(executed, part)
    return executed


def cleaned(notebook: NotebookNode) -> NotebookNode:
    """The notebook without what depends on the run."""
    notebook.metadata.pop("papermill", None)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        for name in ("papermill", "execution"):
            cell.metadata.pop(name, None)
        if "outputs" in cell:
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    return notebook


def shown(notebook: NotebookNode) -> dict[str, Any]:
    """The JSON that the cell tagged "result" shows; nothing, if no cell is tagged so.

    Raises ValueError if that cell shows none.
    """
    tagged = [cell for cell in notebook.cells if TAG in cell.metadata.get("tags", ())]
    for cell in tagged:
        for output in cell.get("outputs", ()):
            if JSON in output.get("data", {}):
                return output["data"][JSON]
    if tagged:
        raise ValueError(f'the cell tagged "{TAG}" must show JSON, it shows none')
    return {}


if __name__ == "__main__":
    execute(Path(sys.argv[1]), Path(sys.argv[2]), ast.literal_eval(sys.argv[3]))
