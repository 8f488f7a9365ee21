"""The toy Sana: its stages leave the autoencoder alone and end in a pipeline that draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderDC, SanaPipeline
from tests.pretraining.conftest import SMALL_TOKENIZER

from ladder.pretraining import generator as generator_base
from ladder.pretraining import generator_tuning
from ladder.pretraining.autoencoder import CONFIG
from ladder.pretraining.generator import (
    BASE,
    DROPPED,
    NAMES,
    CaptionMix,
    Pool,
    build,
    encode,
    read,
    with_start,
)
from ladder.pretraining.tokenizer import train_tokenizer
from ladder.pretraining.word_states import states_of_words
from ladder.world import slot_template
from ladder.world.render import render
from ladder.world.scenes import SHAPES, Scene, draw_scene


@pytest.fixture(scope="module")
def vae() -> AutoencoderDC:
    """The toy autoencoder with random weights and four channels inside."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        few = {f"{part}_block_out_channels": (4, 4, 4, 4, 8, 32) for part in ("encoder", "decoder")}
        return AutoencoderDC(**CONFIG | few, scaling_factor=0.5)


@pytest.fixture(scope="module")
def small():
    """The stage with 24 scenes in the pool and batches of 4."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generator_base, "POOL", 24)
        patch.setattr(generator_base, "BATCH", 4)
        patch.setattr(generator_base, "LONG_BATCH", 2)
        patch.setattr(generator_base, "train_tokenizer", SMALL_TOKENIZER)
        yield


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def folder(small, vae: AutoencoderDC, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pipeline after two steps of each training; beside it the autoencoder from before."""
    folder = tmp_path_factory.mktemp("sana")
    for name in ("vae", "vae_before"):
        vae.save_pretrained(folder / name)
    base = folder.parent / "sana-base"
    generator_base.train(2, 0, folder / "vae", base)
    generator_tuning.tune(base, 2, 0, folder)
    return folder


@pytest.fixture(scope="module")
def pool(small, vae: AutoencoderDC) -> Pool:
    return Pool(np.random.default_rng(0), vae)


def test_the_autoencoder_is_untouched(folder: Path):
    """Byte for byte."""
    assert contents(folder / "vae") == contents(folder / "vae_before")


def test_the_folder_is_a_pipeline_that_draws(folder: Path):
    """Without any MLLM, in the size of the toy world."""
    pipeline = SanaPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)

    def draw(prompt: str) -> np.ndarray:
        (picture,) = pipeline(
            prompt,
            height=96,
            width=96,
            num_inference_steps=2,
            complex_human_instruction=None,
            use_resolution_binning=False,
            generator=torch.Generator().manual_seed(0),
            output_type="np",
        ).images
        return picture

    picture = draw("a red star")
    assert picture.shape == (96, 96, 3)
    assert np.isfinite(picture).all()
    np.testing.assert_array_equal(picture, draw("a red star"))


def test_weights_move_from_where_they_began(folder: Path):
    """The averaged weights, of two steps at a decay of 0.998, are finite and are no zeros."""
    transformer = SanaPipeline.from_pretrained(folder).transformer
    assert transformer.proj_out.weight.abs().max() > 0
    assert all(weight.isfinite().all() for weight in transformer.parameters())


def test_latents_are_those_of_the_autoencoder_scaled(vae: AutoencoderDC):
    """In the order of the scenes, in however many parts."""
    rng = np.random.default_rng(1)
    scenes = [draw_scene(rng, 3) for _ in range(5)]
    latents = encode(vae, scenes, batch=2)
    assert latents.shape == (5, 32, 3, 3)
    for scene, latent in zip(scenes, latents, strict=True):
        picture = torch.from_numpy(render(scene)).permute(2, 0, 1)[None] / 127.5 - 1
        with torch.no_grad():
            expected = vae.encode(picture).latent[0] * 0.5
        torch.testing.assert_close(latent, expected, atol=1e-4, rtol=1e-4)


def test_batches_are_short_or_dense(pool: Pool):
    """Dense ones are fewer; captions belong to their latents; a tenth is dropped."""
    rng = np.random.default_rng(2)
    dense, dropped, total = 0, 0, 0
    for _ in range(150):
        latents, texts = pool.draw(rng, BASE)
        assert len(latents) == len(texts)
        assert len(texts) in (2, 4)
        said = [text for text in texts if text]
        named = [" at the " in text or ": " in text for text in said]
        assert all(named) if len(texts) == 2 else not any(named)
        dense += len(texts) == 2
        dropped += texts.count("")
        total += len(texts)
        for latent, text in zip(latents, texts, strict=True):
            (index,) = (pool.latents == latent).flatten(1).all(1).nonzero().flatten()[:1].tolist()
            if text and len(texts) == 2:
                assert all(thing.shape in text for thing in pool.scenes[index].things)
    assert abs(dense / 150 - BASE.dense) < 0.2
    assert abs(dropped / total - DROPPED) < 0.07


def test_templates_tell_what_is_asked_or_what_is_seen(pool: Pool):
    """Word for word a template, of which one part is left open; a dropped one has no word."""
    rng = np.random.default_rng(3)
    asked_for, dropped = 0, 0
    for _ in range(40):
        latents, captions = pool.draw(rng, CaptionMix(dense=0.0, templates=1.0, asked=0.5))
        assert len(captions) == 2
        for latent, words in zip(latents, captions, strict=True):
            if not words:
                dropped += 1
                continue
            fields = tuple(word.removeprefix(" ") for word in words)
            assert len(fields) == len(slot_template.SLOTS)
            asked, seen = fields[: slot_template.ASKED], fields[slot_template.ASKED :]
            if seen == slot_template.UNSEEN:
                asked_for += 1
                assert asked[3] in SHAPES
                continue
            assert asked == slot_template.UNASKED
            same = (pool.latents == latent).flatten(1).all(1).nonzero().flatten().tolist()
            assert seen in {slot_template.seen(pool.scenes[i]) for i in same}
    assert 5 < asked_for < 60
    assert 0 < dropped < 25


@pytest.mark.parametrize(("asked", "least", "most"), [(0.0, 0.0, 0.0), (1.0, 0.5, 0.95)])
def test_how_many_templates_tell_what_is_asked(pool: Pool, asked: float, least: float, most: float):
    """Those of dense captions never do."""
    rng = np.random.default_rng(4)
    mix = CaptionMix(dense=0.0, templates=1.0, asked=asked, pairs=1.0)
    filled = [words for _ in range(60) for words in pool.draw(rng, mix)[1] if words]
    unseen = tuple(f" {word}" for word in slot_template.UNSEEN)
    share = np.mean([words[slot_template.ASKED :] == unseen for words in filled])
    assert least <= share <= most


def test_batches_of_pairs_hold_nothing_else(pool: Pool):
    rng = np.random.default_rng(5)
    for _ in range(20):
        for latent in pool.draw(rng, CaptionMix(dense=0.0, templates=1.0, pairs=1.0))[0]:
            same = (pool.latents == latent).flatten(1).all(1).nonzero().flatten().tolist()
            assert any(pool.kinds[i] == "pair" for i in same)


def test_templates_are_read_group_by_group_after_the_start(pool: Pool, monkeypatch):
    """And dropped ones are the start alone, as dropped texts are."""
    monkeypatch.setattr(generator_base, "NOISE", 0.0)
    tokenizer = with_start(SMALL_TOKENIZER(0))
    encoder, _ = build(tokenizer)
    words = tuple(f" {word}" for word in slot_template.UNASKED + slot_template.UNSEEN)
    with torch.no_grad():
        states, mask = read(tokenizer, encoder, [words, ()])
        (start,) = read(tokenizer, encoder, [""])[0][0]
        apart = states_of_words(encoder, tokenizer, [words], NAMES, slot_template.GROUPS)[0]
    assert mask.sum(1).tolist() == [1 + len(words), 1]
    torch.testing.assert_close(states[:, 0], start.expand(2, -1))
    torch.testing.assert_close(states[0, 1:], apart)


def test_a_template_is_a_token_a_field():
    """So that each query of a ladder has its counterpart among the words that Sana knows."""
    tokenizer = with_start(train_tokenizer(0, texts=800))
    for scene in (Scene(()), draw_scene(np.random.default_rng(0), 5)):
        for fields in (slot_template.SLOTS, slot_template.UNASKED + slot_template.seen(scene)):
            for word in fields:
                assert len(tokenizer(f" {word}", add_special_tokens=False).input_ids) == 1, word


def test_an_empty_caption_is_a_start_token():
    """As Gemma's, so that guidance has something to read; every other one begins with it too."""
    tokenizer = with_start(SMALL_TOKENIZER(0))
    assert tokenizer("").input_ids == [tokenizer.bos_token_id]
    assert tokenizer("a star").input_ids[0] == tokenizer.bos_token_id
    assert (
        tokenizer.decode(tokenizer("a star").input_ids, skip_special_tokens=True).strip()
        == "a star"
    )


def test_padding_changes_no_state():
    tokenizer = with_start(SMALL_TOKENIZER(0))
    torch.manual_seed(0)
    encoder, _ = generator_base.build(tokenizer)
    short, long = "a red star", "a small red star at the top left, a circle at the bottom"
    with torch.no_grad():
        states, mask = read(tokenizer, encoder.eval(), [short, long])
        alone, _ = read(tokenizer, encoder, [short])
    assert mask.sum(1).tolist() == [alone.shape[1], states.shape[1]]
    torch.testing.assert_close(states[0, : alone.shape[1]], alone[0], atol=1e-5, rtol=1e-5)


def test_a_fresh_generator_predicts_nothing():
    """Its last layer is zero, so that training begins at a velocity of 0."""
    tokenizer = with_start(SMALL_TOKENIZER(0))
    _, transformer = generator_base.build(tokenizer)
    noise, states = torch.randn(2, 32, 3, 3), torch.randn(2, 5, generator_base.CAPTION_WIDTH)
    with torch.no_grad():
        velocity = transformer(noise, states, torch.tensor([10.0, 900.0])).sample
    assert velocity.shape == noise.shape
    bias = transformer.proj_out.bias
    torch.testing.assert_close(velocity, bias[None, :, None, None].expand_as(velocity))
