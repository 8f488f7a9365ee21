"""A notebook as a file: its code cells, and the parameters that it takes.

It is read as the JSON that it is. What runs it is in `execute`, whose libraries take seconds to
import.
"""

from __future__ import annotations

import ast
import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

EXECUTED, RESULT = "executed.ipynb", "result.json"
"""What a run of a notebook leaves."""
FOLDER = "folder"
"""The parameter of a notebook that says where it may leave files."""
PARAMETERS = "parameters"
"""The tag of the cell of a notebook that holds its parameters."""
ANY = object()
"""The default of a parameter whose type isn't known, because it is no literal."""
FORMAT = 4
"""The major version of the format of notebooks that is read."""


@dataclass(frozen=True)
class CodeCell:
    """A cell of code."""

    source: str
    tags: tuple[str, ...]


def code_cells(path: Path) -> list[CodeCell]:
    """The code cells of a notebook. Raises ValueError for a file that is no notebook."""
    try:
        notebook = json.loads(path.read_bytes())
        if notebook["nbformat"] != FORMAT:
            raise ValueError(f"its format is {notebook['nbformat']}")
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        return [
            CodeCell("".join(cell["source"]), tuple(cell["metadata"].get("tags", ())))
            for cell in cells
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        said = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} must be a notebook of format {FORMAT}, {said}") from error


def defaults_of(notebook: Path) -> dict[str, Any]:
    """The parameters of a notebook with their defaults; ANY for what is an expression or None.

    Raises ValueError for a file that is no notebook, or whose parameters aren't Python.
    """
    found: dict[str, Any] = {}
    for cell in code_cells(notebook):
        if PARAMETERS not in cell.tags:
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
