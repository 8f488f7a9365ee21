"""The toy DC-AE: 96 x 96 pictures to 3 x 3 latents of 32 channels, one latent a cell.

The compression (f32c32) is that of Sana's own autoencoder. Objects cover a small part of a picture,
so the loss weighs them more; noise on the latents makes the decoder forgiving to a generator's
errors. Trained on rendered scenes that are never stored.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderDC
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from tqdm import trange

from ladder.config.files import replacing_folder
from ladder.config.load import Config
from ladder.world.render import render
from ladder.world.scenes import BACKGROUNDS, draw_scene

log = logging.getLogger(__name__)

CHANNELS = (16, 32, 64, 64, 128, 128)
CONFIG = {
    "in_channels": 3,
    "latent_channels": 32,
    "attention_head_dim": 32,
    "encoder_block_types": ["ResBlock"] * 6,
    "decoder_block_types": ["ResBlock"] * 6,
    "encoder_block_out_channels": CHANNELS,
    "decoder_block_out_channels": CHANNELS,
    "encoder_layers_per_block": (0, 1, 1, 1, 1, 1),
    "decoder_layers_per_block": (0, 1, 1, 2, 2, 2),
    "encoder_qkv_multiscales": ((),) * 6,
    "decoder_qkv_multiscales": ((),) * 6,
    "downsample_block_type": "Conv",
    "upsample_block_type": "pixel_shuffle",
}
BATCH = 64
LEARNING_RATE = 2e-3
LATENT_NOISE = 0.05
"""Standard deviation of the noise on latents in training, in units of their own."""
OBJECT_WEIGHT = 5.0
MOST_OBJECTS = 7


def main(config: Config) -> None:
    """The stage: train and save to `vae` in the generator's folder."""
    toy = config.pretraining
    train(toy.autoencoder_steps, toy.seed, Path(config.foundations.generator) / "vae")


def train(steps: int, seed: int, folder: Path) -> None:
    """Train for `steps` and save the autoencoder, its `scaling_factor` included, to `folder`."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 10])
    model = AutoencoderDC(**CONFIG).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(
        model.parameters(), LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.01
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.05
    )
    progress = trange(steps, desc="autoencoder", mininterval=5)
    for step in progress:
        pictures, objects = draw_pictures(rng, BATCH)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            latents = model.encode(pictures).latent
            spread = latents.detach().float().std()
            noisy = latents + LATENT_NOISE * spread * torch.randn_like(latents)
            error = model.decode(noisy).sample.float() - pictures
        weight = 0.7 + OBJECT_WEIGHT * F.max_pool2d(objects, 5, stride=1, padding=2)
        loss = (weight * (error.abs() + 2 * error**2)).mean() + 1e-3 * (latents.float() ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 25 == 0 or step == steps - 1:
            progress.set_postfix(loss=f"{loss.item():.3f}", psnr=f"{psnr(error):.1f} dB")
    model.register_to_config(scaling_factor=scaling_factor(model, rng))
    with replacing_folder(folder, "config.json") as part:
        model.to(torch.bfloat16).save_pretrained(part)
    log.info(
        "saved the autoencoder to %s, scaling factor %.3f", folder, model.config.scaling_factor
    )


def draw_pictures(
    rng: np.random.Generator, count: int
) -> tuple[Float[Tensor, "B 3 H W"], Float[Tensor, "B 1 H W"]]:
    """B = `count` pictures in -1..1, and where their objects are, in 0..1."""
    scenes = [draw_scene(rng, int(rng.integers(MOST_OBJECTS + 1))) for _ in range(count)]
    pixels = np.stack([render(scene) for scene in scenes])
    grounds = np.array([BACKGROUNDS[scene.background] for scene in scenes], np.uint8)
    objects = (pixels != grounds[:, None, None]).any(-1)
    return to_tensor(pixels), torch.from_numpy(objects).float()[:, None]


def to_tensor(pixels: UInt8[np.ndarray, "B H W 3"]) -> Float32[Tensor, "B 3 H W"]:
    """Pictures as values in -1..1, channels last in memory."""
    tensor = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(127.5).sub(1)
    return tensor.contiguous(memory_format=torch.channels_last)


def psnr(error: Float[Tensor, "*_"]) -> float:
    """Peak signal-to-noise ratio in dB of an error between pictures in -1..1."""
    return -10 * math.log10((error**2).mean().item() / 4)


@torch.no_grad()
def scaling_factor(model: AutoencoderDC, rng: np.random.Generator) -> float:
    """What latents are multiplied by to have a standard deviation of 1."""
    pictures, _ = draw_pictures(rng, 512)
    return 1 / model.encode(pictures).latent.std().item()
