"""Frames: they lie in the picture, have a shape of the ladder, and show just what is used."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.tiny import tiny_picture

from ladder.playground.frame import OUTSIDE, Frame, cropped, preview

SHARE = st.floats(0, 1)
FRAMES = st.builds(Frame, across=SHARE, down=SHARE, side=st.floats(0.2, 1))
SQUARE = ((96, 96),)
SHAPES = ((96, 96), (128, 64), (64, 128))


@given(FRAMES, st.integers(1, 600), st.integers(1, 600))
def test_a_frame_lies_in_its_picture(frame: Frame, width: int, height: int):
    crop = frame.crop((width, height), SHAPES)
    assert -1e-9 <= crop.left < crop.right <= 1 + 1e-9
    assert -1e-9 <= crop.top < crop.bottom <= 1 + 1e-9


@given(FRAMES, st.integers(100, 600), st.integers(100, 600))
def test_what_is_in_a_frame_isnt_squashed(frame: Frame, width: int, height: int):
    used = cropped(Image.new("RGB", (width, height)), frame, SQUARE)
    assert abs(used.width - used.height) <= 1


def test_a_frame_goes_from_edge_to_edge():
    picture = Image.new("RGB", (640, 480))
    picture.paste("red", (0, 0, 480, 480))
    left, right = (cropped(picture, Frame(across=across), SQUARE) for across in (0.0, 1.0))
    assert left.size == right.size == (480, 480)
    assert left.getpixel((479, 0)) == (255, 0, 0)
    assert right.getpixel((319, 0)) == (255, 0, 0)
    assert right.getpixel((320, 0)) == (0, 0, 0)


def test_a_picture_of_a_shape_of_the_ladder_is_used_whole():
    picture = tiny_picture(0, (200, 100))
    assert cropped(picture, Frame(), SHAPES) == picture


def test_a_smaller_frame_is_used_at_the_pictures_own_resolution():
    assert cropped(Image.new("RGB", (400, 400)), Frame(side=0.5), SQUARE).size == (200, 200)


def test_a_preview_is_dark_outside_of_the_frame():
    shown = np.asarray(preview(Image.new("RGB", (300, 100), "white"), Frame(across=0.0), SQUARE))
    assert (shown[50, 50] == 255).all()
    assert np.abs(shown[50, 200].astype(int) - 255 * OUTSIDE).max() <= 1


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"across": 1.5}, "across of a frame must be 0 to 1, got 1.5"),
        ({"side": 0.1}, "side of a frame must be 0.2 to 1, got 0.1"),
        ({"down": float("nan")}, "down of a frame must be 0 to 1, got nan"),
    ],
)
def test_frames_that_cannot_be(frame: dict[str, float], message: str):
    with pytest.raises(ValueError, match=message):
        Frame(**frame)
