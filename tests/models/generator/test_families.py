"""Each of the generators that a ladder can draw with: the stock model, but for its rungs."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from diffusers import PixArtTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0
from tests.models.learning import learn
from tests.tiny import (
    CAPTION_CHANNELS,
    GENERATORS,
    LATENT_SHAPE,
    SIDE,
    tiny_generator,
    tiny_ladder,
    tiny_picture,
)

from ladder import LadderPipeline
from ladder.data.training.datamodule import Batch
from ladder.data.training.encode_chunk import latents_of
from ladder.inference.open import open_ladder
from ladder.inference.rung_attribution import weighted_rungs
from ladder.models.generator.autoencoder import compression, decoded, load_autoencoder
from ladder.models.generator.families import (
    CAPTION_PARTS,
    caption_channels,
    cross_attentions,
    require_generator,
    velocity,
)
from ladder.models.generator.rung_attention import (
    ConditionsOnce,
    RungProcessor,
    add_lora,
    attach_rungs,
    load_generator,
    merge_lora,
)
from ladder.models.ladder import Ladder
from ladder.models.layer_selection import layer_indices
from ladder.models.loading import generator_folder
from ladder.models.mllm.frozen import Understanding
from ladder.training.module import pretrained

QUERIES = 8
"""A multiple of 8: what fills no vector instruction, GELU rounds otherwise."""
BLOCKS = {"unet": 4}
"""Where it isn't three."""
TEXTS = ["a red circle left of a blue star", "make it blue", "two pink hearts"]
OWN_PROJECTION = {"sana": 2, "pixart_sigma": 1, "pixart_alpha": 1, "unet": 0}
"""Parts that depend on the caption alone, beside keys and values."""


@pytest.fixture(scope="module", params=GENERATORS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folder(kind, tmp_path_factory):
    return tiny_generator(tmp_path_factory.mktemp(kind) / "generator", kind)


@pytest.fixture(scope="module")
def stock(folder):
    return load_generator(folder, generator_folder(folder)).eval()


@pytest.fixture
def laddered(stock, kind):
    return attach_rungs(copy.deepcopy(stock), BLOCKS.get(kind, 3))


@pytest.fixture
def latents(stock):
    shape = (2, stock.config.in_channels, *LATENT_SHAPE[1:])
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def rungs(kind):
    shape = (2, BLOCKS.get(kind, 3), QUERIES, CAPTION_CHANNELS)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def pipeline(kind, tmp_path_factory):
    folder = tiny_ladder(tmp_path_factory.mktemp(kind), generator=kind)
    pipeline = LadderPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


TIMES = torch.tensor([100.0, 900.0])


def drawn(generator, latents, rungs):
    return velocity(generator, latents, TIMES, rungs.flatten(1, 2))


def keys_of(generator, latents, rungs) -> list[tuple[int, torch.Tensor]]:
    """The keys of the blocks, with their numbers, in the order in which they are computed."""
    seen = []
    hooks = [
        attention.to_k.register_forward_hook(
            lambda _, __, out, index=index: seen.append((index, out.detach()))
        )
        for index, attention in enumerate(cross_attentions(generator))
    ]
    drawn(generator, latents, rungs)
    for hook in hooks:
        hook.remove()
    return seen


@torch.no_grad()
def test_equal_rungs_are_the_stock_model_exactly(kind, stock, laddered, latents, rungs):
    caption = rungs[:, :1]
    told = {}
    if kind == "pixart_alpha":
        pixels = {"resolution": torch.full((2, 2), float(SIDE)), "aspect_ratio": torch.ones(2, 1)}
        told = {"added_cond_kwargs": pixels}
    expected = stock(
        latents, encoder_hidden_states=caption[:, 0], timestep=TIMES, **told
    ).sample.split(latents.shape[1], 1)
    assert len(expected) == (2 if kind.startswith("pixart") else 1)
    assert torch.equal(drawn(laddered, latents, caption.expand_as(rungs)), expected[0])
    assert caption_channels(stock) == CAPTION_CHANNELS


@torch.no_grad()
def test_each_block_hears_its_own_rung_only_in_the_order_in_which_they_run(
    laddered, latents, rungs
):
    before = keys_of(laddered, latents, rungs)
    assert [index for index, _ in before] == [*range(rungs.shape[1])]
    result = drawn(laddered, latents, rungs)
    for changed in range(rungs.shape[1]):
        other = rungs.clone()
        other[:, changed] *= -1
        after = keys_of(laddered, latents, other)
        same = [torch.equal(old, new) for (_, old), (_, new) in zip(before, after, strict=True)]
        assert same == [index != changed for index in range(rungs.shape[1])]
        assert not torch.allclose(drawn(laddered, latents, other), result, atol=1e-5)


@torch.no_grad()
def test_new_rungs_take_the_place_of_the_old(laddered, latents, rungs):
    expected = drawn(laddered, latents, rungs)
    attach_rungs(laddered, rungs.shape[1])
    assert torch.equal(drawn(laddered, latents, rungs), expected)
    with pytest.raises(ValueError, match=f"one rung for each of {rungs.shape[1]} blocks, got 9"):
        attach_rungs(laddered, 9)


def test_gradients_are_the_same_under_checkpointing(laddered, latents, rungs):
    found = []
    for checkpointing in (False, True):
        generator = copy.deepcopy(laddered).train()
        if checkpointing:
            generator.enable_gradient_checkpointing()
        conditions = rungs.clone().requires_grad_()
        drawn(generator, latents, conditions).square().sum().backward()
        found.append([conditions.grad, *(value.grad for value in generator.parameters())])
    assert found[0][0].abs().amax((0, 2, 3)).min() > 0
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


@torch.no_grad()
def test_conditions_are_computed_once(kind, laddered, latents, rungs):
    calls: list[str] = []
    for name, part in laddered.named_modules():
        if name in CAPTION_PARTS or name.endswith(("2.to_k", "2.to_v")):
            part.register_forward_hook(lambda *_, name=name: calls.append(name))
    expected = drawn(laddered, latents, rungs)
    assert len(calls) == OWN_PROJECTION[kind] + 2 * rungs.shape[1]
    once = ConditionsOnce(laddered)
    for _ in range(3):
        with once:
            assert torch.equal(drawn(laddered, latents, rungs), expected)
    assert len(calls) == 2 * len({*calls})
    assert not torch.equal(drawn(laddered, latents, rungs.flip(1)), expected)


@torch.no_grad()
def test_lora_changes_attentions_only_and_ends_in_a_stock_model(kind, laddered, latents, rungs):
    before, keys = drawn(laddered, latents, rungs), [*laddered.state_dict()]
    add_lora(laddered, 2)
    assert torch.equal(drawn(laddered, latents, rungs), before)
    learning = {name for name, value in laddered.named_parameters() if value.requires_grad}
    own = {name for name in learning if ".lora_" not in name}
    assert all(name.startswith("caption_") for name in own)
    assert bool(own) == (OWN_PROJECTION[kind] > 0)
    # Two matrices for each of four, in both attentions of a block.
    assert len(learning - own) == 2 * 4 * 2 * rungs.shape[1]
    assert not any(pretrained(f"generator.{name}") for name in learning)
    for name, value in laddered.named_parameters():
        if ".lora_B." in name:
            value.normal_(generator=torch.Generator().manual_seed(len(name)))
    changed = drawn(laddered, latents, rungs)
    assert not torch.allclose(changed, before, atol=1e-4)
    merge_lora(laddered)
    torch.testing.assert_close(drawn(laddered, latents, rungs), changed, atol=1e-5, rtol=1e-4)
    assert [*laddered.state_dict()] == keys
    assert all(value.requires_grad for value in laddered.parameters())


def test_it_learns_a_batch_and_is_saved(pipeline, config, tmp_path):
    ladder = copy.deepcopy(pipeline.ladder).train()
    pictures = [tiny_picture(0), tiny_picture(1)]
    latents = latents_of(pictures, pipeline.vae)
    batch = Batch(latents, ladder.understanding.prepare(TEXTS[:2], [[], pictures[:1]]), ["a", "b"])
    learn(ladder, batch, config)
    ladder.save_pretrained(tmp_path)
    loaded = Ladder.from_pretrained(tmp_path)
    assert type(loaded.generator) is type(ladder.generator)
    saved, own = loaded.trainable_state(), ladder.trainable_state()
    assert saved.keys() == own.keys()
    assert all(torch.equal(saved[name], value) for name, value in own.items())


def test_a_mixed_batch_equals_its_single_calls_and_so_does_the_ladder_loaded_again(
    pipeline, tmp_path
):
    sources = [None, tiny_picture(0), None]

    def draw(pipeline, chosen, **options):
        noise = [torch.Generator().manual_seed(index) for index in chosen]
        texts, given = [TEXTS[index] for index in chosen], [sources[index] for index in chosen]
        return pipeline(texts, given, num_inference_steps=3, generator=noise, **options).images

    together = draw(pipeline, [0, 1, 2], output_type="latent")
    assert together.shape == (3, pipeline.ladder.generator.config.in_channels, 4, 4)
    for index in range(3):
        alone = draw(pipeline, [index], output_type="latent")
        torch.testing.assert_close(together[index : index + 1], alone, atol=1e-5, rtol=1e-5)
    pipeline.save_pretrained(tmp_path)
    loaded = open_ladder(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert torch.equal(draw(loaded, [0, 1, 2], output_type="latent"), together)
    assert [picture.size for picture in draw(loaded, [0, 1])] == [(SIDE, SIDE)] * 2
    (large,) = draw(loaded, [0], height=2 * SIDE, width=SIDE)
    assert large.size == (SIDE, 2 * SIDE)


@torch.no_grad()
def test_latents_are_shifted_and_scaled_and_come_back(kind, folder):
    autoencoder = load_autoencoder(folder)
    picture = tiny_picture(3)
    pixels = torch.tensor(list(picture.getdata())).view(1, SIDE, SIDE, 3).permute(0, 3, 1, 2)
    output = autoencoder.encode(pixels / 127.5 - 1)
    raw = output.latent if kind == "sana" else output.latent_dist.mean
    latents = latents_of([picture], autoencoder)
    assert compression(autoencoder) == SIDE // latents.shape[-1]
    expected = 0.5 * (raw - (0.0 if kind == "sana" else 0.1))
    torch.testing.assert_close(latents, expected)
    again = decoded(autoencoder, latents)
    torch.testing.assert_close(again, autoencoder.decode(raw).sample, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_silenced_generator_hears_nothing_of_its_rungs(pipeline, latents, rungs):
    ladder, blocks = pipeline.ladder, rungs.shape[1]
    plain, other = (drawn(ladder.generator, latents, x) for x in (rungs, rungs.flip(0)))
    assert not torch.allclose(plain, other, atol=1e-5)
    with weighted_rungs(ladder, [1.0] * blocks):
        assert torch.equal(drawn(ladder.generator, latents, rungs), plain)
    with weighted_rungs(ladder, [0.0] * blocks):
        silent = [drawn(ladder.generator, latents, x) for x in (rungs, rungs.flip(0))]
    assert torch.equal(*silent)


def test_maps_are_explained_where_all_blocks_see_the_same_places(pipeline, kind):
    options = {"num_inference_steps": 2, "explain": True}
    if kind == "unet":
        with pytest.raises(ValueError, match="equally many places, got"):
            pipeline("a red circle", **options)
        return
    side = 4 if kind == "sana" else 2
    explanation = pipeline("a red circle", **options).explanation
    assert explanation.attention.shape == (2, 3, 1, side, side, 2)
    torch.testing.assert_close(explanation.attention.sum(-1), torch.ones(2, 3, 1, side, side))


def test_stable_diffusion_has_16_blocks_and_their_own_processors_go_on():
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768, sample_size=64)
    attentions = cross_attentions(attach_rungs(unet, 16))
    assert [attention.to_q.in_features for attention in attentions] == [
        *[320] * 2, *[640] * 2, *[1280] * 2, 1280, *[1280] * 3, *[640] * 3, *[320] * 3,
    ]  # fmt: skip
    for index, attention in enumerate(attentions):
        assert isinstance(attention.processor, RungProcessor)
        assert attention.processor.rung == index
        assert isinstance(attention.processor.attend, AttnProcessor2_0)


def test_a_generator_without_cross_attention_is_an_error(tmp_path):
    small = {"num_layers": 1, "num_attention_heads": 1, "attention_head_dim": 8}
    dit = SD3Transformer2DModel(
        sample_size=4, in_channels=4, out_channels=4, caption_projection_dim=8, **small,
        joint_attention_dim=8, pooled_projection_dim=8, pos_embed_max_size=4,
    )  # fmt: skip
    dit.save_pretrained(tmp_path / "transformer")
    index = {"transformer": ["diffusers", "SD3Transformer2DModel"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    known = "SanaTransformer2DModel or PixArtTransformer2DModel or UNet2DConditionModel, got"
    with pytest.raises(ValueError, match=f"must hold {known} SD3Transformer2DModel"):
        load_generator(tmp_path, generator_folder(tmp_path))
    with pytest.raises(ValueError, match=f"must be a {known} a SD3Transformer2DModel"):
        require_generator(dit)


def test_as_many_channels_out_as_in_need_not_be_named():
    with torch.device("meta"):
        pixart = PixArtTransformer2DModel(num_layers=1, out_channels=None, caption_channels=8)
    require_generator(pixart)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"addition_embed_type": "text"}, "a caption and the time only, got {'addition_embed_type"),
        ({"in_channels": 9}, "9 channels in and 4 out"),
        ({"sample_size": None}, "the latents of a side, got None"),
    ],
)
def test_a_unet_that_needs_more_makes_no_ladder(change, message, foundations):
    understanding = Understanding.from_pretrained(str(foundations / "mllm"))
    with torch.device("meta"):
        unet = UNet2DConditionModel(**{"sample_size": 64, "cross_attention_dim": 64, **change})
    taps = layer_indices("last_n", 4, understanding.depth)
    with pytest.raises(ValueError, match=message):
        Ladder(understanding, unet, taps, 2)
