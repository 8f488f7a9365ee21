"""`ladder sweep`: a notebook over a grid that is typed by hand: `-p arm=last,mean -p seed=0..4`."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ladder.config.files import replacing
from ladder.experiments.notebook import plain
from ladder.experiments.runner import Keyed, keyed, run_all
from ladder.experiments.study import Planned

MOST_VALUES = 10_000
"""Of a range."""
PRESET = "sweep"


def sweep(
    notebook: Path, grid: Mapping[str, Sequence[Any]], folder: Path, jobs: int = 1
) -> pd.DataFrame:
    """Run every cell of `grid` that isn't finished in `folder`; returns and writes the table.

    Raises ValueError, before anything runs, for a parameter that the notebook doesn't have or a
    value of another type than its default.
    """
    runs = keyed(notebook, runs_of(grid), folder)
    try:
        run_all(notebook, runs, jobs)
    finally:
        table = pd.DataFrame([_row(run) for run in runs])
        with replacing(folder / "table.csv", shared=True) as part:
            table.to_csv(part, index=False, lineterminator="\n")
    return table


def _row(run: Keyed) -> dict[str, Any]:
    """What the table says of a run: its parameters, how it ended, and the values it shows."""
    start = {"run": run.key, **run.planned.parameters}
    if run.values is not None:
        return start | {"status": "finished", "error": ""} | run.values
    if run.error is not None:
        return start | {"status": "failed", "error": run.error.splitlines()[-1]}
    return start | {"status": "not run", "error": ""}


def runs_of(grid: Mapping[str, Sequence[Any]]) -> list[Planned]:
    """A run for each cell of a grid, in its order."""
    return [
        Planned(PRESET, dict(zip(grid, map(plain, values), strict=True)))
        for values in itertools.product(*grid.values())
    ]


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
