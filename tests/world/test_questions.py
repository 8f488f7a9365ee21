"""Answers follow from the scene: every question is read and answered here a second time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from tests.world.reading import NUMBERS, PLACES, attributes, fits, meant

from ladder.evaluation.toy.test_set import evaluation_questions
from ladder.world.questions import KINDS, Question, draw_question
from ladder.world.scenes import CELL_NAMES, Scene, Thing, draw_scene

COUNT = 60


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    return evaluation_questions(COUNT, seed=0)


def exists(scene: Scene, phrase: str) -> str:
    return "yes" if any(fits(thing, attributes(phrase)) for thing in scene.things) else "no"


def counted(scene: Scene, phrase: str) -> str:
    return NUMBERS[sum(fits(thing, attributes(phrase)) for thing in scene.things)]


def at(scene: Scene, place: str) -> str:
    thing = scene.at(PLACES[place])
    return f"{thing.size} {thing.color} {thing.shape}" if thing else "nothing"


ANSWERED: dict[str, dict[str, Callable[[Scene, str], str]]] = {
    "exists": {r"(?:is there|do you see|can you see) (an? .+)\?": exists},
    "count": {r"how many (shapes|objects) are there\?": counted},
    "count_shape": {r"how many (\w+) are there\?": counted},
    "count_color": {r"how many (\w+ (?:shapes|objects)) are there\?": counted},
    "color": {r"what color is (the \w+)\?": lambda scene, name: meant(name, scene).color},
    "shape": {
        r"what shape is (the \w+ (?:one|object))\?": lambda scene, name: meant(name, scene).shape
    },
    "size": {r"is (the .+) small or large\?": lambda scene, name: meant(name, scene).size},
    "where": {r"where is (the \w+)\?": lambda scene, name: CELL_NAMES[meant(name, scene).cell]},
    "what_at": {r"what is at the (.+)\?": at},
    "background": {r"what is (the background)\?": lambda scene, _: scene.background},
}
"""The form of each kind of question, and its answer from the scene."""


@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_follows_from_the_scene(kind: str, questions: list[Question]):
    ((form, answered),) = ANSWERED[kind].items()
    asked = [question for question in questions if question.kind == kind]
    assert len(asked) == COUNT
    for question in asked:
        (what,) = re.fullmatch(form, question.text).groups()
        assert answered(question.scene, what) == question.answer, question


@pytest.mark.parametrize("kind", KINDS)
def test_no_answer_is_nearly_always_right(kind: str, questions: list[Question]):
    """A guess that never looks at the picture stays below four fifths."""
    answers = Counter(question.answer for question in questions if question.kind == kind)
    assert max(answers.values()) < 0.8 * COUNT


@pytest.mark.parametrize("kind", ["color", "shape", "where"])
def test_what_stands_there_twice_is_not_asked_for(kind: str):
    twins = Scene(tuple(Thing(cell, "star", "red", "large") for cell in (0, 4)))
    assert draw_question(np.random.default_rng(0), twins, kind) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_question_keeps_its_kind_and_scene(kind: str):
    rng = np.random.default_rng(1)
    scene = Scene((Thing(0, "star", "red", "large"), Thing(4, "heart", "blue", "small")))
    question = draw_question(rng, scene, kind)
    assert (question.kind, question.scene) == (kind, scene)


def test_what_is_not_there_is_asked_for_too():
    rng = np.random.default_rng(2)
    scene = draw_scene(rng, 3)
    answers = {
        kind: {draw_question(rng, scene, kind).answer for _ in range(60)}
        for kind in ("exists", "count_shape", "count_color", "what_at")
    }
    assert answers["exists"] == {"yes", "no"}
    assert "zero" in answers["count_shape"] & answers["count_color"]
    assert "nothing" in answers["what_at"]


def test_questions_hang_on_the_seed_alone(questions: list[Question]):
    assert evaluation_questions(COUNT, seed=0) == questions
    assert evaluation_questions(COUNT, seed=1) != questions
