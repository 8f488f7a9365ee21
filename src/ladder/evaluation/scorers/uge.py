"""ImgEdit's UGE suite: hard edits, each with one mark from 1 to 5.

The score is the mean of the items (https://github.com/PKU-YuanGroup/ImgEdit, Benchmark/UGE).
`official` reads a text as the published script: a line counts if it splits once at ": " and ends in
digits; a text without such a line is forgotten, though its own examples ("... Score: 3
(Acceptable)") have none. `fixed` reads the last "Score: N", wants it from 1 to 5, and counts what
it can't read as malformed.

`imgedit-multiturn` is judged by people in the paper: there is no official scorer. Here the same
question is put after every turn, and an item is the mean of its turns; not comparable.
"""

from __future__ import annotations

import re
from typing import Any

from ladder.evaluation.scorers import imgedit
from ladder.evaluation.scorers.items import mean, read_all, read_items, what_is_missing
from ladder.evaluation.scorers.judge_text import SCALE, final_text

MARK = re.compile(r"\bscore\W{0,3}[:=][\s*_\"'`]*(?=[-+]?\d)", re.IGNORECASE)
SCORE = re.compile(rf"(?P<value>\d+(?:\.\d+)?){SCALE}", re.IGNORECASE)
LOWEST, HIGHEST = imgedit.LOWEST, imgedit.HIGHEST


def fixed(text: str) -> float | None:
    """The last mark that the text calls a score; None for one out of range, or without any."""
    rest = final_text(text)
    marks = [*MARK.finditer(rest)]
    found = SCORE.match(rest, marks[-1].end()) if marks else None
    if found is None or found["scale"] not in (None, str(HIGHEST)):
        return None
    value = float(found["value"])
    return value if LOWEST <= value <= HIGHEST else None


def score(text: str, _: Any, per_item: bool) -> dict[str, Any]:
    """The scores of a file of observations."""
    scored = read_all(
        read_items(text),
        lambda _, texts: mean(imgedit.official(one) for one in texts),
        lambda _, texts: None if None in (found := [fixed(one) for one in texts]) else mean(found),
    )
    official = mean(one.official for one in scored)
    known = [one.fixed for one in scored if one.fixed is not None]
    result: dict[str, Any] = {
        "official": {"overall": None if official is None else round(official, 2)},
        "fixed": {"overall": mean(known)},
        "groups": {"all": known},
    }
    rows = [{"key": one.item["key"], "official": one.official, "fixed": one.fixed}
            for one in scored]  # fmt: skip
    return result | what_is_missing(scored) | ({"items": rows} if per_item else {})


def score_multiturn(text: str, _: Any, per_item: bool) -> dict[str, Any]:
    """The scores of turns, which no official scorer gives."""
    note = "no official scorer: in the paper people judge this suite"
    return score(text, None, per_item) | {"official": None, "note": note}
