"""Pictures show their scenes, and are made faster than anything can be trained on them."""

from __future__ import annotations

import dataclasses
from itertools import combinations

import numpy as np
import pytest
from tests.stored import scene_of

from ladder.world.render import SIDE, coverage, render
from ladder.world.scenes import (
    BACKGROUNDS,
    CELL,
    COLORS,
    GRID,
    JITTER,
    SHAPES,
    SIZES,
    Scene,
    Thing,
    draw_scene,
)

EVERYTHING = [
    Thing(4, shape, color, size) for shape in SHAPES for color in COLORS for size in SIZES
]


def test_the_same_scene_is_the_same_bytes():
    """And the picture is the caller's own: painting on it spoils no later one."""
    scene = draw_scene(np.random.default_rng(0), 7)
    first = render(scene)
    kept = first.tobytes()
    first[:] = 0
    again = render(scene_of(scene.to_json()))
    assert again.tobytes() == kept
    assert (again.shape, again.dtype) == ((SIDE, SIDE, 3), np.uint8)


def test_all_different_looks_are_different_pictures():
    pictures = {
        render(Scene((thing,), background)).tobytes()
        for thing in EVERYTHING
        for background in BACKGROUNDS
    }
    assert len(pictures) == len(EVERYTHING) * len(BACKGROUNDS)


@pytest.mark.parametrize("cell", range(GRID**2))
def test_objects_stay_in_their_cell(cell: int):
    """At the largest offsets too, and with a pixel to spare, so that neighbours never touch."""
    for shape in SHAPES:
        for size in SIZES:
            for dx in (-JITTER, JITTER):
                for dy in (-JITTER, JITTER):
                    thing = Thing(cell, shape, "black", size, dx, dy)
                    rows, columns = np.nonzero(
                        (render(Scene((thing,))) != BACKGROUNDS["slate"])[..., 0]
                    )
                    for where, start in ((rows, thing.row), (columns, thing.column)):
                        assert start * CELL < where.min()
                        assert where.max() < (start + 1) * CELL - 1


def test_an_offset_moves_the_object_by_as_many_pixels():
    thing = Thing(4, "heart", "red", "large")
    moved = dataclasses.replace(thing, dx=2, dy=-1)
    expected = np.roll(render(Scene((thing,))), (-1, 2), axis=(0, 1))
    np.testing.assert_array_equal(render(Scene((moved,))), expected)


def test_inside_is_the_colour_and_outside_the_background():
    for thing in EVERYTHING:
        for background, ground in BACKGROUNDS.items():
            picture = render(Scene((thing,), background))
            x, y = thing.center
            assert tuple(picture[y, x]) == COLORS[thing.color]
            assert tuple(picture[0, 0]) == ground


def test_pixels_between_are_mixtures():
    alpha = coverage("circle", SIZES["large"])[..., None]
    mixed = alpha * COLORS["blue"] + (1 - alpha) * np.array(BACKGROUNDS["sand"])
    picture = render(Scene((Thing(0, "circle", "blue", "large"),), "sand"))
    half = CELL // 2
    box = slice(half - len(alpha) // 2, half + len(alpha) // 2)
    assert abs(picture[box, box] - mixed).max() <= 0.5
    assert ((alpha > 0) & (alpha < 1)).sum() > 20


def test_an_object_leaves_the_rest_alone():
    scene = draw_scene(np.random.default_rng(1), 6)
    for thing in scene.things:
        others = dataclasses.replace(scene, things=tuple({*scene.things} - {thing}))
        changed = (render(scene) != render(others)).any(-1)
        rows, columns = np.nonzero(changed)
        assert {*(rows // CELL)} == {thing.row}
        assert {*(columns // CELL)} == {thing.column}


def test_shapes_are_far_apart_at_both_sizes():
    """Any two overlap by less than 0.9 of what they cover together, or nothing could tell them."""
    for radius in SIZES.values():
        for one, other in combinations((coverage(shape, radius) for shape in SHAPES), 2):
            assert np.minimum(one, other).sum() < 0.9 * np.maximum(one, other).sum()


def test_coverage_is_the_area_of_the_shape():
    area = {"circle": np.pi * 0.92, "square": 1.68**2, "cross": 4 * 0.32 * 0.95 * 2 - 0.64**2}
    for shape, expected in area.items():
        assert coverage(shape, 13).sum() == pytest.approx(expected * 13**2, rel=0.02)


def test_an_unknown_shape_is_an_error():
    with pytest.raises(ValueError, match="unknown shape 'cube'"):
        render(Scene((Thing(0, "cube", "red", "large"),)))


RENDER = """
import numpy as np
from ladder.world.render import render
from ladder.world.scenes import draw_scene
rng = np.random.default_rng(2)
scenes = [draw_scene(rng, int(rng.integers(8))) for _ in range(300)]
"""


def test_ten_thousand_pictures_a_second(seconds, slowness: float):
    """On one core, of scenes of up to seven objects."""
    spent = seconds("for scene in scenes: render(scene)", RENDER)
    assert 300 / spent >= 10_000 / slowness
