"""Scenes for a purpose: each is of its kind, and no held-out prompt is ever trained on."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from ladder.evaluation.geneval import judge
from ladder.evaluation.observe import observe
from ladder.world import language
from ladder.world.draws import (
    GROUP_SIZES,
    LITERALS,
    MIXTURE_SIZES,
    SCENE_KINDS,
    SPEAKERS,
    THOUGHTS,
    Captioned,
    draw_caption,
    draw_captioned,
    draw_kind,
    evaluation_prompts,
)
from ladder.world.language import TASKS, Caption, held_out
from ladder.world.render import render
from ladder.world.thought import KINDS

PROMPTS = 40
ALL_TASKS = (*TASKS, "thought")


@pytest.fixture(scope="module")
def captioned() -> list[Captioned]:
    rng = np.random.default_rng(0)
    return [draw_captioned(rng, 8) for _ in range(400)]


@pytest.fixture(scope="module")
def captions(captioned: list[Captioned]) -> list[Caption]:
    return [caption for one in captioned for caption in one.captions]


@pytest.fixture(scope="module")
def prompts() -> dict[str, list]:
    return {task: evaluation_prompts(task, PROMPTS, seed=1) for task in ALL_TASKS}


def test_held_out_prompts_are_never_trained_on(captions: list[Caption], prompts: dict[str, list]):
    """But for `single_object`, which has too few texts; long captions are none of the prompts."""
    short = [caption for caption in captions if caption.tag not in ("dense", "single_object")]
    assert len(short) > 1500
    assert not [caption for caption in short if held_out(caption.text)]
    asked = {asked.text for task in ALL_TASKS for asked in prompts[task]} - {
        asked.text for asked in prompts["single_object"]
    }
    assert not asked & {caption.text for caption in captions}


def test_without_the_rule_many_would_be():
    """The hash of a text holds out a quarter of what the speakers say."""
    rng = np.random.default_rng(2)
    said = [
        speaker(rng, draw_kind(rng, kind)).text
        for kind, speaker in (*LITERALS.values(), *THOUGHTS.values())
        for _ in range(40)
    ]
    assert 0.15 < np.mean([held_out(text) for text in said]) < 0.35


@pytest.mark.parametrize("task", ALL_TASKS)
def test_evaluation_prompts_are_distinct_and_held_out(task: str, prompts: dict[str, list]):
    asked = prompts[task]
    assert len({one.text for one in asked}) == len(asked) == PROMPTS
    assert all(one.row["tag"] == task for one in asked)
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


def test_thought_prompts_are_balanced_over_their_kinds(prompts: dict[str, list]):
    counts = Counter(asked.kind for asked in prompts["thought"])
    assert {*counts} == {*KINDS}
    assert max(counts.values()) - min(counts.values()) <= 1


def test_more_prompts_than_there_are_is_an_error(monkeypatch: pytest.MonkeyPatch):
    """Six shapes in one frame are six texts."""
    monkeypatch.setattr(language, "FRAMES", ("{}",))
    assert len(evaluation_prompts("single_object", 6, seed=0)) == 6
    with pytest.raises(ValueError, match="single_object has no 7 different prompts, found 6"):
        evaluation_prompts("single_object", 7, seed=0)


@pytest.mark.parametrize("kind", [*SCENE_KINDS])
def test_a_scene_is_of_its_kind(kind: str):
    rng = np.random.default_rng(3)
    scenes = [draw_kind(rng, kind) for _ in range(80)]
    numbers = {len(scene.things) for scene in scenes}
    allowed = {"one": {1}, "pair": {2}, "group": {*GROUP_SIZES}, "mixture": {*MIXTURE_SIZES}}
    assert numbers == allowed[kind]
    for scene in scenes:
        if kind == "pair":
            a, b = scene.things
            assert not {*a.what} & {*b.what}
        if kind == "group":
            assert len({(thing.shape, thing.color) for thing in scene.things}) == 1


def test_kinds_of_scenes_come_at_their_shares(captioned: list[Captioned]):
    assert sum(SCENE_KINDS.values()) == pytest.approx(1)
    alone = np.mean([len(one.scene.things) == 1 for one in captioned])
    share = SCENE_KINDS["one"]
    assert abs(alone - share) < 5 * (share * (1 - share) / len(captioned)) ** 0.5


@pytest.mark.parametrize("kind", [*SPEAKERS])
def test_captions_come_at_their_shares(kind: str):
    """Tags of 250 captions, within 5 deviations; fewer of those that can be held out."""
    rng = np.random.default_rng(4)
    scene = draw_kind(rng, kind)
    tags = Counter(draw_caption(rng, scene, kind).tag for _ in range(250))
    weights: Counter[str] = Counter()
    for speaker, weight in SPEAKERS[kind].items():
        tag = speaker(rng, scene).tag
        weights[tag] += weight * (1 if tag in ("dense", "single_object") else 0.75)
    assert {*tags} == {*weights}
    for tag, weight in weights.items():
        share = weight / weights.total()
        # What is held out of one scene's few texts isn't a quarter to the dot.
        assert abs(tags[tag] / 250 - share) < 0.05 + 5 * (share * (1 - share) / 250) ** 0.5


def test_captions_are_many_different_ones(captions: list[Caption]):
    assert len({caption.text for caption in captions}) > 0.7 * len(captions)


def test_one_seed_gives_the_same_captions(captioned: list[Captioned]):
    rng = np.random.default_rng(0)
    assert [draw_captioned(rng, 8) for _ in range(20)] == captioned[:20]
