"""Examples are worded as training words them, and come out right; unknown words are told."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from ladder.evaluation.scorers.geneval import judge
from ladder.evaluation.toy.observe import by_cell, by_class
from ladder.inference.open import open_ladder
from ladder.inference.shipped import shipped_ladder
from ladder.playground.drawing import Models, draw
from ladder.playground.settings import Settings
from ladder.playground.words import EXAMPLES, notes, vocabulary
from ladder.world import language, reasoning_prompts
from ladder.world.edits import KINDS as EDITS
from ladder.world.edits import draw_edit
from ladder.world.language import Caption, held_out
from ladder.world.oracle import detect
from ladder.world.questions import KINDS as QUESTIONS
from ladder.world.questions import draw_question
from ladder.world.scenes import BACKGROUNDS, COLORS, SHAPES, Scene, Thing

DRAWS = 20_000
"""Random wordings among which an example must be."""
FIRST = Scene((Thing(3, "star", "red", "large"), Thing(5, "circle", "blue", "large")))
"""What the first example shows."""


def scene(*things: tuple[int, str, str], background: str = "slate") -> Scene:
    """A scene of things, each with its cell, colour and shape."""
    return Scene(tuple(Thing(c, shape, color, "small") for c, color, shape in things), background)


PROMPTS: dict[str, Callable[[np.random.Generator], Caption]] = {
    "a red star to the left of a blue circle": lambda rng: language.position(rng, FIRST, True),
    "three purple hearts": lambda rng: language.counting(
        rng, scene(*((cell, "purple", "heart") for cell in (3, 4, 5))), True
    ),
    "a photo of a green square above a yellow triangle": lambda rng: language.position(
        rng, scene((1, "green", "square"), (7, "yellow", "triangle")), True
    ),
    "a white cross and a black circle": lambda rng: language.color_attr(
        rng, scene((0, "white", "cross"), (8, "black", "circle"))
    ),
    "an orange star at the left, a pink heart at the right, on a mint background": lambda rng: (
        language.dense(rng, scene((3, "orange", "star"), (5, "pink", "heart"), background="mint"))
    ),
    "a star in the color of the sky": lambda rng: reasoning_prompts.color_fact(
        rng, scene((4, "blue", "star"))
    ),
}


@cache
def caption_of(text: str) -> Caption:
    """The example as the world itself says it, with its meaning."""
    rng = np.random.default_rng(0)
    said = (PROMPTS[text](rng) for _ in range(DRAWS))
    return next(caption for caption in said if caption.text == text)


@pytest.fixture(scope="module")
def shipped() -> Models:
    """The ladder that the page opens with."""
    return Models(open_ladder(shipped_ladder()), "ladder")


def test_every_prompt_is_a_training_caption():
    assert [*PROMPTS] == [*EXAMPLES["generate"]]
    for text in PROMPTS:
        assert caption_of(text).tag == "dense" or not held_out(text)


def test_every_instruction_is_one_of_training():
    rng = np.random.default_rng(0)
    said = {
        text
        for kind in EDITS
        for _ in range(200)
        for text in draw_edit(rng, 20, kind, FIRST).instructions
    }
    assert {*EXAMPLES["edit"]} <= said


def test_every_question_is_one_of_training():
    rng = np.random.default_rng(0)
    asked = (draw_question(rng, FIRST, kind) for kind in QUESTIONS for _ in range(500))
    assert {*EXAMPLES["ask"]} <= {question.text for question in asked if question}


@pytest.mark.slow
def test_the_shipped_ladder_draws_nearly_all_examples_right(shipped: Models):
    right = []
    for text in EXAMPLES["generate"]:
        settings = Settings("generate", text, (1.0,) * shipped.blocks)
        (picture,) = draw(shipped, settings, [], lambda done, of: None).pictures
        found = detect(np.asarray(picture))
        row = caption_of(text).row
        if row is None:
            seen = {cell: what[1:] for cell, what in by_cell(found).items()}
            right.append(seen == {3: ("orange", "star"), 5: ("pink", "heart")})
        else:
            right.append(judge(row, by_class(found)).correct)
    assert right[0], "the page opens with the first"
    assert sum(right) >= len(right) - 1, right


@pytest.mark.slow
def test_only_words_that_the_world_lacks_are_told(shipped: Models):
    said = [*EXAMPLES["generate"], *EXAMPLES["edit"], *EXAMPLES["ask"]]
    assert [notes(shipped.pipeline, text) for text in said] == [[]] * len(said)
    assert notes(shipped.pipeline, "a dragon riding a red bicycle") == [
        "The language model has no word of its own for: dragon, riding, bicycle."
    ]


def test_the_vocabulary_names_all_that_can_be_drawn():
    shown = vocabulary()
    assert all(word in shown for words in (SHAPES, COLORS, BACKGROUNDS) for word in words)
