"""What became of every prompt: the table from which runs are compared prompt by prompt.

A score in the results says how often a ladder is right; two ladders are compared on the same
prompts, which needs the outcome of each.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from ladder.evaluation.scorers.geneval import Observation, judge
from ladder.evaluation.scorers.tiif import LENGTHS
from ladder.evaluation.toy import dpg, geneval, imgedit, tiif
from ladder.evaluation.toy.edits import score_edit
from ladder.evaluation.toy.test_set import Asked
from ladder.evaluation.toy.vqa import is_right
from ladder.world.edits import Edit
from ladder.world.oracle import Detections
from ladder.world.questions import Question


@dataclass(frozen=True)
class Outcome:
    """The score of one prompt, edit or question: a mean over its pictures, from 0 to 1 (but from
    1 to 5 of imgedit_toy)."""

    metric: str
    """As in the results: geneval_toy, thought, dpg_toy, tiif_toy.short, tiif_toy.long,
    edit.followed, edit.kept, edit.exact, imgedit_toy or understanding."""
    group: str
    """The task or kind. A metric is the unweighted mean of its groups' means; only thought is the
    mean of its prompts."""
    number: int
    """The prompt's place among those of the metric, the same in every run of one evaluation."""
    prompt: str
    score: float


def of_generation(
    asked: Sequence[Asked], seen: Sequence[Sequence[Observation]]
) -> Iterable[Outcome]:
    """A prompt's share of right pictures."""
    for number, (prompt, observations) in enumerate(zip(asked, seen, strict=True)):
        right = [judge(prompt.row, observation).correct for observation in observations]
        metric = "thought" if prompt.row["tag"] == geneval.THOUGHT else "geneval_toy"
        yield Outcome(metric, prompt.kind, number, prompt.text, float(np.mean(right)))


def of_dense(
    asked: Sequence[dpg.Dense], answers: Sequence[Sequence[dpg.Said]]
) -> Iterable[Outcome]:
    scores = dpg.by_prompt(asked, answers)
    for number, (prompt, score) in enumerate(zip(asked, scores, strict=True)):
        yield Outcome("dpg_toy", "dense", number, prompt.text, score)


def of_lengths(asked: Sequence[tiif.Pair], answers: Sequence[tiif.Answered]) -> Iterable[Outcome]:
    for length in LENGTHS:
        scores = tiif.by_prompt(asked, answers, length)
        for number, (pair, score) in enumerate(zip(asked, scores, strict=True)):
            yield Outcome(f"tiif_toy.{length}", pair.group, number, pair.texts[length], score)


def of_edits(edits: Sequence[Edit], found: Sequence[Detections]) -> Iterable[Outcome]:
    for number, (edit, seen) in enumerate(zip(edits, found, strict=True)):
        score = score_edit(edit, seen)
        for name in ("followed", "kept", "exact"):
            value = getattr(score, name)
            yield Outcome(f"edit.{name}", edit.kind, number, edit.instructions[0], value)
    for number, (edit, grade) in enumerate(zip(edits, imgedit.grades(edits, found), strict=True)):
        yield Outcome("imgedit_toy", edit.kind, number, edit.instructions[0], grade)


def of_questions(questions: Sequence[Question], answers: Sequence[str]) -> Iterable[Outcome]:
    for number, (asked, answer) in enumerate(zip(questions, answers, strict=True)):
        right = float(is_right(answer, asked.answer))
        yield Outcome("understanding", asked.kind, number, asked.text, right)


def write(outcomes: Iterable[Outcome], path: Path) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([field.name for field in fields(Outcome)])
        table.writerows(astuple(outcome) for outcome in outcomes)
