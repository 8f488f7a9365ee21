"""Answers are compared as words, and with those of the original letter for letter."""

from __future__ import annotations

import pytest

from ladder.config.load import Evaluation
from ladder.evaluation.toy.test_set import evaluation_questions
from ladder.evaluation.toy.vqa import is_right, scores
from ladder.world.questions import KINDS

EVALUATION = Evaluation(seed=0, prompts=2, images=1, edits=1, questions=5, resamples=100)


@pytest.mark.parametrize("answer", ["small red star", "Small  Red STAR", " small red star\n"])
def test_case_and_spaces_do_not_count(answer: str):
    assert is_right(answer, "small red star")


@pytest.mark.parametrize("answer", ["", "red star", "small red stars", "smallredstar", "yes"])
def test_other_words_are_wrong(answer: str):
    assert not is_right(answer, "small red star")


def test_true_answers_score_one_in_every_kind():
    questions = evaluation_questions(5, seed=0)
    truth = [question.answer for question in questions]
    metrics = scores(questions, truth, truth, EVALUATION)
    assert set(metrics) == {"overall", "as_foundation", *KINDS}
    assert all(found["mean"] == 1 for found in metrics.values())
    assert metrics["overall"]["n"] == 5 * len(KINDS)
    assert metrics["color"]["n"] == 5


def test_overall_weighs_the_kinds_alike_and_silence_is_wrong():
    questions = evaluation_questions(5, seed=0)
    answers = [q.answer if q.kind == "color" else "" for q in questions]
    truth = [question.answer for question in questions]
    metrics = scores(questions, answers, truth, EVALUATION)
    assert metrics["overall"]["mean"] == pytest.approx(1 / len(KINDS))
    assert metrics["as_foundation"]["mean"] == pytest.approx(1 / len(KINDS))


def test_one_changed_letter_is_another_answer():
    questions = evaluation_questions(1, seed=0)
    truth = [question.answer for question in questions]
    shouted = [truth[0].upper(), *truth[1:]]
    metrics = scores(questions, shouted, truth, EVALUATION)
    assert metrics["overall"]["mean"] == 1
    assert metrics["as_foundation"]["mean"] == pytest.approx(1 - 1 / len(truth))
