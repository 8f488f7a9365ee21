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

from ladder.evaluation import generation
from ladder.evaluation.edits import score_edit
from ladder.evaluation.exam import Asked
from ladder.evaluation.geneval import Observation, judge
from ladder.evaluation.understanding import is_right
from ladder.world.detect import Detections
from ladder.world.edits import Edit
from ladder.world.questions import Question


@dataclass(frozen=True)
class Outcome:
    """The score of one prompt, edit or question: a mean over its pictures, from 0 to 1."""

    metric: str
    """As in the results: geneval_toy, thought, edit.followed, edit.kept, edit.exact or
    understanding."""
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
        metric = "thought" if prompt.row["tag"] == generation.THOUGHT else "geneval_toy"
        yield Outcome(metric, prompt.kind, number, prompt.text, float(np.mean(right)))


def of_edits(edits: Sequence[Edit], found: Sequence[Detections]) -> Iterable[Outcome]:
    for number, (edit, seen) in enumerate(zip(edits, found, strict=True)):
        score = score_edit(edit, seen)
        for name in ("followed", "kept", "exact"):
            value = getattr(score, name)
            yield Outcome(f"edit.{name}", edit.kind, number, edit.instructions[0], value)


def of_questions(questions: Sequence[Question], answers: Sequence[str]) -> Iterable[Outcome]:
    for number, (asked, answer) in enumerate(zip(questions, answers, strict=True)):
        right = float(is_right(answer, asked.answer))
        yield Outcome("understanding", asked.kind, number, asked.text, right)


def write(outcomes: Iterable[Outcome], path: Path) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([field.name for field in fields(Outcome)])
        table.writerows(astuple(outcome) for outcome in outcomes)
