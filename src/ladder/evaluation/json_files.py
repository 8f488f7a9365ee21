"""JSON as evaluation reads and writes it: no NaN, and lines end at a line feed alone.

Judges' texts hold characters such as U+2028 or U+0085, at which `str.splitlines` breaks a line. In
JSON lines and CSV they are data, so text is split at line feeds here and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def dumps(value: Any, indent: int | None = None) -> str:
    """`value` as JSON. Raises ValueError for NaN and infinity, which JSON doesn't have."""
    return json.dumps(value, indent=indent, allow_nan=False)


def read_text(path: Path) -> str:
    """The text of a UTF-8 file as it is, without a byte order mark.

    Raises ValueError, naming the file, for bytes that are no UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be UTF-8 text, got {error}") from error


def lines_of(text: str) -> Iterable[str]:
    """The lines that hold something. They end at a line feed, and nowhere else."""
    return (line for line in text.split("\n") if line.strip())


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises ValueError, naming the file, for one that holds none."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} must be JSON, got {error}") from error


def read_json_lines(path: Path) -> list[Any]:
    """The values in a file of JSON lines. Raises ValueError, naming file and line, for another."""
    found = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number} must be JSON, got {error}") from error
    return found
