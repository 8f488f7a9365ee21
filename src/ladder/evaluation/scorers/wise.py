"""WISE: prompts that name what is to be drawn by what one knows of it.

wise           the paper's (arXiv 2503.07265): consistency, realism and aesthetic quality from 0 to
               2, WiScore = (.7 c + .2 r + .1 a) / 2
wise-verified  that of the repository since April 2026: one number, 0 or 1

A category is the mean of its prompts, told by their numbers; the overall score weighs categories
(https://github.com/PKU-YuanGroup/WISE). `official` reads as the published scripts: the last of
equal names, words anywhere in the text; it gives no overall score for an incomplete run. `fixed`
cuts drafts off, wants each name once, and averages over what is there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ladder.evaluation.scorers.items import (
    Item,
    mean,
    read_all,
    read_items,
    require_known,
    what_is_missing,
)
from ladder.evaluation.scorers.judge_text import final_text, whole

PARTS = {"consistency": 0.7, "realism": 0.2, "aesthetic_quality": 0.1}
HIGHEST = 2
THREE = re.compile(
    r"\*{0,2}(consistency|realism|aesthetic quality)\*{0,2}\s*(?:[:\N{FULLWIDTH COLON}]\s*)?(\d)",
    re.IGNORECASE,
)
BINARY = re.compile(r"\*{0,2}score\*{0,2}\s*(?:[:\N{FULLWIDTH COLON}]\s*)?([01])\b", re.IGNORECASE)
NAMED = re.compile(
    r"^[^\w\n]*(consistency|realism|aesthetic quality|score)[^\w+.\N{MINUS SIGN}-]{1,8}"
    r"([0-9]+)(?:\s*(?:/|out of)\s*([0-9]+))?[^\w%\n]*$",
    re.IGNORECASE | re.MULTILINE,
)
"""A name and its mark on a line, perhaps with what it is out of."""


@dataclass(frozen=True)
class Category:
    """Prompts from `first` to `last`, and the weight of their mean."""

    first: int
    last: int
    weight: float


LEGACY = {
    "culture": Category(1, 400, 0.4), "time": Category(401, 567, 0.167),
    "space": Category(568, 700, 0.133), "biology": Category(701, 800, 0.1),
    "physics": Category(801, 900, 0.1), "chemistry": Category(901, 1000, 0.1),
}  # fmt: skip
VERIFIED = {
    "culture": Category(1, 400, 0.4), "time": Category(401, 520, 0.12),
    "space": Category(521, 640, 0.12), "biology": Category(641, 760, 0.12),
    "physics": Category(761, 880, 0.12), "chemistry": Category(881, 1000, 0.12),
}  # fmt: skip


def wiscore(parts: Mapping[str, float]) -> float:
    """From 0 to 1."""
    return sum(weight * parts[name] for name, weight in PARTS.items()) / HIGHEST


def bare_lines(text: str, digits: str) -> list[str]:
    """The lines that hold nothing but one of the digits.

    The published scripts look for `^\\s*([0-2])\\s*$`, which takes minutes on many empty lines.
    """
    lines = (line.strip() for line in text.split("\n"))
    return [line for line in lines if len(line) == 1 and line in digits]


def official_wiscore(text: str) -> float | None:
    """By the paper's script: a name and a digit anywhere, else three lines of one digit."""
    found = {name.lower().replace(" ", "_"): float(n) for name, n in THREE.findall(text)}
    lines = bare_lines(text, "012")
    if not found and len(lines) >= len(PARTS):
        found = dict(zip(PARTS, map(float, lines), strict=False))
    return wiscore(found) if PARTS.keys() <= found.keys() else None


def fixed_wiscore(text: str) -> float | None:
    """Each name on a line of its own, once, with a number from 0 to 2."""
    rest = final_text(text)
    lines = bare_lines(rest, "012")
    named = named_in(rest, HIGHEST)
    if not named and len(lines) == len(PARTS):
        named = [*zip(PARTS, map(int, lines), strict=True)]
    found = dict(named)
    inside = all(number <= HIGHEST for number in found.values())
    if len(named) != len(PARTS) or {*found} != {*PARTS} or not inside:
        return None
    return wiscore(found)


def named_in(text: str, highest: int) -> list[tuple[str, int]]:
    """The marks on lines of their own, by their names. One that is out of another number than
    `highest` counts as above every scale."""
    return [
        (name.lower().replace(" ", "_"), whole(number if scale in ("", str(highest)) else "9" * 9))
        for name, number, scale in NAMED.findall(text)
    ]


def official_binary(text: str) -> float | None:
    """By the script of `wise-verified`: the first score in the text, else the only bare line."""
    if found := BINARY.search(text):
        return float(found[1])
    lines = bare_lines(text, "01")
    return float(lines[0]) if len(lines) == 1 else None


def fixed_binary(text: str) -> float | None:
    """One line `Score: 0` or `Score: 1`, or nothing but the number."""
    rest = final_text(text)
    if rest in ("0", "1"):
        return float(rest)
    named = named_in(rest, 1)
    return float(named[0][1]) if named in ([("score", 0)], [("score", 1)]) else None


def score(text: str, _: Any, per_item: bool) -> dict[str, Any]:
    """The scores of the paper's WISE."""
    return _score(text, per_item, LEGACY, official_wiscore, fixed_wiscore)


def score_verified(text: str, _: Any, per_item: bool) -> dict[str, Any]:
    """The scores of `wise-verified`."""
    return _score(text, per_item, VERIFIED, official_binary, fixed_binary)


def _score(
    text: str,
    per_item: bool,
    categories: Mapping[str, Category],
    official: Callable[[str], float | None],
    fixed: Callable[[str], float | None],
) -> dict[str, Any]:
    items = read_items(text)
    numbers = range(1, 1 + max(one.last for one in categories.values()))
    require_known((item["prompt_id"] for item in items), numbers, "prompt")
    scored = read_all(items, lambda _, texts: official(texts[0]), lambda _, texts: fixed(texts[0]))
    result: dict[str, Any] = {}
    for mode in ("official", "fixed"):
        pairs = [(one.item, getattr(one, mode)) for one in scored]
        result[mode] = _summary(pairs, categories, strict=mode == "official")
    known = [one.fixed for one in scored if one.fixed is not None]
    result |= {"groups": {"all": known}} | what_is_missing(scored)
    rows = [{"key": one.item["key"], "official": one.official, "fixed": one.fixed}
            for one in scored]  # fmt: skip
    return result | ({"items": rows} if per_item else {})


def _summary(
    pairs: Sequence[tuple[Item, float | None]], categories: Mapping[str, Category], strict: bool
) -> dict[str, float | None]:
    means = {
        name: mean(x for item, x in pairs if one.first <= item["prompt_id"] <= one.last)
        for name, one in categories.items()
    }
    complete = all(value is not None for value in means.values())
    if strict:
        wanted = max(one.last for one in categories.values())
        complete &= len([x for _, x in pairs if x is not None]) == wanted
    known = {name: value for name, value in means.items() if value is not None}
    weights = sum(categories[name].weight for name in known)
    total = sum(categories[name].weight * value for name, value in known.items())
    # Weights that add up to 1, or of what is there.
    whole = 1.0 if complete else weights
    return means | {"overall": total / whole if known and (complete or not strict) else None}
