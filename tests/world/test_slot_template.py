"""Slot template: each field has a name, a word that fills it, and a meaning to be read back."""

from __future__ import annotations

import numpy as np
import pytest

from ladder.world import slot_template
from ladder.world.language import NUMBERS, dense
from ladder.world.sampling import LITERALS, REASONING, draw_kind
from ladder.world.scenes import BACKGROUNDS, CELL_NAMES, COLORS, SHAPES, SIZES, draw_scene

VALUES = {
    "count": {*NUMBERS}, "size": {*SIZES, "any"}, "color": {*COLORS, "any"}, "shape": {*SHAPES},
    "relation": {"left", "right", "above", "below"}, "background": {*BACKGROUNDS},
} | {cell: {*SHAPES} for cell in CELL_NAMES}  # fmt: skip
SPEAKERS = {**LITERALS, **REASONING}


@pytest.mark.parametrize("name", [*SPEAKERS])
def test_every_word_fits_its_field(name: str):
    rng = np.random.default_rng(0)
    kind, speaker = SPEAKERS[name]
    for _ in range(50):
        scene = draw_kind(rng, kind)
        words = (
            *slot_template.asked(speaker(rng, scene).specification),
            *slot_template.seen(scene),
        )
        assert len(words) == len(slot_template.SLOTS)
        for field, word in zip(slot_template.SLOTS, words, strict=True):
            assert word in VALUES[field] | {slot_template.EMPTY}


def test_groups_are_clauses_background_and_cells():
    firsts = [slot_template.SLOTS[first] for first in dict.fromkeys(slot_template.FIRST)]
    assert firsts == ["count", "relation", "background", *CELL_NAMES]
    assert sum(slot_template.GROUPS) == len(slot_template.FIRST) == len(slot_template.SLOTS)
    assert all(0 <= field - first <= 4 for field, first in enumerate(slot_template.FIRST))


def test_what_is_asked_for_is_what_the_caption_means():
    assert slot_template.asked("three any red star") == (
        "three",
        "any",
        "red",
        "star",
        *["empty"] * 5,
    )
    assert slot_template.asked("one any any star left of one any any circle") == (
        "one", "any", "any", "star", "left", "one", "any", "any", "circle"
    )  # fmt: skip
    assert slot_template.asked("one large any star , one small any circle") == (
        "one", "large", "any", "star", "empty", "one", "small", "any", "circle"
    )  # fmt: skip


def test_a_dense_caption_asks_for_places_only():
    rng = np.random.default_rng(1)
    assert {*slot_template.asked(dense(rng, draw_scene(rng, 3)).specification)} == {None}


def test_what_is_seen_gives_the_scene_back():
    rng = np.random.default_rng(2)
    for objects in range(8):
        scene = draw_scene(rng, objects)
        background, *cells = slot_template.seen(scene)
        assert background == scene.background
        for cell, thing in enumerate(np.array(cells).reshape(9, 3)):
            shape, color, size = thing.tolist()
            there = scene.at(cell)
            assert (size, color, shape) == (there.what if there else ("empty",) * 3)
