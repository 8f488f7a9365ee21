"""Rectified flow: the path, its velocity, times and guidance."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ladder.models import rectified_flow

SHAPE = (3, 2, 4, 4)
scales = st.floats(0, 8)


@pytest.fixture
def latents():
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def noise():
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


def test_the_path_leads_from_the_latents_to_the_noise(latents, noise):
    assert torch.equal(rectified_flow.noisy(latents, noise, torch.zeros(3)), latents)
    assert torch.equal(rectified_flow.noisy(latents, noise, torch.ones(3)), noise)


def test_each_sample_has_its_own_time(latents, noise):
    s = torch.tensor([0.1, 0.5, 0.9])
    points = rectified_flow.noisy(latents, noise, s)
    for index in range(3):
        expected = (1 - s[index]) * latents[index] + s[index] * noise[index]
        torch.testing.assert_close(points[index], expected)


def test_the_target_is_the_derivative_of_the_path(latents, noise):
    _, derivative = torch.func.jvp(
        lambda s: rectified_flow.noisy(latents, noise, s),
        (torch.full((3,), 0.3),),
        (torch.ones(3),),
    )
    torch.testing.assert_close(derivative, rectified_flow.target(latents, noise))


def test_from_any_point_the_target_leads_home(latents, noise):
    s = torch.tensor([0.1, 0.5, 0.9])
    back = rectified_flow.noisy(latents, noise, s) - s[:, None, None, None] * rectified_flow.target(
        latents, noise
    )
    torch.testing.assert_close(back, latents)


def test_the_loss_is_the_mean_square_and_zero_at_the_target(latents, noise):
    assert rectified_flow.loss(noise - latents, latents, noise) == 0
    off = noise - latents + 3
    torch.testing.assert_close(rectified_flow.loss(off, latents, noise), torch.tensor(9.0))
    half = rectified_flow.loss(off.bfloat16(), latents.bfloat16(), noise.bfloat16())
    assert half.dtype == torch.float32


def test_times_are_uniform_without_shift_and_come_from_the_generator():
    def draw(seed, shift=1.0):
        return rectified_flow.times(20_000, shift, torch.Generator().manual_seed(seed))

    s = draw(0)
    assert torch.equal(s, draw(0))
    assert not torch.equal(s, draw(1))
    assert s.min() >= 0
    assert s.max() < 1
    quantiles = s.quantile(torch.tensor([0.25, 0.5, 0.75]))
    torch.testing.assert_close(quantiles, torch.tensor([0.25, 0.5, 0.75]), atol=0.015, rtol=0)
    torch.testing.assert_close(draw(0, 3.0), rectified_flow.shifted(s, 3.0))


@settings(deadline=None)
@given(st.floats(0.1, 10), st.floats(0, 1), st.floats(0, 1))
def test_shift_keeps_the_ends_and_the_order(shift, below, above):
    below, above = sorted((below, above))
    s = rectified_flow.shifted(torch.tensor([0.0, below, above, 1.0]), shift)
    assert s[0] == 0
    assert s[3] == pytest.approx(1)
    assert s[1] <= s[2]


def test_shift_three_moves_the_middle_to_three_quarters():
    assert rectified_flow.shifted(torch.tensor([0.5]), 3.0).item() == pytest.approx(0.75)


@settings(deadline=None)
@given(scales, st.none() | scales)
def test_guidance_weights_add_up_to_one_and_follow_the_formula(text, image):
    weights = rectified_flow.guidance(text, image)
    assert weights.nothing + weights.image + weights.full == pytest.approx(1)
    nothing, seen, full = 2.0, -3.0, 5.0
    got = weights.nothing * nothing + weights.image * seen + weights.full * full
    if image is None:
        assert weights.image == 0
        assert got == pytest.approx(nothing + text * (full - nothing))
    else:
        expected = nothing + image * (seen - nothing) + text * (full - seen)
        assert got == pytest.approx(expected)


def test_guidance_of_one_leaves_a_single_branch():
    for image in (None, 1.0):
        weights = rectified_flow.guidance(1.0, image)
        assert (weights.nothing, weights.image, weights.full) == (0, 0, 1)


def test_guide_sums_each_pictures_branches():
    velocities = torch.randn(5, 2, 4, 4)
    weights = torch.tensor([-2.0, 3.0, 1.0, -0.5, 1.5])
    guided = rectified_flow.guide(velocities, weights, torch.tensor([0, 0, 1, 2, 2]), 3)
    torch.testing.assert_close(guided[0], -2 * velocities[0] + 3 * velocities[1])
    torch.testing.assert_close(guided[1], velocities[2])
    torch.testing.assert_close(guided[2], -0.5 * velocities[3] + 1.5 * velocities[4])
