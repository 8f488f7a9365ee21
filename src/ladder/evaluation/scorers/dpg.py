"""DPG-Bench: yes-no questions in a graph, of which one counts only if its parents hold.

`official` reproduces the official scorer (https://github.com/TencentQQGYLab/ELLA), faults included:
the first row of the table is skipped, a question is zeroed by its parents in the order of the
file (so zeros pass on only where parents stand before their children), the scores of categories
are those of the last picture before any zeroing, a prompt whose graph is broken is dropped, and a
table whose dependencies are all plain numbers can't be read at all. `fixed` has none of these.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

YES = "yes"
NO_PARENT = 0
COLUMNS = ("item_id", "proposition_id", "dependency", "tuple")


@dataclass(frozen=True)
class DpgQuestion:
    """One question of a prompt."""

    number: int
    """`proposition_id`, from 1."""
    parents: tuple[int, ...]
    category: str
    """Level 2, such as "attribute - color"."""


@dataclass(frozen=True)
class QuestionTable:
    """The questions of every prompt, by `item_id`, in the order of the file."""

    prompts: dict[str, list[DpgQuestion]]
    first: str
    """The prompt that the first row belongs to, which the official scorer skips."""
    readable: bool
    """Whether the official scorer can read it: somewhere two parents stand in one cell."""


def read_questions(rows: Iterable[Mapping[str, str]]) -> QuestionTable:
    """The table of questions from the rows of its CSV.

    Raises ValueError for a missing column, naming those that are there, for a number that is none,
    and for an empty table.
    """
    prompts: dict[str, list[DpgQuestion]] = {}
    several = False
    for row in rows:
        missing = [name for name in COLUMNS if row.get(name) is None]
        if missing:
            raise ValueError(f"questions need a column {missing[0]}, got {', '.join(row)}")
        numbers = [row["proposition_id"], *row["dependency"].split(",")]
        if not all(number.strip().isdecimal() for number in numbers):
            raise ValueError(f"questions and their parents are whole numbers, got {numbers}")
        parents = tuple(int(number) for number in numbers[1:])
        several |= len(parents) > 1
        category = row["tuple"].split("(")[0].strip()
        question = DpgQuestion(int(row["proposition_id"]), parents, category)
        prompts.setdefault(row["item_id"], []).append(question)
    if not prompts:
        raise ValueError("a table of questions must have a row, got none")
    return QuestionTable(prompts, next(iter(prompts)), several)


Answers = Mapping[str, Sequence[Mapping[str, str]]]
"""For each prompt and picture, what the judge said to each question (by its number as text)."""


def official(table: QuestionTable, answers: Answers) -> dict[str, Any] | None:
    """dpg, l1 and l2 in percent, and the prompts that are dropped; None if it can't be read."""
    if not table.readable:
        return None
    prompts, categories, dropped = {}, defaultdict(list), []
    for item, questions in table.prompts.items():
        asked = questions[1:] if item == table.first else questions
        if not asked or item not in answers:
            continue
        try:
            pictures = [_zeroed_in_order(asked, _scores(asked, said)) for said in answers[item]]
        except KeyError:  # a parent, or an answer, that isn't there
            dropped.append(item)
            continue
        prompts[item] = float(np.mean([np.mean([*scores.values()]) for scores in pictures]))
        last = _scores(asked, answers[item][-1])
        for question in asked:
            categories[question.category].append(last[question.number])
    return _summary(prompts, categories) | {"dropped": dropped, "prompts": prompts}


def fixed(table: QuestionTable, answers: Answers) -> dict[str, Any]:
    """The same without faults: every question of every picture counts, zeroed by all ancestors.

    Raises ValueError for an answer or a parent that isn't there, and for parents in a circle.
    """
    prompts, categories = {}, defaultdict(list)
    for item, questions in table.prompts.items():
        if item not in answers:
            continue
        pictures = []
        for said in answers[item]:
            try:
                scores = _zeroed(questions, _scores(questions, said, exact=False))
            except KeyError as error:
                raise ValueError(f"{item}: question or answer {error} is not there") from error
            pictures.append(np.mean([*scores.values()]))
            for question in questions:
                categories[question.category].append(scores[question.number])
        prompts[item] = float(np.mean(pictures))
    return _summary(prompts, categories) | {"dropped": [], "prompts": prompts}


def _scores(
    questions: Sequence[DpgQuestion], said: Mapping[str, str], exact: bool = True
) -> dict[int, float]:
    """1 for yes; unless `exact`, "Yes." is a yes as well."""
    texts = {q.number: said[str(q.number)] for q in questions}
    if not exact:
        texts = {number: text.strip().rstrip(".!").lower() for number, text in texts.items()}
    return {number: float(text == YES) for number, text in texts.items()}


def _zeroed_in_order(
    questions: Sequence[DpgQuestion], scores: dict[int, float]
) -> dict[int, float]:
    for question in questions:
        if any(scores[parent] == 0 for parent in question.parents if parent != NO_PARENT):
            scores[question.number] = 0.0
    return scores


def _zeroed(questions: Sequence[DpgQuestion], scores: dict[int, float]) -> dict[int, float]:
    parents = {question.number: question.parents for question in questions}
    found: dict[int, float] = {}

    def resolve(number: int, path: tuple[int, ...] = ()) -> float:
        if number in path:
            raise ValueError(f"parents must not go in a circle, got {(*path, number)}")
        if number not in found:
            above = [resolve(p, (*path, number)) for p in parents[number] if p != NO_PARENT]
            found[number] = scores[number] * min(above, default=1.0)
        return found[number]

    return {question.number: resolve(question.number) for question in questions}


def _summary(prompts: dict[str, float], categories: Mapping[str, list[float]]) -> dict[str, Any]:
    broad = defaultdict(list)
    for name, scores in categories.items():
        broad[name.split("-")[0].strip()] += scores
    return {
        "dpg": 100 * float(np.mean([*prompts.values()])) if prompts else None,
        "l1": {name: 100 * float(np.mean(broad[name])) for name in sorted(broad)},
        "l2": {name: 100 * float(np.mean(categories[name])) for name in sorted(categories)},
    }
