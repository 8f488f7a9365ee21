"""RISEBench: edits that need temporal, causal, spatial or logical reasoning.

The judge gives reasoning, consistency and plausibility from 1 to 5; a logical edit has the first
two, as 0 or 1, which count as 1 or 5. An item's score weighs them (.5, .3, .2; logical .7 and .3;
.8 reasoning and .2 plausibility where consistency isn't asked), is halved where reasoning is 1, and
isn't below 1; accuracy is the share of items with the highest marks throughout
(https://github.com/PhoenixZ810/RISEBench; arXiv 2504.02826).

`official` reproduces the published script, faults included: it takes all digits behind the first
"Final Score"; an item that it can't read is left out of the mean score and counts as wrong in the
accuracy; and as soon as one item of a file asks for no consistency, the score (not the accuracy) of
all others but the logical ones forgets consistency too, since its test takes a missing value for
true. `fixed` wants one number in range, and leaves what it can't read out of both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ladder.evaluation.scorers.items import (
    ANSWERED,
    Item,
    mean,
    read_all,
    read_items,
    require_known,
    texts_of,
    what_is_missing,
)
from ladder.evaluation.scorers.judge_text import SCALE, final_text, whole

LOGICAL = "logical_reasoning"
CATEGORIES = ("temporal_reasoning", "causal_reasoning", "spatial_reasoning", LOGICAL)
HIGHEST = 5
FINAL = re.compile(r"\*?\*?Final Scores?\*?\*?:?\s*([\d*\s,\n]*)", re.IGNORECASE)
MARK = re.compile(
    r"final\s+scores?(?:_|[^\w+.\N{MINUS SIGN}-])*(?=[+\N{MINUS SIGN}-]?\d)", re.IGNORECASE
)
ONE = re.compile(rf"(?P<value>\d+){SCALE}(?!\s*,\s*\d)", re.IGNORECASE)
Marks = Mapping[str, float]
"""reasoning, consistency and plausibility, those that were asked."""


def official_numbers(text: str) -> list[int] | None:
    """All numbers behind the first "Final Score" that is followed by one."""
    for found in FINAL.findall(text):
        if numbers := [whole(number) for number in re.findall(r"\d+", found)]:
            return numbers
    return None


def fixed_number(text: str, highest: int = HIGHEST) -> int | None:
    """The last final score: from 1 to `highest`, or 0 or 1 where that is the highest."""
    rest = final_text(text)
    marks = [*MARK.finditer(rest)]
    found = ONE.match(rest, marks[-1].end()) if marks else None
    if found is None or found["scale"] not in (None, str(highest)):
        return None
    number, lowest = whole(found["value"]), 0 if highest == 1 else 1
    return number if lowest <= number <= highest else None


def score(text: str, _: Any, per_item: bool) -> dict[str, Any]:
    """The scores of a file of observations."""
    items = read_items(text)
    require_known((item["category"] for item in items), CATEGORIES, "category")
    forgetful = any("consistency" not in item["asked"] for item in items)
    scored = read_all(items, _official_marks, _fixed_marks)
    result: dict[str, Any] = {}
    for mode in ("official", "fixed"):
        rows = [(one.item, getattr(one, mode)) for one in scored
                if texts_of(one.item, ANSWERED)]  # fmt: skip
        result[mode] = _summary(rows, forgetful and mode == "official", mode == "official")
    right = [100.0 * complete(one.fixed) for one in scored if one.fixed]
    result |= {"groups": {"all": right}} | what_is_missing(scored)
    rows = [{"key": one.item["key"], "official": one.official, "fixed": one.fixed}
            for one in scored]  # fmt: skip
    return result | ({"items": rows} if per_item else {})


def weighted(category: str, marks: Marks, forgetful: bool = False) -> float:
    """The score of an item, from 1 to 5. `forgetful` leaves consistency out, as the fault does."""
    if category == LOGICAL:
        found = 0.3 * marks["consistency"] + 0.7 * marks["reasoning"]
    elif "consistency" not in marks or forgetful:
        found = 0.2 * marks["plausibility"] + 0.8 * marks["reasoning"]
    else:
        found = 0.3 * marks["consistency"] + 0.5 * marks["reasoning"] + 0.2 * marks["plausibility"]
    return max(1.0, 0.5 * found) if marks["reasoning"] == 1 else found


def complete(marks: Marks) -> bool:
    """Whether an item has the highest marks throughout."""
    return all(mark == HIGHEST for mark in marks.values())


def _official_marks(item: Item, texts: Sequence[str]) -> Marks | None:
    found = [official_numbers(text) for text in texts]
    if not all(found):
        return None
    numbers = [number for group in found for number in group]
    if len(numbers) != len(texts):
        return None  # the published script stops here
    marks = dict(zip(item["asked"], map(float, numbers), strict=True))
    if item["category"] == LOGICAL:
        return {name: 1.0 + (HIGHEST - 1) * min(mark, 1.0) for name, mark in marks.items()}
    return marks


def _fixed_marks(item: Item, texts: Sequence[str]) -> Marks | None:
    highest = 1 if item["category"] == LOGICAL else HIGHEST
    found = [fixed_number(text, highest) for text in texts]
    if any(number is None for number in found):
        return None
    marks = dict(zip(item["asked"], map(float, found), strict=True))
    if highest == 1:
        return {name: 1.0 + (HIGHEST - 1) * mark for name, mark in marks.items()}
    return marks


def _summary(
    rows: Sequence[tuple[Item, Marks | None]], forgetful: bool, unread_is_wrong: bool
) -> dict[str, Any]:
    """Score from 1 to 5, the same in percent, and accuracy in percent: overall, by category."""
    groups = {name: [r for r in rows if r[0]["category"] == name] for name in CATEGORIES}
    result: dict[str, Any] = {}
    for name, group in {"overall": rows, **groups}.items():
        scores = [weighted(item["category"], marks, forgetful) for item, marks in group if marks]
        right = [float(complete(marks)) if marks else 0.0 for _, marks in group
                 if marks or unread_is_wrong]  # fmt: skip
        value, share = mean(scores), mean(right)
        result[name] = {
            "score": value,
            "percent": None if value is None else 25 * (value - 1),
            "accuracy": None if share is None else 100 * share,
        }
    for mark in ("reasoning", "consistency", "plausibility"):
        known = mean(marks.get(mark) for _, marks in rows if marks)
        result[mark] = {"score": known, "percent": None if known is None else 25 * (known - 1)}
    return result
