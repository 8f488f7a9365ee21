"""Scenes are values: ordered, one object a cell, and the same after a way through JSON."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from tests.stored import scene_of

from ladder.world.scenes import (
    BACKGROUNDS,
    CELL,
    CELL_NAMES,
    COLORS,
    GRID,
    JITTER,
    SHAPES,
    SIZES,
    Scene,
    Thing,
    draw_background,
    draw_scene,
    draw_thing,
)


def test_a_cell_holds_one_object():
    with pytest.raises(ValueError, match=r"at most one object; cells are \[2, 2\]"):
        Scene((Thing(2, "star", "red", "large"), Thing(2, "heart", "blue", "small")))


def test_scenes_of_the_same_things_are_equal():
    """In whatever order the things come."""
    things = draw_scene(np.random.default_rng(0), 6).things
    assert Scene(things[::-1], "mint") == Scene(things, "mint")
    assert Scene(things[::-1]).things == things
    assert Scene(things, "mint") != Scene(things, "sand")


def test_cells_are_numbered_in_reading_order():
    centers = [Thing(cell, "star", "red", "large").center for cell in range(GRID**2)]
    assert centers == sorted(centers, key=lambda center: (center[1], center[0]))
    assert centers[0] == (CELL // 2, CELL // 2)
    assert centers[5] == (2 * CELL + CELL // 2, CELL + CELL // 2)
    assert Thing(5, "star", "red", "large", dx=2, dy=-1).center == (centers[5][0] + 2, 47)
    assert CELL_NAMES[5] == "east"


def test_each_cell_is_asked_for_by_number():
    scene = draw_scene(np.random.default_rng(1), 4)
    for cell in range(GRID**2):
        expected = [thing for thing in scene.things if thing.cell == cell]
        assert scene.at(cell) == (expected[0] if expected else None)


def test_json_and_back_is_the_same_scene():
    rng = np.random.default_rng(2)
    for objects in range(GRID**2 + 1):
        scene = draw_scene(rng, objects)
        assert scene_of(json.loads(json.dumps(scene.to_json()))) == scene


def test_fixed_attributes_are_kept_and_the_others_are_drawn():
    rng = np.random.default_rng(3)
    drawn = [draw_thing(rng, 3, shape="heart", color="pink") for _ in range(100)]
    assert {(thing.cell, thing.shape, thing.color) for thing in drawn} == {(3, "heart", "pink")}
    assert {thing.size for thing in drawn} == {*SIZES}


def test_drawn_scenes_are_uniform():
    """In cells, shapes, colours, sizes, offsets and backgrounds: each within 5 deviations."""
    rng = np.random.default_rng(4)
    scenes = [draw_scene(rng, 3) for _ in range(600)]
    assert all(len(scene.things) == 3 for scene in scenes)
    things = [thing for scene in scenes for thing in scene.things]
    offsets = range(-JITTER, JITTER + 1)
    for values, options in (
        ([thing.cell for thing in things], range(GRID**2)),
        ([thing.shape for thing in things], SHAPES),
        ([thing.color for thing in things], COLORS),
        ([thing.size for thing in things], SIZES),
        ([thing.dx for thing in things], offsets),
        ([thing.dy for thing in things], offsets),
        ([draw_background(rng) for _ in range(600)], BACKGROUNDS),
    ):
        counts = Counter(values)
        assert {*counts} == {*options}
        expected = len(values) / len(options)
        assert all(abs(count - expected) < 5 * expected**0.5 for count in counts.values())


def test_one_seed_gives_one_scene():
    assert draw_scene(np.random.default_rng(5), 5) == draw_scene(np.random.default_rng(5), 5)
    assert draw_scene(np.random.default_rng(5), 5) != draw_scene(np.random.default_rng(6), 5)
