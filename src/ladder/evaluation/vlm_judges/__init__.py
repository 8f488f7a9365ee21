"""Judges: they look at pictures and answer questions about them with text.

oracle    the toy world's detector; exact, for that world only
models    Qwen2.5-VL and BLIP-VQA, run here through transformers
endpoint  a model behind an OpenAI-compatible address, such as GPT-4o

A judge's text is stored as it came, with who said it under what prompt; the scorers read it later.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from PIL import Image

YES_OR_NO = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Question:
    """What is asked, about one picture or several."""

    pictures: tuple[Image.Image, ...]
    text: str


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


@runtime_checkable
class Judge(Witness, Protocol):
    """Answers questions about pictures."""

    def answer(self, questions: Sequence[Question]) -> list[str]:
        """The texts, in the order of the questions."""
        ...


def identity(judge: Witness, template: str = "") -> dict[str, str | float]:
    """What every row of observations says about who judged, and under what prompt.

    `template` is what a benchmark brings of the prompt.
    """
    return {
        "judge": judge.name,
        "judge_version": judge.version,
        "temperature": judge.temperature,
        "prompt_hash": hashlib.sha256((judge.prompt + template).encode()).hexdigest()[:16],
    }


def plain(answer: str) -> str:
    """`yes` or `no` where the text begins with it, else the text as it is."""
    found = YES_OR_NO.match(answer)
    return found[1].lower() if found else answer.strip()


def only_picture(question: Question) -> Image.Image:
    """The picture of a question that must have one; raises ValueError for another number."""
    if len(question.pictures) != 1:
        raise ValueError(f"this judge looks at one picture, got {len(question.pictures)}")
    return question.pictures[0]
