"""The generator: the stock Sana, but for the rung that each block attends to."""

from __future__ import annotations

import copy

import pytest
import torch
from diffusers import SanaTransformer2DModel
from safetensors.torch import load_file, save_file
from tests.tiny import CAPTION_CHANNELS, GENERATOR_BLOCKS, LATENT_SHAPE, tiny_sana

from ladder.models.generator.rung_attention import ConditionsOnce, attach_rungs
from ladder.models.loading import load_part

RUNGS = GENERATOR_BLOCKS
QUERIES = 5


@pytest.fixture(scope="module")
def stock(foundations):
    return load_part(SanaTransformer2DModel, foundations / "sana", "transformer").eval()


@pytest.fixture(scope="module")
def laddered(stock):
    return attach_rungs(copy.deepcopy(stock), RUNGS)


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    latents = torch.randn(2, *LATENT_SHAPE)
    return latents, torch.tensor([100.0, 900.0])


@pytest.fixture
def rungs():
    torch.manual_seed(1)
    return torch.randn(2, RUNGS, QUERIES, CAPTION_CHANNELS)


def velocity(generator, inputs, conditions):
    latents, timesteps = inputs
    return generator(latents, encoder_hidden_states=conditions, timestep=timesteps).sample


def block_by_block(stock: SanaTransformer2DModel, inputs, rungs):
    """The definition, spelled out: block i of the stock model sees the caption rungs[:, i]."""
    latents, timesteps = inputs
    height, width = latents.shape[-2:]
    hidden = stock.patch_embed(latents)
    time, embedded_time = stock.time_embed(timesteps, batch_size=2, hidden_dtype=hidden.dtype)
    for block, rung in zip(stock.transformer_blocks, rungs.unbind(1), strict=True):
        caption = stock.caption_norm(stock.caption_projection(rung))
        hidden = block(hidden, None, caption, None, time, height, width)
    hidden = stock.proj_out(stock.norm_out(hidden, embedded_time, stock.scale_shift_table))
    return hidden.unflatten(1, (height, width)).permute(0, 3, 1, 2)


def test_equal_rungs_are_the_stock_model_exactly(stock, laddered, inputs, rungs):
    caption = rungs[:, 0]
    equal = caption.repeat(1, RUNGS, 1)
    assert torch.equal(velocity(laddered, inputs, equal), velocity(stock, inputs, caption))


def test_each_block_attends_to_its_own_rung(stock, laddered, inputs, rungs):
    result = velocity(laddered, inputs, rungs.flatten(1, 2))
    torch.testing.assert_close(result, block_by_block(stock, inputs, rungs), atol=1e-6, rtol=1e-5)
    swapped = velocity(laddered, inputs, rungs.flip(1).flatten(1, 2))
    assert not torch.allclose(result, swapped, atol=1e-3)


def test_gradients_are_the_same_under_checkpointing(laddered, inputs, rungs):
    def gradients(checkpointing):
        generator = copy.deepcopy(laddered).train()
        if checkpointing:
            generator.enable_gradient_checkpointing()
        conditions = rungs.flatten(1, 2).requires_grad_()
        result = velocity(generator, inputs, conditions)
        result.square().sum().backward()
        found = {name: value.grad for name, value in generator.named_parameters()}
        return {"velocity": result, "conditions": conditions.grad, **found}

    kept, recomputed = gradients(False), gradients(True)
    assert kept["conditions"].abs().amax((0, 2)).min() > 0
    for name, value in kept.items():
        assert torch.equal(recomputed[name], value), name


def test_a_rung_reaches_its_own_block_only(laddered, inputs, rungs):
    """Among equal tokens it is all the same where to look: block 1's query gets no gradient."""
    generator = copy.deepcopy(laddered)
    rungs[:, 1] = 0
    velocity(generator, inputs, rungs.flatten(1, 2)).square().sum().backward()
    norms = [block.attn2.to_q.weight.grad.norm() for block in generator.transformer_blocks]
    assert norms[1] < 1e-3 * min(norms[0], norms[2])


def test_what_is_no_ladder_is_an_error(stock, laddered, inputs, rungs):
    with pytest.raises(ValueError, match="one rung for each of 3 blocks, got 4"):
        attach_rungs(copy.deepcopy(stock), 4)
    with pytest.raises(ValueError, match="3 rungs of equal length, got 14 tokens"):
        velocity(laddered, inputs, rungs.flatten(1, 2)[:, 1:])
    with pytest.raises(ValueError, match="no mask"):
        laddered(
            inputs[0],
            encoder_hidden_states=rungs.flatten(1, 2),
            encoder_attention_mask=torch.ones(2, RUNGS * QUERIES),
            timestep=inputs[1],
        )


@pytest.mark.parametrize("change", ["missing", "unexpected"])
def test_weights_that_dont_fit_are_an_error(tmp_path, change):
    folder = tiny_sana(tmp_path / "sana")
    file = folder / "transformer/diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    if change == "missing":
        del weights["transformer_blocks.1.attn2.to_k.weight"]
    else:
        weights["transformer_blocks.1.attn2.extra.weight"] = torch.zeros(2)
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ValueError, match=f"must fit, got .*{change}_keys.*1.attn2"):
        load_part(SanaTransformer2DModel, folder, "transformer")


@torch.no_grad()
def test_what_depends_on_the_conditions_is_computed_once_and_the_outcome_is_the_same(
    laddered, inputs, rungs
):
    """Bit for bit, and outside the context the generator is as it was."""
    generator, conditions = copy.deepcopy(laddered), rungs.flatten(1, 2)
    calls: list[str] = []
    for name, part in generator.named_modules():
        if name in ("caption_projection", "caption_norm") or name.endswith(("2.to_k", "2.to_v")):
            part.register_forward_hook(lambda *_, name=name: calls.append(name))
    keys, expected = [*generator.state_dict()], velocity(generator, inputs, conditions)
    computed = [*calls]
    assert len(computed) == 2 + 2 * RUNGS
    calls.clear()
    once = ConditionsOnce(generator)
    for _ in range(3):
        with once:
            assert torch.equal(velocity(generator, inputs, conditions), expected)
    assert calls == computed
    assert [*generator.state_dict()] == keys
    other = velocity(generator, inputs, rungs.flip(1).flatten(1, 2))
    assert not torch.equal(other, expected)
