"""Answers are compared as words, and with those of the original letter for letter."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ladder.config.load import Config
from ladder.evaluation.outcomes import aggregate, table
from ladder.evaluation.toy.vqa import QuestionsToy, is_right
from ladder.world.questions import KINDS


@pytest.fixture
def benchmark(config: Config) -> QuestionsToy:
    """Five questions of each kind."""
    evaluation = replace(config.evaluation, questions=5)
    return QuestionsToy(evaluation, config.sampling, config.foundations)


def scores(benchmark: QuestionsToy, answers: list[str], original: list[str]) -> dict[str, dict]:
    outcomes = benchmark.score([*zip(answers, original, strict=True)])
    return aggregate(table(outcomes), resamples=100, seed=0)["understanding"]


@pytest.mark.parametrize("answer", ["small red star", "Small  Red STAR", " small red star\n"])
def test_case_and_spaces_do_not_count(answer: str):
    assert is_right(answer, "small red star")


@pytest.mark.parametrize("answer", ["", "red star", "small red stars", "smallredstar", "yes"])
def test_other_words_are_wrong(answer: str):
    assert not is_right(answer, "small red star")


def test_true_answers_score_one_in_every_kind(benchmark: QuestionsToy):
    truth = [question.answer for question in benchmark.prompts]
    metrics = scores(benchmark, truth, truth)
    assert set(metrics) == {"overall", "as_foundation", *KINDS}
    assert all(found["mean"] == 1 for found in metrics.values())
    assert metrics["overall"]["n"] == 5 * len(KINDS)
    assert metrics["color"]["n"] == 5


def test_overall_weighs_the_kinds_alike_and_silence_is_wrong(benchmark: QuestionsToy):
    answers = [q.answer if q.kind == "color" else "" for q in benchmark.prompts]
    truth = [question.answer for question in benchmark.prompts]
    metrics = scores(benchmark, answers, truth)
    assert metrics["overall"]["mean"] == pytest.approx(1 / len(KINDS))
    assert metrics["as_foundation"]["mean"] == pytest.approx(1 / len(KINDS))


def test_one_changed_letter_is_another_answer(benchmark: QuestionsToy):
    truth = [question.answer for question in benchmark.prompts]
    shouted = [truth[0].upper(), *truth[1:]]
    metrics = scores(benchmark, shouted, truth)
    assert metrics["overall"]["mean"] == 1
    assert metrics["as_foundation"]["mean"] == pytest.approx(1 - 1 / len(truth))
