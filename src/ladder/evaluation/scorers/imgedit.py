"""ImgEdit-Bench: a judge's text with three criteria from 1 to 5, to one score for each edit.

`official` takes a line only if it splits once at ": " and the rest is digits, and forgets what it
can't read (https://github.com/PKU-YuanGroup/ImgEdit); what would stop it (superscripts, numbers of
thousands of digits) counts as not read. `fixed` reads `4.`, `4/5`, bold names and
criteria in one line, refuses numbers outside 1..5, holds the second and third criterion down to
the first (as the judge is told to), and counts what it can't read as invalid.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

CRITERIA = 3
LOWEST, HIGHEST = 1, 5
LONGEST = 15
"""Digits of a number that `official` reads."""
SCORE = re.compile(r":[ ]*+\**+[ ]*+(\d+(?:\.\d+)?)\.?(?![\d.])(?:[ ]*/[ ]*(\d+))?")
"""A number behind a colon, perhaps bold, perhaps out of something."""


def official(text: str) -> float | None:
    """The mean of what the official parser finds, to two digits; None if it finds nothing."""
    parts = [line.strip().split(": ") for line in text.splitlines()]
    numbers = [part[1] for part in parts if len(part) == 2 and part[1].isdecimal()]
    found = [int(number) for number in numbers if len(number) <= LONGEST]
    return round(float(np.mean(found)), 2) if found else None


def fixed(text: str) -> float | None:
    """The mean of the three criteria, to two digits; None if the text is invalid."""
    found = SCORE.findall(text)
    values = [float(value) for value, _ in found]
    wrong_scale = any(scale not in ("", str(HIGHEST)) for _, scale in found)
    inside = all(LOWEST <= value <= HIGHEST for value in values)
    if len(values) != CRITERIA or wrong_scale or not inside:
        return None
    first, *others = values
    return round(float(np.mean([first, *(min(value, first) for value in others)])), 2)


def summary(
    items: Sequence[dict[str, Any]], parse: Callable[[str], float | None]
) -> dict[str, Any]:
    """Means to two digits by `type` (where items have one), macro over types, micro over items.

    `invalid` counts the texts that `parse` can't read; they are in no mean.
    """
    types: dict[str, list[float]] = defaultdict(list)
    scores = [parse(item["judge_text"]) for item in items]
    for item, score in zip(items, scores, strict=True):
        if score is not None and "type" in item:
            types[item["type"]].append(score)
    known = [score for score in scores if score is not None]
    means = {name: round(float(np.mean(types[name])), 2) for name in sorted(types)}
    return {
        "types": means,
        "macro": float(np.mean([*means.values()])) if means else None,
        "micro": float(np.mean(known)) if known else None,
        "invalid": len(scores) - len(known),
        "items": len(scores),
    }
