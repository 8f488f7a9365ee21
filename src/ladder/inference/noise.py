"""The noise that a drawing begins with, whose shape says how large the pictures become.

Letters: B pictures, Z latent channels, H and W latent height and width.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from diffusers.utils.torch_utils import randn_tensor
from jaxtyping import Float
from torch import Tensor

from ladder.models.generator.autoencoder import MOST_PIXELS
from ladder.models.generator.families import Generator, patch_size


def noise(
    generator: Generator,
    scale: int,
    count: int,
    sides: Mapping[str, int | None],
    seeds: list[torch.Generator] | None,
    latents: Float[Tensor, "B Z H W"] | None,
    device: torch.device,
) -> Float[Tensor, "B Z H W"]:
    """Noise in float32, drawn picture by picture, or `latents` in place of it.

    `sides` are height and width in pixels, by default those that the generator was trained on;
    `scale` is how many pixels a side of a latent stands for. Raises ValueError for sides that
    aren't whole patches, for both sides and latents, and for latents of another shape.
    """
    if latents is not None and any(sides.values()):
        raise ValueError("latents say how large pictures are, got height or width too")
    height, width = (latent_side(generator, scale, *side) for side in sides.items())
    shape = (count, generator.config.in_channels, height, width)
    if latents is None:
        latents = randn_tensor(shape, seeds, device, torch.float32)
    elif len(latents) != count or latents.shape[1] != shape[1]:
        raise ValueError(f"latents must be ({count}, {shape[1]}, H, W), got {latents.shape}")
    return latents.to(device, torch.float32)


def latent_side(generator: Generator, scale: int, name: str, pixels: int | None) -> int:
    """The latents along a side of a picture, by default as many as in training."""
    if pixels is None:
        return generator.config.sample_size
    unit = scale * patch_size(generator)
    if not unit <= pixels <= MOST_PIXELS or pixels % unit:
        raise ValueError(f"{name} must be a multiple of {unit} up to {MOST_PIXELS}, got {pixels}")
    return pixels // scale
