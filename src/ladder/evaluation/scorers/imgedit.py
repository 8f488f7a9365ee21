"""ImgEdit-Bench: a judge's text with three criteria from 1 to 5, to one score for each edit.

`official` takes a line only if it splits once at ": " and the rest is digits, and forgets what it
can't read (https://github.com/PKU-YuanGroup/ImgEdit); what would stop it (superscripts, numbers of
thousands of digits) counts as not read. `fixed` cuts drafts off and reads criteria alone: lines
that hold a name and a number, which may be `4.`, `4/5`, bold, or several in one line. It refuses
numbers outside 1..5, holds the second and third criterion down to the first (as the judge is told
to), and counts what it can't read as malformed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ladder.evaluation.scorers.items import ANSWERED, status_of
from ladder.evaluation.scorers.judge_text import final_text

CRITERIA = 3
LOWEST, HIGHEST = 1, 5
LONGEST = 15
"""Digits of a number that `official` reads."""
NAMES = frozenset(
    (
        "action fidelity", "content preservation", "identity preservation",
        "instruction compliance", "mask precision", "object identity",
        "physical & detail coherence", "physical & detail fidelity", "physical & detail integrity",
        "physical consistency", "physical consistency & fine detail", "prompt compliance",
        "rendering quality", "style fidelity", "visual & anatomical coherence",
        "visual naturalness", "visual quality", "visual seamlessness",
    )
)  # fmt: skip
"""What the benchmark's prompts call their criteria."""
ASIDE = frozenset(("average", "brief reasoning", "final score", "mean", "overall", "overall score",
                   "reasoning", "score", "sum", "total", "total score"))  # fmt: skip
"""Names of lines that are no criteria, though a number may stand behind them."""
CRITERION = re.compile(
    r"(?P<name>[^\W\d_][^:\d\n]{0,60}?)\s*:\s*(?P<value>\d{1,4}(?:\.\d{1,4})?)"
    r"(?:\s*(?:/|out of)\s*(?P<scale>\d{1,4}))?\s*(?:\.?|[(\N{EN DASH}\N{EM DASH}-]\s?\D*)"
)
"""A name, a colon and a number, perhaps out of something, and nothing but words after a dash."""
MARKS = re.compile(r"[*_`#]+|^\s*(?:[-\N{BULLET}>]|\d{1,2}[.)])\s+")
"""Bold type, headings, bullets and numbers of a list."""


def official(text: str) -> float | None:
    """The mean of what the official parser finds, to two digits; None if it finds nothing."""
    parts = [line.strip().split(": ") for line in text.splitlines()]
    numbers = [part[1] for part in parts if len(part) == 2 and part[1].isdecimal()]
    found = [int(number) for number in numbers if len(number) <= LONGEST]
    return round(float(np.mean(found)), 2) if found else None


def fixed(text: str) -> float | None:
    """The mean of the three criteria, to two digits; None if the text is malformed."""
    found = [one for line in final_text(text).split("\n") for one in criteria_of(line)]
    named = [one for one in found if one["name"].lower() in NAMES]
    # Other names count only where there are none of the benchmark's.
    found = named or found
    values = [float(one["value"]) for one in found]
    wrong_scale = any(one["scale"] not in (None, str(HIGHEST)) for one in found)
    inside = all(LOWEST <= value <= HIGHEST for value in values)
    once = len({one["name"].lower() for one in found}) == len(found)
    if len(values) != CRITERIA or wrong_scale or not inside or not once:
        return None
    first, *others = values
    return round(float(np.mean([first, *(min(value, first) for value in others)])), 2)


def criteria_of(line: str) -> list[re.Match[str]]:
    """The criteria of a line that holds one, or nothing but several of them."""
    plain = MARKS.sub("", line).strip()
    found = [
        CRITERION.fullmatch(part.strip()) for part in re.split(r"[,;|]", plain) if part.strip()
    ]
    if not all(found):
        found = [CRITERION.fullmatch(plain)]
    return [one for one in found if one and one["name"].strip().lower() not in ASIDE]


def summary(
    items: Sequence[dict[str, Any]], parse: Callable[[str], float | None]
) -> dict[str, Any]:
    """Means to two digits by `type` (where items have one), macro over types, micro over items.

    `invalid` counts the texts that `parse` can't read; they are in no mean, as are those that the
    judge didn't write to their end.
    """
    types: dict[str, list[float]] = defaultdict(list)
    judged = [item for item in items if status_of(item) in ANSWERED]
    scores = [parse(item["judge_text"]) for item in judged]
    for item, score in zip(judged, scores, strict=True):
        if score is not None and "type" in item:
            types[item["type"]].append(score)
    known = [score for score in scores if score is not None]
    means = {name: round(float(np.mean(types[name])), 2) for name in sorted(types)}
    return {
        "types": means,
        "macro": float(np.mean([*means.values()])) if means else None,
        "micro": float(np.mean(known)) if known else None,
        "invalid": len(scores) - len(known),
        "items": len(items),
    }
