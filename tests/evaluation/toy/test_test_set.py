"""What the evaluation asks is true, distinct, balanced, and never trained on."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from ladder.evaluation.scorers.geneval import judge
from ladder.evaluation.toy.observe import observe
from ladder.evaluation.toy.test_set import (
    evaluation_edits,
    evaluation_prompts,
    evaluation_questions,
)
from ladder.world import edits, language, questions
from ladder.world.language import TASKS, held_out
from ladder.world.reasoning_prompts import KINDS
from ladder.world.render import render
from ladder.world.sampling import draw_captioned

PROMPTS = 40
ALL_TASKS = (*TASKS, "reasoning")


@pytest.fixture(scope="module")
def prompts() -> dict[str, list]:
    return {task: evaluation_prompts(task, PROMPTS, seed=1) for task in ALL_TASKS}


def test_held_out_prompts_are_never_trained_on(prompts: dict[str, list]):
    """But for `single_object`, which has too few texts; long captions are none of the prompts."""
    rng = np.random.default_rng(0)
    captions = [caption for _ in range(400) for caption in draw_captioned(rng, 8).captions]
    short = [caption for caption in captions if caption.tag not in ("dense", "single_object")]
    assert len(short) > 1500
    assert not [caption for caption in short if held_out(caption.text)]
    asked = {asked.text for task in ALL_TASKS for asked in prompts[task]} - {
        asked.text for asked in prompts["single_object"]
    }
    assert not asked & {caption.text for caption in captions}


@pytest.mark.parametrize("task", ALL_TASKS)
def test_evaluation_prompts_are_distinct_and_held_out(task: str, prompts: dict[str, list]):
    asked = prompts[task]
    assert len({one.text for one in asked}) == len(asked) == PROMPTS
    assert all(one.task == task for one in asked)
    if task != "single_object":
        assert all(held_out(one.text) for one in asked)


@pytest.mark.parametrize("task", ALL_TASKS)
def test_evaluation_prompts_are_true_of_their_scenes(task: str, prompts: dict[str, list]):
    for asked in prompts[task]:
        verdict = judge(asked.row, observe(render(asked.scene)))
        assert verdict.correct, (verdict.reason, asked)


def test_evaluation_prompts_hang_on_the_seed_alone(prompts: dict[str, list]):
    assert evaluation_prompts("position", PROMPTS, seed=1) == prompts["position"]
    assert evaluation_prompts("position", PROMPTS, seed=2) != prompts["position"]


def test_reasoning_prompts_are_balanced_over_their_kinds(prompts: dict[str, list]):
    counts = Counter(asked.kind for asked in prompts["reasoning"])
    assert {*counts} == {*KINDS}
    assert max(counts.values()) - min(counts.values()) <= 1


def test_more_prompts_than_there_are_is_an_error(monkeypatch: pytest.MonkeyPatch):
    """Six shapes in one frame are six texts."""
    monkeypatch.setattr(language, "FRAMES", ("{}",))
    assert len(evaluation_prompts("single_object", 6, seed=0)) == 6
    with pytest.raises(ValueError, match="single_object has no 7 different prompts, found 6"):
        evaluation_prompts("single_object", 7, seed=0)


def test_the_evaluation_has_as_many_edits_of_every_kind():
    asked = evaluation_edits(15, seed=0)
    assert [edit.kind for edit in asked] == [kind for kind in edits.KINDS for _ in range(15)]
    assert all(len(edit.instructions) == 1 for edit in asked)
    assert evaluation_edits(15, seed=0) == asked
    assert evaluation_edits(15, seed=1) != asked


def test_the_evaluation_has_as_many_questions_of_every_kind():
    asked = evaluation_questions(15, seed=0)
    assert [one.kind for one in asked] == [kind for kind in questions.KINDS for _ in range(15)]
    assert evaluation_questions(15, seed=0) == asked
    assert evaluation_questions(15, seed=1) != asked
