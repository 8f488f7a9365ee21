"""Scaling and cropping: nothing is squashed, and what belongs together stays together."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from ladder.data.resize import (
    SAME_FRAME,
    WHOLE,
    Crop,
    bring,
    buckets,
    fit,
    framed,
    nearest,
    open_stored,
)

SIDES = st.integers(1, 4000)
SIZES = st.tuples(SIDES, SIDES)


@given(SIZES, SIZES)
def test_a_crop_has_the_wanted_aspect_is_centred_and_as_large_as_can_be(size, wanted):
    crop = Crop.of(size, wanted)
    left, top, right, bottom = crop.box(size)
    assert (right - left) / (bottom - top) == pytest.approx(wanted[0] / wanted[1])
    assert left + right == pytest.approx(size[0])
    assert top + bottom == pytest.approx(size[1])
    assert max(crop.right - crop.left, crop.bottom - crop.top) == 1.0


@given(SIZES)
def test_a_picture_of_the_size_is_whole(size):
    assert Crop.of(size, size) == WHOLE


def test_a_picture_of_its_size_is_left_alone(picture):
    image = picture(0)
    assert fit(image, image.size) is image


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (1024, 768), (96, 96), (20, 30)])
def test_it_fits_as_pillow_does(picture, size):
    image = picture(3, size)
    expected = ImageOps.fit(image, (96, 96), Image.Resampling.BICUBIC)
    difference = np.asarray(fit(image, (96, 96)), int) - np.asarray(expected, int)
    assert np.abs(difference).max() <= 1


@given(st.lists(st.floats(1 / 8, 8), min_size=1, max_size=9), st.integers(64, 1024))
def test_buckets_have_their_aspects_and_the_area(aspects, side):
    for width, height in buckets(side, aspects, 16):
        assert width % 16 == height % 16 == 0
        assert min(abs(math.log(width / height / x)) for x in aspects) < math.log(4)
    for width, height in buckets(side * 16, aspects, 16):
        assert width * height == pytest.approx((side * 16) ** 2, rel=0.3)


def test_the_square_bucket_is_the_side():
    assert buckets(512, (1.0,), 32) == ((512, 512),)
    with pytest.raises(ValueError, match="at least 32 pixels, got 16"):
        buckets(16, (1.0,), 32)


@given(st.floats(1 / 8, 8))
def test_the_nearest_bucket_crops_least(aspect):
    sizes = buckets(512, (0.5, 0.75, 1.0, 1.33, 2.0), 16)
    size = (round(1000 * aspect), 1000)
    areas = {}
    for wanted in sizes:
        crop = Crop.of(size, wanted)
        areas[wanted] = (crop.right - crop.left) * (crop.bottom - crop.top)
    assert areas[nearest(size, sizes)] == max(areas.values())


@given(SIZES, SIZES)
def test_an_only_source_takes_the_crop_of_its_target(target, source):
    sizes = buckets(512, (0.5, 1.0, 2.0), 16)
    ours, theirs = framed(target, [source], sizes)
    assert ours == theirs == (nearest(target, sizes), Crop.of(target, nearest(target, sizes)))


@given(SIZES, st.lists(SIZES, min_size=2, max_size=4))
def test_of_several_sources_those_of_another_shape_take_their_own(target, sources):
    sizes = buckets(512, (0.5, 1.0, 2.0), 16)
    first, *rest = framed(target, sources, sizes)
    for source, place in zip(sources, rest, strict=True):
        shape = target[0] * source[1] / (target[1] * source[0])
        if max(shape, 1 / shape) < SAME_FRAME - 1e-9:
            assert place == first
        elif max(shape, 1 / shape) > SAME_FRAME + 1e-9:
            assert place == (nearest(source, sizes), Crop.of(source, nearest(source, sizes)))


@pytest.mark.parametrize("size", [(1024, 1024), (1500, 1000), (999, 1333), (500, 400)])
def test_a_jpeg_decoded_at_a_fraction_is_nearly_the_whole_one_scaled(size):
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    file = io.BytesIO()
    small.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=95)
    opened = open_stored(file.getvalue())
    quick = bring(opened, (256, 256))
    assert quick.size == (256, 256)
    assert opened.size[0] < size[0] or min(size) < 512
    whole = fit(Image.open(file), (256, 256))
    difference = np.asarray(quick, int) - np.asarray(whole, int)
    assert np.abs(difference).mean() < 2
