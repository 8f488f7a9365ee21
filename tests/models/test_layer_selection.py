"""Which layer feeds which block: the schemes as the paper and its baselines name them."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ladder.models.layer_selection import LayerMixture, Taps, layer_indices

SCHEMES = {
    "last_n": (6, 7, 8, 9, 10, 11),
    "last": ("norm",) * 6,
    "last_prenorm": (12,) * 6,
    "penultimate": (11,) * 6,
    "middle": (6,) * 6,
    "first_n": (1, 2, 3, 4, 5, 6),
    "uniform": (1, 3, 5, 7, 9, 11),
    "reversed": (11, 10, 9, 8, 7, 6),
    "mean": tuple(range(1, 13)),
    "learned": tuple(range(1, 13)),
}


@pytest.mark.parametrize(("scheme", "layers"), SCHEMES.items())
def test_scheme_names_these_layers_of_twelve_for_six_blocks(scheme, layers):
    assert layer_indices(scheme, blocks=6, depth=12).layers == layers


def test_the_papers_ladder():
    """36 layers and 20 blocks: indices 16 .. 35, block i gets index 16 + i; the last is unused."""
    assert layer_indices("last_n", blocks=20, depth=36).layers == tuple(range(16, 36))


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40))
def test_last_n_is_what_the_published_slice_takes(blocks, depth):
    if blocks > depth:
        with pytest.raises(ValueError, match="longer than the MLLM"):
            layer_indices("last_n", blocks, depth)
    else:
        states = range(depth + 1)
        assert layer_indices("last_n", blocks, depth).layers == tuple(states[-blocks - 1 : -1])


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(2, 40))
def test_uniform_rises_from_the_first_to_the_last_but_one(blocks, depth):
    if blocks > depth - 1:
        with pytest.raises(ValueError, match="longer than the MLLM"):
            layer_indices("uniform", blocks, depth)
        return
    layers = layer_indices("uniform", blocks, depth).layers
    assert layers[0] == 1
    assert len(layers) == 1 or layers[-1] == depth - 1
    steps = [above - below for below, above in itertools.pairwise(layers)]
    assert not steps or (min(steps) >= 1 and max(steps) - min(steps) <= 1)


def test_shuffled_is_last_n_in_an_order_of_its_seed():
    orders = {layer_indices("shuffled", 6, 12, seed=seed).layers for seed in range(20)}
    assert len(orders) > 10
    assert all(sorted(order) == [6, 7, 8, 9, 10, 11] for order in orders)
    assert layer_indices("shuffled", 6, 12, seed=3) == layer_indices("shuffled", 6, 12, seed=3)


def test_only_the_layers_that_are_read_must_run():
    assert layer_indices("last_n", 6, 12).highest == 11
    assert layer_indices("first_n", 6, 12).highest == 6
    assert layer_indices("last", 6, 12).highest == 12
    assert layer_indices("list", 3, 12, [0, 4, 2]).highest == 4
    assert layer_indices("learned", 6, 12, [2, 5]).highest == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("list", 6, 12), "needs layers"),
        (("list", 3, 12, [1, 2]), "3 blocks need 3 layers"),
        (("list", 2, 12, [1, 13]), "a layer is"),
        (("list", 2, 12, [1, -1]), "a layer is"),
        (("last_n", 2, 12, [1, 2]), "layers are for"),
        (("last_n", 0, 12), "at least 1"),
        (("last_n", 13, 12), "longer than the MLLM"),
        (("reversed", 13, 12), "longer than the MLLM"),
        (("first_n", 13, 12), "longer than the MLLM"),
    ],
)
def test_impossible_ladders_are_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        layer_indices(*arguments)


def test_an_unknown_scheme_is_an_error_that_lists_the_known_ones():
    unchecked = getattr(layer_indices, "__wrapped__", layer_indices)
    with pytest.raises(ValueError, match=r"one of last_n, .*, list, got 'highest'"):
        unchecked("highest", 6, 12)


def test_unmixed_states_pass_as_they_are():
    states = torch.randn(6, 2, 3, 4)
    assert LayerMixture(layer_indices("last_n", 6, 12))(states) is states


def test_mean_weighs_every_state_alike_however_loud():
    states = torch.randn(3, 2, 5, 8)
    loud = states * torch.tensor([1.0, 50.0, 0.1])[:, None, None, None]
    mixture = LayerMixture(Taps("mean", (1, 2, 3), blocks=4, depth=3))
    rungs = mixture(loud)
    unit = states / states.pow(2).mean(-1, keepdim=True).sqrt()
    assert rungs.shape == (4, 2, 5, 8)
    torch.testing.assert_close(rungs, unit.mean(0).expand(4, -1, -1, -1), atol=1e-4, rtol=1e-4)


def test_learned_starts_as_the_mean_and_each_block_moves_by_itself():
    states = torch.randn(3, 2, 5, 8)
    learned = LayerMixture(Taps("learned", (1, 2, 3), blocks=4, depth=3))
    mean = LayerMixture(Taps("mean", (1, 2, 3), blocks=4, depth=3))
    torch.testing.assert_close(learned(states), mean(states))
    with torch.no_grad():
        learned.weights[2, 1] = 50.0
    rungs = learned(states)
    torch.testing.assert_close(rungs[0], mean(states)[0])
    unit = states[1] / states[1].pow(2).mean(-1, keepdim=True).sqrt()
    torch.testing.assert_close(rungs[2], unit, atol=1e-4, rtol=1e-4)
