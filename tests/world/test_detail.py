"""Offset, hue, size and rotation are measured as they were changed."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from ladder.world.detail import SYMMETRY, detail
from ladder.world.render import render
from ladder.world.scenes import BACKGROUNDS, SHAPES, Scene, Thing, draw_scene

MIDDLE = 47.5
"""Of a picture, in pixels."""


def shown(thing: Thing, background: str = "mint") -> np.ndarray:
    return render(Scene((thing,), background))


def test_a_true_picture_has_no_errors():
    rng = np.random.default_rng(0)
    for _ in range(60):
        scene = draw_scene(rng, 4)
        for thing in scene.things:
            found = detail(render(scene), thing, scene.background)
            assert (found.offset, found.size, found.rotation or 0) == pytest.approx((0, 0, 0))
            assert (found.hue or 0) < 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("by", [(1, 0), (-2, 1), (2, 2)])
def test_the_offset_is_that_by_which_it_was_moved(shape: str, by: tuple[int, int]):
    thing = Thing(4, shape, "blue", "small")
    moved = dataclasses.replace(thing, dx=by[0], dy=by[1])
    assert detail(shown(moved), thing, "mint").offset == pytest.approx(np.hypot(*by), abs=0.01)


@pytest.mark.parametrize("shape", [*SYMMETRY])
@pytest.mark.parametrize("degrees", [4, 12, 25])
def test_the_rotation_is_that_by_which_it_was_turned(shape: str, degrees: int):
    thing = Thing(4, shape, "red", "large")
    turn = cv2.getRotationMatrix2D((MIDDLE, MIDDLE), degrees, 1.0)
    turned = cv2.warpAffine(shown(thing), turn, (96, 96), borderValue=BACKGROUNDS["mint"])
    assert detail(turned, thing, "mint").rotation == pytest.approx(degrees, abs=1.5)


def test_a_circle_has_no_rotation_and_white_has_no_hue():
    thing = Thing(4, "circle", "white", "large")
    found = detail(shown(thing), thing, "mint")
    assert (found.rotation, found.hue) == (None, None)


@pytest.mark.parametrize("background", [*BACKGROUNDS])
def test_the_hue_is_that_of_its_color(background: str):
    thing = Thing(4, "heart", "red", "large")
    orange = dataclasses.replace(thing, color="orange")
    # Hues of (214, 39, 40) and (255, 127, 14): 359.7 and 28.1 degrees.
    found = detail(shown(orange, background), thing, background)
    assert found.hue == pytest.approx(28.5, abs=0.5)


def test_the_size_is_in_pixels_of_the_radius():
    thing = Thing(4, "star", "red", "small")
    large = dataclasses.replace(thing, size="large")
    assert detail(shown(large), thing, "mint").size == pytest.approx(5, abs=0.1)


def test_an_empty_cell_is_refused():
    thing = Thing(4, "star", "red", "small")
    with pytest.raises(ValueError, match="must stand in cell 4"):
        detail(render(Scene(())), thing, "slate")
