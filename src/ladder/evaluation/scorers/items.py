"""Observations of the newer suites: an object with a list of items, each with its answers.

{judge, judge_version, .., "items": [{key, .., "answers": [{text, status, probabilities}]}]}. An
item without answers lacks its pictures. An answer that isn't `answered` is missing, never 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from ladder.evaluation.json_files import loads

Item = Mapping[str, Any]
Status = Literal["answered", "refused", "filtered", "truncated", "unreachable", "malformed"]
"""What became of a question."""
STATUSES: tuple[str, ...] = get_args(Status)
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
    """The items of a file. Raises ValueError for one that has none, or one twice."""
    items = loads(text)["items"]
    if not items:
        raise ValueError("observations must have an item, got none")
    require_once(item["key"] for item in items)
    return items


def require_once(names: Iterable[Any]) -> None:
    """Raises ValueError, naming one, where something stands twice, and would count twice."""
    twice = [name for name, number in Counter(names).items() if number > 1]
    if twice:
        raise ValueError(f"observations must hold everything once, got {twice[0]} twice")


def require_known(names: Iterable[Any], known: Collection[Any], what: str) -> None:
    """Raises ValueError, naming one, where something isn't of the benchmark, and wouldn't count."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"observations must be of the benchmark, got {what} {unknown[0]!r}")


def texts_of(item: Item, statuses: Collection[str]) -> list[str] | None:
    """The texts of an item's answers; None if it has none, or one of another status."""
    answers = item["answers"]
    if not answers or any(status_of(answer) not in statuses for answer in answers):
        return None
    return [answer["text"] for answer in answers]


def status_of(answer: Mapping[str, Any]) -> str:
    """What became of a question; files of others say nothing, and mean an answer.

    Raises ValueError for a status that there isn't.
    """
    status = answer.get("status", "answered")
    require_known([status], STATUSES, "an answer of status")
    return status


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
