"""Is understanding kept? Questions about pictures, put to the ladder's MLLM and to the original.

An answer is right if it is the truth but for case and spaces. That the two answer alike, letter for
letter, is a score of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from ladder.config.files import write_text
from ladder.config.load import Evaluation, Foundations, Sampling
from ladder.evaluation.outcomes import Outcome
from ladder.evaluation.toy.test_set import evaluation_questions
from ladder.inference.pipeline import LadderPipeline
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


@dataclass(frozen=True)
class QuestionsToy:
    """The benchmark; it puts every question to both models. It has no floor and no ceiling."""

    evaluation: Evaluation
    sampling: Sampling
    foundations: Foundations
    name = "understanding"

    @cached_property
    def prompts(self) -> list[Question]:
        return evaluation_questions(self.evaluation.questions, self.evaluation.seed)

    @property
    def groups(self) -> list[str]:
        """The kind of each question."""
        return [question.kind for question in self.prompts]

    def observe(self, pipeline: LadderPipeline) -> list[tuple[str, str]]:
        """The answers of the ladder's MLLM, and those of the original."""
        ours, batch = pipeline.ladder.understanding, self.sampling.batch
        own = answers(ours, self.prompts, batch, "questions")
        original = Understanding.from_pretrained(
            self.foundations.mllm, ours.mllm.dtype, ours.visual_tokens
        )
        original.to(ours.mllm.device)
        before = answers(original, self.prompts, batch, "questions to the foundation")
        return [*zip(own, before, strict=True)]

    def ceiling(self, pipeline: LadderPipeline) -> None:
        """There is none: the frozen MLLM is what it was."""

    def score(self, seen: Sequence[tuple[str, str]]) -> list[Outcome]:
        """Whether each answer is right, and whether it is that of the original."""
        outcomes = []
        for number, (question, (own, before)) in enumerate(zip(self.prompts, seen, strict=True)):
            place = (question.kind, number, question.text, None)
            right, same = is_right(own, question.answer), own == before
            outcomes += [
                Outcome("understanding", *place, float(right)),
                Outcome("understanding.as_foundation", *place, float(same)),
            ]
        return outcomes

    def save(
        self, seen: Sequence[tuple[str, str]], outcomes: Sequence[Outcome], notes: Path, grids: Path
    ) -> None:
        """Write answers.jsonl into `notes`."""
        lines = (
            {"kind": question.kind, "question": question.text, "truth": question.answer,
             "answer": own, "foundation": before}
            for question, (own, before) in zip(self.prompts, seen, strict=True)
        )  # fmt: skip
        write_text(notes / "answers.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
