"""Is understanding kept? Questions about pictures, put to the ladder's MLLM and to the original.

An answer is right if it is the truth but for case and spaces. That the two answer alike, letter for
letter, is a score of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict

from PIL import Image
from tqdm import tqdm

from ladder.config.load import Evaluation
from ladder.evaluation.confidence import interval, mean_of_groups
from ladder.models.mllm.frozen import Understanding
from ladder.world.questions import Question
from ladder.world.render import render

LONGEST = 64
"""Tokens of an answer; the longest truth has a few."""


def answers(
    understanding: Understanding, questions: Sequence[Question], batch: int, title: str
) -> list[str]:
    """What `understanding` answers to questions about the pictures of their scenes."""
    found: list[str] = []
    with tqdm(total=len(questions), desc=title, unit="question", mininterval=5) as bar:
        for first in range(0, len(questions), batch):
            part = questions[first : first + batch]
            pictures = [Image.fromarray(render(question.scene)) for question in part]
            texts = [question.text for question in part]
            found += understanding.ask_all(pictures, texts, LONGEST)
            bar.update(len(part))
    return found


def is_right(answer: str, truth: str) -> bool:
    """Equal but for case and spaces."""
    return answer.lower().split() == truth.lower().split()


def scores(
    questions: Sequence[Question],
    answers: Sequence[str],
    original: Sequence[str],
    evaluation: Evaluation,
) -> dict[str, dict]:
    """The metrics of `answers`: over all (the unweighted mean of the kinds) and by kind.

    "as_foundation" is the share of answers that are those of the `original` MLLM.
    """
    right: dict[str, list[float]] = defaultdict(list)
    for question, answer in zip(questions, answers, strict=True):
        right[question.kind].append(float(is_right(answer, question.answer)))
    same = [float(one == other) for one, other in zip(answers, original, strict=True)]
    draws = (evaluation.resamples, evaluation.seed)
    return {
        "overall": asdict(mean_of_groups(right, *draws)),
        "as_foundation": asdict(interval(same, *draws)),
    } | {kind: asdict(interval(values, *draws)) for kind, values in right.items()}
