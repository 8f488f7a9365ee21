"""JSON as evaluation reads and writes it: no NaN, and lines end at a line feed alone.

Judges' texts hold characters such as U+2028 or U+0085, at which `str.splitlines` breaks a line. In
JSON lines and CSV they are data, so text is split at line feeds here and nowhere else.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ladder.config.files import read_text


def dumps(value: Any, indent: int | None = None) -> str:
    """`value` as JSON. Raises ValueError for NaN and infinity, which JSON doesn't have."""
    return json.dumps(value, indent=indent, allow_nan=False)


def loads(text: str) -> Any:
    """The value of JSON text.

    Raises JSONDecodeError, also for NaN and infinity, for a number with too many digits and for
    lists within too many lists, at which `json` raises other errors or none.
    """
    try:
        return json.loads(text, parse_constant=_no_number)
    except json.JSONDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise json.JSONDecodeError(str(error), "", 0) from error


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number in JSON")


def lines_of(text: str) -> Iterable[str]:
    """The lines that hold something. They end at a line feed, and nowhere else."""
    return (line for line in text.split("\n") if line.strip())


def read_json_lines(path: Path) -> list[Any]:
    """The values in a file of JSON lines. Raises ValueError, naming file and line, for another."""
    found = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            found.append(loads(line))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number} must be JSON, got {error}") from error
    return found


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file by the names of their columns; cells may hold line breaks.

    Raises ValueError, naming the file, for one that is none.
    """
    try:
        return [*csv.DictReader(io.StringIO(read_text(path), newline=""))]
    except csv.Error as error:
        raise ValueError(f"{path} must be CSV, got {error}") from error
