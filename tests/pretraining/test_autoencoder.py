"""The toy autoencoder: the latents it is made for, weights of its seed, and pictures given back."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderDC

from ladder.evaluation.bounds import reconstructed
from ladder.pretraining import autoencoder
from ladder.pretraining.autoencoder import CONFIG, draw_pictures, psnr, scaling_factor, to_tensor
from ladder.world.oracle import read_scene, same_scene
from ladder.world.render import render
from ladder.world.scenes import BACKGROUNDS, draw_scene

SMALL = CONFIG | {
    "encoder_block_out_channels": (4,) * 6,
    "decoder_block_out_channels": (4,) * 6,
    "latent_channels": 4,
}
"""The same autoencoder, of four channels."""


def trained(folder: Path, seed: int) -> Path:
    """A small autoencoder after two steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autoencoder, "CONFIG", SMALL)
        patch.setattr(autoencoder, "BATCH", 2)
        autoencoder.train(2, seed, folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("vae"), seed=0)


def test_one_latent_is_one_cell():
    """32 channels, 32 times smaller, as Sana's; and pictures come back in their size."""
    model = AutoencoderDC(**CONFIG)
    with torch.no_grad():
        latents = model.encode(torch.zeros(1, 3, 96, 96)).latent
        assert latents.shape == (1, 32, 3, 3)
        assert model.decode(latents).sample.shape == (1, 3, 96, 96)
    assert model.spatial_compression_ratio == 32


def test_latents_are_scaled_to_a_deviation_of_one(folder: Path):
    """The factor is saved with the autoencoder, and holds for pictures not seen before."""
    vae = AutoencoderDC.from_pretrained(folder, torch_dtype=torch.float32)
    pictures, _ = draw_pictures(np.random.default_rng(9), 200)
    with torch.no_grad():
        scaled = vae.encode(pictures).latent * vae.config.scaling_factor
    assert scaled.std().item() == pytest.approx(1, rel=0.1)
    assert vae.config.scaling_factor == pytest.approx(
        scaling_factor(vae, np.random.default_rng(10)), rel=0.1
    )


def test_one_seed_gives_one_autoencoder(folder: Path, tmp_path: Path):
    name = "diffusion_pytorch_model.safetensors"
    again = trained(tmp_path / "again", seed=0)
    other = trained(tmp_path / "other", seed=1)
    assert (again / name).read_bytes() == (folder / name).read_bytes()
    assert (other / name).read_bytes() != (folder / name).read_bytes()
    assert (again / "config.json").read_bytes() == (folder / "config.json").read_bytes()


def test_pictures_are_scenes_from_minus_one_to_one():
    """With their objects marked, and only those."""
    rng, same = np.random.default_rng(1), np.random.default_rng(1)
    pictures, objects = draw_pictures(rng, 20)
    assert pictures.shape == (20, 3, 96, 96)
    assert objects.shape == (20, 1, 96, 96)
    scenes = [draw_scene(same, int(same.integers(autoencoder.MOST_OBJECTS + 1))) for _ in range(20)]
    for picture, marked, scene in zip(pictures, objects, scenes, strict=True):
        pixels = ((picture + 1) * 127.5).round().permute(1, 2, 0).byte().numpy()
        np.testing.assert_array_equal(pixels, render(scene))
        plain = (pixels == BACKGROUNDS[scene.background]).all(-1)
        np.testing.assert_array_equal(marked[0].numpy(), ~plain)
    assert objects.any(dim=1).flatten(1).any(1).float().mean() > 0.7


def test_bytes_fill_the_range():
    ends = np.array([0, 255], np.uint8).reshape(1, 1, 2, 1).repeat(3, -1)
    assert to_tensor(ends).flatten().tolist() == [-1, 1] * 3


def test_psnr_is_that_of_bytes():
    """An error of one byte in every pixel is 20 log10(255) dB."""
    assert psnr(torch.full((1, 3, 8, 8), 1 / 127.5)) == pytest.approx(20 * math.log10(255))


@pytest.mark.slow
def test_the_shipped_autoencoder_gives_scenes_back(shipped):
    """35 dB or more on a hundred scenes that no seed of the training drew, read back exactly."""
    vae = AutoencoderDC.from_pretrained(shipped("sana/vae"), torch_dtype=torch.float32)
    rng = np.random.default_rng(2026)
    scenes = [draw_scene(rng, int(rng.integers(8))) for _ in range(100)]
    pictures = np.stack([render(scene) for scene in scenes])
    given_back = reconstructed(vae, scenes, 50)
    assert psnr(to_tensor(given_back) - to_tensor(pictures)) >= 35
    exact = [
        same_scene(read_scene(picture), scene)
        for picture, scene in zip(given_back, scenes, strict=True)
    ]
    assert np.mean(exact) >= 0.985
