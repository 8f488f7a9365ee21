"""LongText-Bench: how much of the text that a prompt asks for can be read in the picture.

The judge copies what it reads. Both texts are reduced to letters, digits and blanks; English counts
words whatever their case, Chinese (`longtext-zh`) counts characters. The score is the number of
wanted words that were read, each as often as it is wanted, out of all wanted words of all pictures
(https://github.com/X-Omni-Team/X-Omni, textbench; arXiv 2507.22058).

`official` takes what the judge says for no text out of it, as the published script does; that
script means to take out another phrase, too, and forgets it. `fixed` takes out both, cuts drafts
off, and reads wide letters. The published judge is Qwen2.5-VL-7B.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ladder.evaluation.confidence import CONFIDENCE, Interval
from ladder.evaluation.scorers.items import Item, read_all, read_items, what_is_missing
from ladder.evaluation.scorers.judge_text import final_text

RESAMPLES, SEED = 2000, 0
"""Of the interval."""
ACCENTED = "àâäéèêëîïôöùûüçÀÂÄÉÈÊËÎÏÔÖÙÛÜÇ"
OTHERS = re.compile(rf"[^\u4e00-\u9fa5a-zA-Z0-9\s{ACCENTED}]")
"""What doesn't count."""
NO_TEXT, INVENTED = "No text recognized.", "addCriterion"
"""What the judge says of a picture without text, and what Qwen2.5-VL is known to make up."""


@dataclass(frozen=True)
class TextMatch:
    """Of one picture: words (or characters) that are wanted, and those of them that were read."""

    read: int
    wanted: int


def official(item: Item, texts: Sequence[str]) -> TextMatch:
    return matched(item, texts[0].replace(NO_TEXT, ""))


def fixed(item: Item, texts: Sequence[str]) -> TextMatch:
    return matched(item, final_text(texts[0]).replace(NO_TEXT, "").replace(INVENTED, ""))


def matched(item: Item, text: str) -> TextMatch:
    """What of an item's text is in the text that was read."""
    wanted, read = (units(part, item["language"]) for part in (" ".join(item["wanted"]), text))
    return TextMatch((wanted & read).total(), wanted.total())


def units(text: str, language: str) -> Counter[str]:
    """The words of an English text, or the characters of a Chinese one."""
    plain = OTHERS.sub("", text)
    return Counter("".join(plain.split()) if language == "zh" else plain.lower().split())


def score(text: str, _: Any, per_item: bool) -> dict[str, Any]:
    """The scores of a file of observations. Raises ValueError for an item that wants no text."""
    items = read_items(text)
    for item in items:
        if not units(" ".join(item["wanted"]), item["language"]):
            raise ValueError(f"an item must want a text, got {item['wanted']} of {item['key']}")
    scored = read_all(items, official, fixed)
    result: dict[str, Any] = {
        mode: {"text_score": share([one for one in found if one])}
        for mode, found in (
            ("official", [one.official for one in scored]),
            ("fixed", [one.fixed for one in scored]),
        )
    }
    known: dict[str, list[TextMatch]] = {}
    for one in scored:
        if one.fixed:
            known.setdefault(str(one.item["prompt_id"]), []).append(one.fixed)
    result |= {"overall": asdict(interval([*known.values()]))} if known else {}
    rows = [
        {"key": one.item["key"]}
        | {
            mode: getattr(one, mode) and asdict(getattr(one, mode))
            for mode in ("official", "fixed")
        }
        for one in scored
    ]
    return result | what_is_missing(scored) | ({"items": rows} if per_item else {})


def share(matches: Sequence[TextMatch]) -> float | None:
    """What was read of all that was wanted, from 0 to 1; None of nothing."""
    wanted = sum(one.wanted for one in matches)
    return sum(one.read for one in matches) / wanted if wanted else None


def interval(prompts: Sequence[Sequence[TextMatch]]) -> Interval:
    """The share of all pictures, with its interval over prompts."""
    counts = np.array([[sum(one.read for one in own), sum(one.wanted for one in own)]
                       for own in prompts])  # fmt: skip
    places = np.random.default_rng(SEED).integers(len(counts), size=(RESAMPLES, len(counts)))
    drawn, tail = counts[places].sum(1), (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], (tail, 1 - tail)).tolist()
    read, wanted = counts.sum(0).tolist()
    mean = read / wanted
    return Interval(mean, min(low, mean), max(high, mean), len(prompts))
