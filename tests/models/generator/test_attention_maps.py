"""Attention maps are those of the forward pass."""

from __future__ import annotations

import pytest
import torch
from tests.models.test_ladder import make
from tests.tiny import GENERATOR_BLOCKS, LATENT_SHAPE

from ladder.models.generator.attention_maps import attention


@pytest.fixture
def seen(foundations):
    torch.manual_seed(0)
    ladder = make(foundations).eval()
    prompts = ladder.understanding.prepare(["two pink hearts", "a star"], [[], []])
    inputs = torch.randn(2, *LATENT_SHAPE), torch.tensor([100.0, 900.0]), ladder.conditions(prompts)
    return ladder, inputs, attention(ladder, *inputs)


def test_every_token_of_the_picture_shares_out_its_attention_over_the_queries(seen):
    ladder, _, maps = seen
    heads = ladder.generator.transformer_blocks[0].attn2.heads
    tokens = LATENT_SHAPE[1] * LATENT_SHAPE[2]
    assert maps.shape == (GENERATOR_BLOCKS, 2, heads, tokens, len(ladder.queries))
    torch.testing.assert_close(maps.sum(-1), torch.ones(maps.shape[:-1]))


def test_values_weighted_by_the_maps_are_what_the_block_attends_to(seen):
    ladder, inputs, maps = seen
    block = ladder.generator.transformer_blocks[1].attn2
    caught = {}
    hooks = [
        block.to_v.register_forward_hook(lambda _, __, out: caught.update(value=out)),
        block.to_out[0].register_forward_pre_hook(lambda _, args: caught.update(result=args[0])),
    ]
    ladder.velocity(*inputs)
    for hook in hooks:
        hook.remove()
    value = caught["value"].unflatten(-1, (block.heads, -1))
    expected = torch.einsum("bhsq,bqhd->bshd", maps[1], value).flatten(2)
    torch.testing.assert_close(caught["result"], expected)


def test_nothing_stays_behind(seen):
    ladder, _, _ = seen
    assert not any(module._forward_hooks for module in ladder.generator.modules())
