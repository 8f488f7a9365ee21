"""The averaged weights: what they are, in which type, and that applying them can be undone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ladder.training.ema import WeightEMA


def weights(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 4), (5,))
    return [nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in shapes]


def test_the_average_is_the_exponential_one():
    live = weights()
    ema = WeightEMA(live, decay=0.9)
    expected = [value.detach().clone() for value in live]
    for step in range(5):
        with torch.no_grad():
            for value in live:
                value.add_(step)
        ema.update()
        expected = [0.9 * old + 0.1 * new.detach() for old, new in zip(expected, live, strict=True)]
    for ours, theirs in zip(ema.values, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_small_steps_of_bfloat16_weights_are_not_lost():
    """A step of 1/256 at decay 0.999 is below bfloat16's resolution around 1."""
    live = [nn.Parameter(torch.ones(4, dtype=torch.bfloat16))]
    ema = WeightEMA(live, decay=0.999)
    with torch.no_grad():
        live[0].add_(1 / 128)
    ema.update()
    assert ema.values[0].dtype == torch.float32
    assert (ema.values[0] > 1).all()


def test_applying_the_average_is_undone_even_after_an_error():
    live = weights()
    ema = WeightEMA(live, decay=0.5)
    with torch.no_grad():
        live[0].add_(1)
    before = [value.detach().clone() for value in live]
    ema.update()
    with pytest.raises(KeyError), ema.applied():  # noqa: PT012
        assert torch.equal(live[0].detach(), ema.values[0])
        assert not torch.equal(live[0].detach(), before[0])
        raise KeyError
    assert all(torch.equal(a.detach(), b) for a, b in zip(live, before, strict=True))


def test_a_state_goes_round_and_another_shape_is_refused():
    ema, other = WeightEMA(weights(), decay=0.5), WeightEMA(weights(), decay=0.5)
    ema.values[0].add_(1)
    other.load(ema.state())
    assert torch.equal(other.values[0], ema.values[0])
    with pytest.raises(ValueError, match="zip"):
        other.load(ema.state()[:1])
