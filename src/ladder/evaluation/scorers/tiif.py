"""TIIF-Bench: yes-no questions about short and long prompts, in nine groups of attributes.

An attribute's score is the share of its questions that were answered as expected. `official`
follows the published aggregation (https://github.com/A113N-W3I/TIIF-Bench): answers are compared
in lower case as they stand, where a prompt has fewer answers than questions the rest is forgotten,
and attributes are rounded to four digits before they are averaged, as is what comes out. `fixed`
reads "Yes." as yes, counts the questions that a list of answers is too short for as not met, and
rounds nothing. An answer that failed (null in its place) is missing in both, never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ladder.evaluation.confidence import CONFIDENCE, Interval

LENGTHS = ("short", "long")
THINKING = ("numeracy", "comparison", "differentiation", "negation")
GROUPS = {
    "Basic_Attribute - Attribute": (
        "shape+color", "color+texture", "texture+color", "shape+texture",
    ),
    "Basic_Relation - Relation": (
        "2d_spatial_relation", "3d_spatial_relation", "action+2d", "action+3d",
    ),
    "Basic_Reasoning - Reasoning": ("numeracy", "negation", "differentiation", "comparison"),
    "Advanced_Attribute+Relation - Attribute+Relation": (
        "action+color", "action+texture", "color+2d", "color+3d",
        "shape+2d", "shape+3d", "texture+2d", "texture+3d",
    ),
    "Advanced_Attribute+Reasoning - Attribute+Reasoning": tuple(
        f"{thought}+{what}" for thought in THINKING for what in ("color", "texture")
    ),
    "Advanced_Relation+Reasoning - Relation+Reasoning": tuple(
        f"{thought}+{what}" for thought in THINKING for what in ("2d", "3d")
    ),
    "Advanced_Text Generation - Text Generation": ("text",),
    "Advanced_Style Control - Style Control": ("style",),
    "Real_Complex - Complex": ("real_world",),
}  # fmt: skip
"""The nine groups, by their names in the official summary, with their attributes."""
AVERAGES = {
    "Basic_Following_Overall - Overall": "Basic_",
    "Advanced_Following_Overall - Overall": "Advanced_",
    "Real_World_Following_Overall - Overall": "Real_",
}
"""Means over the attributes of all groups whose names begin so."""
OVERALL = "Overall average score of 9 sub-attributes"

Record = Mapping[str, Any]
"""attribute, length, row, expected and answered: lists of answers."""


def official(records: Sequence[Record]) -> dict[str, list[float | None]]:
    """The score of every group, average and overall: [short, long]; None if nothing was asked."""
    return _summary(records, _answered_questions, _lower, _rounded)


def fixed(records: Sequence[Record]) -> dict[str, list[float | None]]:
    """The same over all questions."""
    return _summary(records, _all_questions, _plain, float)


def yes_rate(records: Sequence[Record]) -> float | None:
    """The share of answers that are yes; None without answers. 98% of the expected ones are:
    publish it always."""
    answers = [
        _plain(said) for record in records for said in record["answered"] if said is not None
    ]
    return float(np.mean([answer == "yes" for answer in answers])) if answers else None


def overall_interval(
    records: Sequence[Record], length: str, resamples: int, seed: int
) -> Interval | None:
    """The overall score of a length without faults, with its interval over prompts, which are drawn
    attribute by attribute; None without an answer."""
    rng = np.random.default_rng(seed)
    attributes: dict[str, list[tuple[int, int]]] = {}
    for record in (one for one in records if one["length"] == length):
        right = [_plain(said) == _plain(expected) for expected, said in _all_questions(record)]
        if right:
            attributes.setdefault(record["attribute"], []).append((sum(right), len(right)))
    drawn, means = {}, {}
    for name, counts in attributes.items():
        right, asked = np.array(counts).T
        places = rng.integers(len(counts), size=(resamples, len(counts)))
        drawn[name] = right[places].sum(1) / asked[places].sum(1)
        means[name] = right.sum() / asked.sum()
    groups = [[name for name in names if name in means] for names in GROUPS.values()]
    groups = [names for names in groups if names]
    if not groups:
        return None
    mean = float(np.mean([np.mean([means[name] for name in names]) for names in groups]))
    spread = np.mean([np.mean([drawn[name] for name in names], axis=0) for names in groups], axis=0)
    tail = (1 - CONFIDENCE) / 2
    low, high = (float(value) for value in np.quantile(spread, (tail, 1 - tail)))
    number = sum(len(counts) for counts in attributes.values())
    return Interval(mean, min(low, mean), max(high, mean), number)


def unanswered(records: Sequence[Record]) -> int:
    """Questions without an answer."""
    given = (sum(said is not None for said in record["answered"]) for record in records)
    return sum(max(len(r["expected"]) - n, 0) for r, n in zip(records, given, strict=True))


def missing(records: Sequence[Record]) -> list[str]:
    """Attributes, with their length, of which there is no question."""
    there = {(record["attribute"], record["length"]) for record in records}
    wanted = [(name, length) for names in GROUPS.values() for name in names for length in LENGTHS]
    return [f"{name} ({length})" for name, length in wanted if (name, length) not in there]


def _summary(
    records: Sequence[Record],
    pairs: Callable[[Record], Iterable[tuple[str, str]]],
    read: Callable[[str], str],
    rounded: Callable[[float], float],
) -> dict[str, list[float | None]]:
    right: dict[tuple[str, str], list[bool]] = {}
    for record in records:
        found = [read(said) == read(expected) for expected, said in pairs(record)]
        right.setdefault((record["attribute"], record["length"]), []).extend(found)
    scores = {key: rounded(sum(found) / len(found)) for key, found in right.items() if found}

    def mean(names: Iterable[str], length: str) -> float | None:
        known = [scores[name, length] for name in names if (name, length) in scores]
        return sum(known) / len(known) if known else None

    summary = {
        group: [mean(names, length) for length in LENGTHS] for group, names in GROUPS.items()
    }
    for average, start in AVERAGES.items():
        names = [name for group in GROUPS if group.startswith(start) for name in GROUPS[group]]
        summary[average] = [mean(names, length) for length in LENGTHS]
    columns = [[summary[group][side] for group in GROUPS] for side in range(len(LENGTHS))]
    known = [[score for score in column if score is not None] for column in columns]
    # NumPy's mean, as the official one: another order of adding decides ties differently.
    summary[OVERALL] = [float(np.mean(column)) if column else None for column in known]
    return {
        group: [None if score is None else rounded(score) for score in pair]
        for group, pair in summary.items()
    }


def _answered_questions(record: Record) -> Iterable[tuple[str, str]]:
    pairs = zip(record["expected"], record["answered"], strict=False)
    return ((expected, said) for expected, said in pairs if said is not None)


def _all_questions(record: Record) -> Iterable[tuple[str, str]]:
    asked, answered = len(record["expected"]), len(record["answered"])
    if answered > asked:
        raise ValueError(f"a question has one answer, got {answered} to {asked} of {record}")
    rest = [""] * (asked - answered)
    pairs = zip(record["expected"], [*record["answered"], *rest], strict=True)
    return ((expected, said) for expected, said in pairs if said is not None)


def _rounded(score: float) -> float:
    """NumPy's rounding to four digits, which differs from Python's where it is a tie."""
    return float(np.round(score, 4))


def _lower(answer: str) -> str:
    return answer.lower()


def _plain(answer: str) -> str:
    return answer.strip().rstrip(".!").lower()
