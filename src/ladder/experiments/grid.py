"""A grid of parameters, as it is typed: `-p scheme=last_n,uniform -p seed=0..4`."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from ladder.experiments.notebook import plain
from ladder.experiments.study import Planned

MOST_VALUES = 10_000
"""Of a range."""
PRESET = "sweep"


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
