"""GEdit-Bench: edits judged as VIEScore does, for what was asked (SC) and for the picture (PQ).

The judge gives two numbers from 0 to 10 for each: success and restraint of the edit; naturalness
and absence of artefacts. G_SC and G_PQ are the smaller of their two, G_O the root of their product.
A kind of edit is the mean of its items, a score the mean of the eleven kinds; `intersection` are
the items that every compared model could draw (https://github.com/stepfun-ai/Step1X-Edit,
GEdit-Bench; arXiv 2504.17761).

`official` reads a text as the published parser: JSON between its delimiters or the outermost
braces, or a bare list or number. A text that it can't read it asks for again and then *guesses* a
random number: that can't be reproduced, such a text counts as missing in both modes, as do those
few that it repairs by regular expressions. `fixed` cuts drafts off and refuses numbers outside 0 to
10, and other than two of them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
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

KINDS = (
    "background_change", "color_alter", "material_alter", "motion_change", "ps_human",
    "style_change", "subject-add", "subject-remove", "subject-replace", "text_change",
    "tone_transfer",
)  # fmt: skip
DELIMITER = "||V^=^V||"
HIGHEST = 10
NUMBERS = 2
LIST = re.compile(r"\[\d+, ?\d+\]")
Scores = tuple[float, float, float]
"""G_SC, G_PQ, G_O."""
NAMES = ("G_SC", "G_PQ", "G_O")


def official_numbers(text: str) -> list[float] | None:
    """The numbers that the published parser finds; None where it would guess or repair."""
    if text.count(DELIMITER) == 2:
        return _score_of(text.split(DELIMITER)[1])
    start, end = text.find("{"), text.rfind("}") + 1
    if start >= 0 and end:
        return _score_of(text[start:end])
    start, end = text.find("["), text.rfind("]") + 1
    if LIST.fullmatch(text[start:end]):
        return [whole(number) for number in re.findall(r"\d+", text[start:end])]
    try:
        number = int(text)
    except ValueError:
        return None
    return [number] if 0 <= number <= HIGHEST else None


def fixed_numbers(text: str) -> list[float] | None:
    """Two numbers from 0 to 10; None for anything else."""
    found = official_numbers(final_text(text).replace("```json", "").replace("```", ""))
    if found is None or len(found) != NUMBERS:
        return None
    return found if all(0 <= number <= HIGHEST for number in found) else None


def score(text: str, _: Any, per_item: bool) -> dict[str, Any]:
    """The scores of a file of observations; English and Chinese instructions apart."""
    items = read_items(text)
    require_known((item["kind"] for item in items), KINDS, "kind")
    scored = read_all(items, _reader(official_numbers), _reader(fixed_numbers))
    result: dict[str, Any] = {mode: {} for mode in ("official", "fixed")}
    for language in sorted({one.item["language"] for one in scored}):
        own = [one for one in scored if one.item["language"] == language]
        for mode, found in result.items():
            pairs = [(one.item, getattr(one, mode)) for one in own]
            shared = [pair for pair in pairs if pair[0].get("intersection", True)]
            found[language] = _summary(pairs) | {"intersection": _summary(shared)}
    english = [one for one in scored if one.item["language"] == "en" and one.fixed]
    groups = {kind: [one.fixed[2] for one in english if one.item["kind"] == kind] for kind in KINDS}
    result |= {"groups": groups} | what_is_missing(scored)
    rows = [{"key": one.item["key"], "official": one.official, "fixed": one.fixed}
            for one in scored]  # fmt: skip
    return result | ({"items": rows} if per_item else {})


def _reader(read: Any) -> Any:
    def scores(_: Item, texts: Sequence[str]) -> Scores | None:
        both = [read(text) for text in texts]
        if not all(both):
            return None
        try:
            semantics, quality = (float(min(numbers)) for numbers in both)
            return semantics, quality, math.sqrt(semantics * quality)
        except (TypeError, ValueError):  # words among the numbers, or a negative one
            return None

    return scores


def _score_of(text: str) -> list[float] | None:
    try:
        found = json.loads(text.strip().replace("\n", ""))["score"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    found = found if isinstance(found, list) else [found]
    return found if found and all(is_number(one) for one in found) else None


def is_number(value: Any) -> bool:
    """Whether a value of JSON is a finite number; true and false are none."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        return number and math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _summary(pairs: Sequence[tuple[Item, Scores | None]]) -> dict[str, Any]:
    kinds = {
        kind: [
            mean(scores[place] for item, scores in pairs if scores and item["kind"] == kind)
            for place in range(len(NAMES))
        ]
        for kind in KINDS
    }
    overall = {
        name: mean(found[place] for found in kinds.values()) for place, name in enumerate(NAMES)
    }
    return overall | {"kinds": {kind: dict(zip(NAMES, found, strict=True))
                                for kind, found in kinds.items()}}  # fmt: skip
