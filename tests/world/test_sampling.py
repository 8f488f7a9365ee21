"""Scenes for a purpose: each is of its kind, with captions at their shares."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from ladder.world.language import Caption, held_out
from ladder.world.sampling import (
    LAYOUTS,
    LITERALS,
    MIXTURE_SIZES,
    REASONING,
    SCENE_KINDS,
    SPEAKERS,
    Captioned,
    draw_caption,
    draw_captioned,
    draw_kind,
)


@pytest.fixture(scope="module")
def captioned() -> list[Captioned]:
    rng = np.random.default_rng(0)
    return [draw_captioned(rng, 8) for _ in range(400)]


@pytest.fixture(scope="module")
def captions(captioned: list[Captioned]) -> list[Caption]:
    return [caption for one in captioned for caption in one.captions]


def test_without_the_rule_many_would_be():
    """The hash of a text holds out a quarter of what the speakers say."""
    rng = np.random.default_rng(2)
    said = [
        speaker(rng, draw_kind(rng, kind)).text
        for kind, speaker in (*LITERALS.values(), *REASONING.values())
        for _ in range(40)
    ]
    assert 0.15 < np.mean([held_out(text) for text in said]) < 0.35


@pytest.mark.parametrize("kind", [*SCENE_KINDS])
def test_a_scene_is_of_its_kind(kind: str):
    rng = np.random.default_rng(3)
    scenes = [draw_kind(rng, kind) for _ in range(80)]
    numbers = {len(scene.things) for scene in scenes}
    allowed = {"one": {1}, "pair": {2}, "group": {*LAYOUTS}, "mixture": {*MIXTURE_SIZES}}
    assert numbers == allowed[kind]
    for scene in scenes:
        if kind == "pair":
            a, b = scene.things
            assert not {*a.what} & {*b.what}
            assert a.cell + b.cell == 8  # they face each other across the centre
        if kind == "group":
            assert len({(thing.shape, thing.color) for thing in scene.things}) == 1
            assert tuple(thing.cell for thing in scene.things) in LAYOUTS[len(scene.things)]


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
