"""What a row of a JSON list says, in each layout: its words, and the paths of its pictures.

A function for each layout turns a row into a `Row`, or raises ValueError with the rule that the row
breaks: a column that is missing or of another type, which means that the list is of another
layout. A null is a fault of that one row instead, and stays a None.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

PLACEHOLDER = re.compile(r"\s*<image>\s*")
"""Where a picture stands in a turn of a conversation."""


@dataclass(frozen=True)
class Row:
    """What a row of a list says, whatever its layout calls it."""

    target: str | None
    """Path of the picture; None where the row names none."""
    facts: dict
    """The words, as `Record.row` keeps them; the "input_prompt" may be None."""
    sources: list[str | None] = field(default_factory=list)
    """Paths of what is edited, None among them where the row names none; empty: text to image."""


def sharegpt_image(row: dict) -> Row:
    """`input_prompt`, `output_image`; optionally "captions" and "truth", as the toy world has."""
    _column(row, "input_prompt", str)
    return Row(_column(row, "output_image", str), row)


def sharegpt_edit(row: dict) -> Row:
    """`input_prompt`, `input_image` (a list), `output_image`; optionally "captions", "truth"."""
    _column(row, "input_prompt", str)
    sources = _paths("input_image", _column(row, "input_image", list))
    return Row(_column(row, "output_image", str), row, sources)


def gpt_image_edit(row: dict) -> Row:
    """`conversations` (of `from`, `value`; a human asks first), `image` (the target comes last)."""
    turns = _column(row, "conversations", list) or []
    if not all(isinstance(turn, dict) for turn in turns):
        raise ValueError("column conversations must be a list of objects")
    asked = next((turn for turn in turns if turn.get("from") == "human"), {"value": None})
    prompt = _column(asked, "value", str)
    if prompt is not None:
        prompt = PLACEHOLDER.sub(" ", prompt).strip()
    *sources, target = _paths("image", _column(row, "image", list))
    return Row(target, {"input_prompt": prompt}, sources or [None])


def image_folder(row: dict) -> Row:
    """`file_name`, `text`; of an edit also `source_image` (a path or a list of them)."""
    facts = {"input_prompt": _column(row, "text", str)}
    target = _column(row, "file_name", str)
    if "source_image" not in row:
        return Row(target, facts)
    sources = _column(row, "source_image", str, list)
    return Row(
        target, facts, [sources] if isinstance(sources, str) else _paths("source_image", sources)
    )


def _column(row: dict, name: str, *kinds: type) -> str | list | None:
    if name not in row or not isinstance(row[name], (*kinds, type(None))):
        rule = " or a ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"column {name} must be a {rule}")
    return row[name]


def _paths(name: str, paths: list | None) -> list[str | None]:
    """At least one path: a list without any lacks one."""
    for path in paths or []:
        if not isinstance(path, str | None):
            raise ValueError(f"column {name} must be a list of paths, not of {type(path).__name__}")
    return paths or [None]
