"""Observations of the newer suites: an object with a list of items, each with its answers.

{judge, judge_version, .., "items": [{key, .., "answers": [{text, status, probabilities}]}]}. An
item without answers lacks its pictures. An answer that isn't `answered` is missing, never 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ladder.evaluation.json_files import loads

Item = Mapping[str, Any]
ANSWERED = ("answered", "malformed")
"""Of texts that a judge wrote to their end."""


@dataclass(frozen=True)
class ScoredItem:
    """One item with what both readings made of its answers."""

    item: Item
    official: Any
    """None where the official reading finds nothing."""
    fixed: Any
    """None where an answer is missing, or fits no rule."""


def read_items(text: str) -> list[Item]:
    """The items of a file. Raises ValueError for one that has none."""
    items = loads(text)["items"]
    if not items:
        raise ValueError("observations must have an item, got none")
    return items


def texts_of(item: Item, statuses: Collection[str]) -> list[str] | None:
    """The texts of an item's answers; None if it has none, or one of another status."""
    answers = item["answers"]
    if not answers or any(status_of(answer) not in statuses for answer in answers):
        return None
    return [answer["text"] for answer in answers]


def status_of(answer: Mapping[str, Any]) -> str:
    """What became of a question; files of others say nothing, and mean an answer."""
    return answer.get("status", "answered")


def read_all(
    items: Iterable[Item],
    official: Callable[[Item, list[str]], Any],
    fixed: Callable[[Item, list[str]], Any],
) -> list[ScoredItem]:
    """Both readings of every item; of one with a failed answer there is none.

    What `fixed` couldn't read is malformed, but the official reading may find something in it.
    """
    found = []
    for item in items:
        texts, any_text = texts_of(item, {"answered"}), texts_of(item, ANSWERED)
        found.append(
            ScoredItem(
                item,
                None if any_text is None else official(item, any_text),
                None if texts is None else fixed(item, texts),
            )
        )
    return found


def what_is_missing(scored: Sequence[ScoredItem]) -> dict[str, Any]:
    """`missing`: items that lack pictures; `failures`: answers by kind. A text that was answered
    and that the mended reading can't read is malformed."""
    failures: Counter[str] = Counter()
    for one in scored:
        kinds = [status_of(answer) for answer in one.item["answers"]]
        failures.update(kind for kind in kinds if kind != "answered")
        if kinds and one.fixed is None and {*kinds} == {"answered"}:
            failures["malformed"] += 1
    lacking = [str(one.item["key"]) for one in scored if not one.item["answers"]]
    return {"missing": lacking, "failures": dict(failures)}


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of what is known; None of nothing."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
