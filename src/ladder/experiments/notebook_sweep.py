"""`ladder sweep`: a notebook over a grid of parameters, a process for each cell of the grid.

A cell's name is a hash of all that decides its result: parameters, notebook, code, data and
environment. What is finished under that name is never run again; so a sweep that was interrupted
goes on, and one whose code has changed starts anew.

FOLDER/<cell>/executed.ipynb, result.json    of a finished cell
FOLDER/<cell>/log.txt, failed.json           what a cell said; the end of it, if it failed
FOLDER/table.csv                             a row for every cell, finished or failed
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import itertools
import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import papermill
from tqdm import tqdm

from ladder.experiments.notebook_run import RESULT

log = logging.getLogger(__name__)

CODE = ("src/ladder/**/*.py", "params.yaml", "experiments/arms/*.yaml",
        "experiments/profiles/*.yaml")  # fmt: skip
DATA = "dvc.lock"
"""Holds the hashes of all data and models."""
MOST_VALUES = 10_000
"""Of a range on the command line."""
TAIL = 2000
"""Characters of a log that are kept as the error of a failed cell."""


@dataclass(frozen=True)
class Cell:
    """A notebook with one set of parameters."""

    name: str
    parameters: dict[str, Any]


def sweep(
    notebook: Path, grid: Mapping[str, Sequence[Any]], folder: Path, jobs: int = 1
) -> pd.DataFrame:
    """Run every cell of `grid` that isn't finished, `jobs` at a time; returns the table.

    Raises ValueError, before anything runs, for a parameter that the notebook doesn't have or a
    value of another type than its default.
    """
    cells = cells_of(notebook, grid, Path())
    waiting = [cell for cell in cells if not (folder / cell.name / RESULT).is_file()]
    log.info("%d cells, %d of them finished before", len(cells), len(cells) - len(waiting))
    pool = ThreadPoolExecutor(jobs)
    try:
        runs = pool.map(lambda cell: run(notebook, cell, folder / cell.name), waiting)
        for _ in tqdm(runs, total=len(waiting), desc="cells", mininterval=1):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
        table = pd.DataFrame([row(cell, folder / cell.name) for cell in cells])
        folder.mkdir(parents=True, exist_ok=True)
        table.to_csv(folder / "table.csv", index=False, lineterminator="\n")
    return table


def cells_of(notebook: Path, grid: Mapping[str, Sequence[Any]], root: Path) -> list[Cell]:
    """The cells of a grid, in its order, for the code and data under `root`."""
    known = parameters_of(notebook)
    for name, values in grid.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f"parameters of {notebook} are {', '.join(known)}, got {name}{hint}")
        for value in values:
            require_type(name, value, ast.literal_eval(known[name]["default"]))
    origin = [source_of(notebook), *code_of(root), *environment()]
    products = itertools.product(*grid.values())
    cells = [dict(zip(grid, (plain(v) for v in values), strict=True)) for values in products]
    return [Cell(name_of(parameters, origin), parameters) for parameters in cells]


def parameters_of(notebook: Path) -> dict[str, Any]:
    """What papermill finds of the parameters; raises ValueError for a file that is no notebook."""
    try:
        return papermill.inspect_notebook(str(notebook))
    except (nbformat.ValidationError, AttributeError, RecursionError) as error:
        raise ValueError(f"{notebook} must be a notebook: {type(error).__name__}") from error


def require_type(name: str, value: Any, default: Any) -> None:
    """Raises ValueError unless `value` is of the type of `default`; None has any."""
    value = plain(value)
    fits = type(value) is type(default) or (type(value), type(default)) == (int, float)
    if default is not None and not fits:
        raise ValueError(
            f"{name} must be of type {type(default).__name__} as {default!r}, got {value!r}"
        )


def plain(value: Any) -> Any:
    """NumPy's scalars as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def source_of(notebook: Path) -> str:
    """What a notebook says, whatever it showed when it was last run."""
    cells = nbformat.read(notebook, as_version=4).cells
    return json.dumps([[cell.cell_type, cell.source] for cell in cells])


def code_of(root: Path) -> list[str]:
    """Name and hash of every file of CODE, and of DATA."""
    files = sorted({file for pattern in (*CODE, DATA) for file in root.glob(pattern)})
    return [f"{file} {hashlib.sha256(file.read_bytes()).hexdigest()}" for file in files]


def environment() -> list[str]:
    """Python and every installed distribution with its version."""
    found = {f"{one.metadata['Name']}=={one.version}" for one in distributions()}
    return [platform.python_version(), *sorted(found)]


def name_of(parameters: Mapping[str, Any], origin: Sequence[str]) -> str:
    """A hash of all that decides a result. The order of the parameters doesn't."""
    text = "\n".join([repr(sorted(parameters.items())), *origin])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run(notebook: Path, cell: Cell, folder: Path) -> None:
    """Run one cell in a process of its own; what goes wrong in it ends up in failed.json."""
    folder.mkdir(parents=True, exist_ok=True)
    failed = folder / "failed.json"
    failed.unlink(missing_ok=True)
    command = [sys.executable, "-m", "ladder.experiments.notebook_run", str(notebook), str(folder)]
    with (folder / "log.txt").open("w") as log:
        ended = subprocess.run(
            [*command, repr(cell.parameters)], stdout=log, stderr=subprocess.STDOUT, check=False,
            env=os.environ | {"PYTHONHASHSEED": "0"},
        )  # fmt: skip
    if ended.returncode:
        said = (folder / "log.txt").read_text(errors="replace").strip()[-TAIL:]
        error = said or f"ended with {ended.returncode} without a word"
        text = json.dumps({"parameters": cell.parameters, "error": error}, indent=1, default=str)
        failed.write_text(text + "\n")


def row(cell: Cell, folder: Path) -> dict[str, Any]:
    """What the table says of a cell: its parameters, how it ended, and the values it shows."""
    start = {"cell": cell.name, **cell.parameters}
    if (folder / RESULT).is_file():
        values = json.loads((folder / RESULT).read_text())["values"]
        return start | {"status": "finished", "error": ""} | values
    if (folder / "failed.json").is_file():
        error = json.loads((folder / "failed.json").read_text())["error"]
        return start | {"status": "failed", "error": error.splitlines()[-1]}
    return start | {"status": "not run", "error": ""}


def grid_of(parameters: Sequence[str]) -> dict[str, list[Any]]:
    """The grid that `name=values` on the command line make. Raises ValueError for what isn't so."""
    grid: dict[str, list[Any]] = {}
    for parameter in parameters:
        name, equals, values = parameter.partition("=")
        if not equals or name in grid:
            raise ValueError(f"a parameter is given once, as name=values, got {parameter!r}")
        grid[name] = values_of(values)
    return grid


def values_of(text: str) -> list[Any]:
    """The values of a parameter on the command line: `a,b`, `0..4`, `0.1,0.2` or `(1, 2)`.

    Raises ValueError for a range of more than MOST_VALUES.
    """
    first, dots, last = text.partition("..")
    if dots and first.lstrip("-").isdigit() and last.lstrip("-").isdigit():
        values = range(int(first), int(last) + 1)
        if len(values[: MOST_VALUES + 1]) > MOST_VALUES:
            raise ValueError(f"a range has at most {MOST_VALUES} values, got {text[:50]}")
        return [*values]
    whole = text.startswith(("(", "[", "{", "'", '"'))
    return [literal(part) for part in ([text] if whole else text.split(","))]


def literal(text: str) -> Any:
    """A Python literal, or the text itself where it is none."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text  # unhashable keys and deep nesting raise the last three
