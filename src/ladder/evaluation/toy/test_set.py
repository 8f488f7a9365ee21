"""What the evaluation asks: held-out prompts, edits and questions, drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xxhash

from ladder.world import edits, questions, sampling
from ladder.world.edits import Edit, draw_edit
from ladder.world.language import choose, held_out
from ladder.world.questions import Question, draw_question
from ladder.world.sampling import LITERALS, draw_kind
from ladder.world.scenes import Scene, draw_scene

REASONING, REASONING_TAG = "reasoning", "thought"
"""The task of prompts that need reasoning, and the tag of their rows in all data."""


@dataclass(frozen=True)
class HeldOutPrompt:
    """A prompt of the evaluation: its GenEval row, its meaning, and a scene that it is true of.

    `kind` is the task, or the kind of reasoning (`reasoning_prompts.KINDS`).
    """

    row: dict
    specification: str
    scene: Scene
    kind: str

    @property
    def text(self) -> str:
        return self.row["prompt"]

    @property
    def task(self) -> str:
        """One of `language.TASKS`, or REASONING."""
        return REASONING if self.row["tag"] == REASONING_TAG else self.row["tag"]


def evaluation_prompts(task: str, count: int, seed: int) -> list[HeldOutPrompt]:
    """`count` distinct prompts of a task of `language.TASKS`, or of REASONING.

    All are held out from training captions but for `single_object`, which has too few texts.
    Prompts that need reasoning are balanced over their kinds. Raises
    ValueError if the task has fewer.
    """
    tag = REASONING_TAG if task == REASONING else task
    rng = np.random.default_rng([seed, xxhash.xxh32_intdigest(tag.encode())])
    found: dict[str, HeldOutPrompt] = {}
    kinds = [*sampling.REASONING] if task == REASONING else [task]
    for _ in range(1000 * count):
        name = kinds[len(found) % len(kinds)]
        kind, speaker = (sampling.REASONING | LITERALS)[name]
        scene = draw_kind(rng, kind)
        caption = speaker(rng, scene)
        if task == "single_object" or held_out(caption.text):
            one = HeldOutPrompt(caption.row, caption.specification, scene, name)
            found.setdefault(caption.text, one)
        if len(found) == count:
            return [*found.values()]
    raise ValueError(f"{task} has no {count} different prompts, found {len(found)}")


def evaluation_edits(count: int, seed: int) -> list[Edit]:
    """`count` edits of each kind, one wording each."""
    rng = np.random.default_rng([seed, 1])
    return [draw_edit(rng, 1, kind) for kind in edits.KINDS for _ in range(count)]


def evaluation_questions(count: int, seed: int) -> list[Question]:
    """`count` questions of each kind about random scenes."""
    rng = np.random.default_rng([seed, 2])
    found: list[Question] = []
    for kind in questions.KINDS:
        wanted = len(found) + count
        while len(found) < wanted:
            scene = draw_scene(rng, choose(rng, questions.OBJECTS))
            question = draw_question(rng, scene, kind)
            found += [question] if question else []
    return found
