"""VLM judges: they look at pictures and answer questions about them with text.

oracle     the toy world's detector; exact, for that world only
local_vqa  Qwen2.5-VL and BLIP-VQA, run here through transformers
openai     a model behind an OpenAI-compatible address, such as GPT-4o or a vLLM server
batch      the same, through files of OpenAI's Batch API

What a judge says is an answer or a failure of a named kind. Its text is stored as it came, with who
said it under what prompt; the scorers read it later. A failure is missing, never a score.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from PIL import Image

from ladder.evaluation.json_files import dumps
from ladder.evaluation.scorers.items import STATUSES, Status
from ladder.evaluation.scorers.judge_text import declines, is_refusal, opens_as_refusal
from ladder.evaluation.vlm_judges.pictures import JudgePicture

FAILURES = STATUSES[1:]


@dataclass(frozen=True)
class Answer:
    """What became of one question."""

    text: str
    """Raw, as the judge wrote it; empty where it wrote nothing."""
    status: Status = "answered"
    reason: str = ""
    """Of a failure, in words."""
    version: str = ""
    """What the judge called itself; empty where it says nothing but its own version."""
    probabilities: Mapping[str, float] | None = None
    """Of the likeliest first tokens, where the question asks for them and the judge knows."""

    @property
    def failed(self) -> bool:
        return self.status != "answered"

    def as_row(self) -> dict[str, Any]:
        """What stands in files; the version of an answer stands there once for all."""
        row: dict[str, Any] = {"text": self.text, "status": self.status}
        row |= {"reason": self.reason} if self.reason else {}
        known = self.probabilities is not None
        return row | ({"probabilities": dict(self.probabilities)} if known else {})


@dataclass(frozen=True)
class JudgeQuestion:
    """What is asked, about one picture, several or none."""

    pictures: tuple[JudgePicture, ...]
    text: str
    read: Callable[[str], Any] = field(default=str.strip, compare=False)
    """The scorer's reading of an answer. What it returns None or "" for is malformed."""
    system: str = ""
    """What the judge is told before."""
    verbatim: bool = False
    """Whether the answer copies what stands in the picture: its words aren't the judge's own."""
    probabilities: bool = False
    """Whether the score depends on how likely the judge finds its first token."""


@runtime_checkable
class Witness(Protocol):
    """Who looks at pictures. All of it stands on every stored row."""

    name: str
    version: str
    """The revision, or the hash, of its weights."""
    temperature: float
    """0 where the most likely answer is taken."""
    prompt: str
    """What is said around a question, with `{question}` in its place."""
    settings: Mapping[str, Any]
    """What else may change an answer: how pictures are sent, how long an answer may be."""


@runtime_checkable
class Judge(Witness, Protocol):
    """Answers questions about pictures."""

    def answer(self, questions: Sequence[JudgeQuestion]) -> list[Answer]:
        """The answers and failures, in the order of the questions."""
        ...


def identity(judge: Witness, template: str = "") -> dict[str, Any]:
    """What every row of observations says about who judged, and under what prompt.

    `template` is what a benchmark brings of the prompt.
    """
    return {
        "judge": judge.name,
        "judge_version": judge.version,
        "temperature": judge.temperature,
        "prompt_hash": hashlib.sha256((judge.prompt + template).encode()).hexdigest()[:16],
        "settings_hash": hashlib.sha256(dumps(dict(judge.settings)).encode()).hexdigest()[:16],
    }


def held_to_rule(question: JudgeQuestion, answer: Answer) -> Answer:
    """`answer`, as refused or malformed where its text doesn't fit the rule of the question, and
    as refused where the judge says so, whatever the text fits."""
    if answer.failed:
        return answer
    if (opens_as_refusal if question.verbatim else declines)(answer.text):
        return replace(answer, status="refused", reason="the judge says that it declines")
    if question.read(answer.text) not in (None, ""):
        return answer
    kind = "refused" if is_refusal(answer.text) else "malformed"
    return replace(answer, status=kind, reason="the text doesn't fit the rule of the benchmark")


def only_picture(question: JudgeQuestion) -> Image.Image:
    """The picture of a question that must have one; raises ValueError for another number."""
    if len(question.pictures) != 1:
        raise ValueError(f"this judge looks at one picture, got {len(question.pictures)}")
    return question.pictures[0].open()
