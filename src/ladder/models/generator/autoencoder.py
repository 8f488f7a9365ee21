"""Pictures to latents and back, by a generator's autoencoder.

AutoencoderDC  Sana's (arXiv 2410.10733)
AutoencoderKL  Stable Diffusion's and PixArt's (arXiv 2112.10752). It gives a distribution; its mean
               is taken, so that the same picture gives the same latents

Latents are shifted and scaled as the autoencoder's configuration says, so that a generator sees a
deviation of about 1.

Letters: B pictures, Z latent channels, H and W latent height and width, h and w of pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderDC, AutoencoderKL
from jaxtyping import Float
from torch import Tensor

from ladder.models.loading import class_of, load_part

Autoencoder = AutoencoderDC | AutoencoderKL
AUTOENCODERS = {"AutoencoderDC": AutoencoderDC, "AutoencoderKL": AutoencoderKL}

MOST_PIXELS = 2**13
"""Along a side of what is drawn."""


def load_autoencoder(source: Path | str, dtype: torch.dtype = torch.float32) -> Autoencoder:
    """The autoencoder of the pipeline in a folder or of a hub id.

    Raises ValueError for one of another class, and when weights are missing or left over.
    """
    return load_part(class_of(AUTOENCODERS, source, "vae"), source, "vae", dtype)


def require_decodable(generator: Mapping[str, Any], autoencoder: Autoencoder) -> None:
    """Raises ValueError where it can't decode what a generator of these settings draws."""
    drawn, taken = generator["in_channels"], autoencoder.config.latent_channels
    if drawn != taken:
        raise ValueError(
            f"the autoencoder must decode {drawn} channels, as the generator draws, got {taken}"
        )
    side = generator["sample_size"] * compression(autoencoder)
    if side > MOST_PIXELS:
        raise ValueError(f"a picture's side must be at most {MOST_PIXELS} pixels, got {side}")


def compression(autoencoder: Autoencoder) -> int:
    """Pixels along the side of a latent."""
    if isinstance(autoencoder, AutoencoderKL):
        return 2 ** (len(autoencoder.config.block_out_channels) - 1)
    return autoencoder.spatial_compression_ratio


def encoded(autoencoder: Autoencoder, pixels: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B Z H W"]:
    """The latents of pictures (values from -1 to 1), as a generator sees them."""
    shift, scale = shift_and_scale(autoencoder)
    return (raw(autoencoder, pixels) - shift) * scale


def raw(autoencoder: Autoencoder, pixels: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B Z H W"]:
    """The latents of pictures, as the autoencoder gives and decodes them."""
    output = autoencoder.encode(pixels)
    if isinstance(autoencoder, AutoencoderKL):
        return output.latent_dist.mode()
    return output.latent


def decoded(
    autoencoder: Autoencoder, latents: Float[Tensor, "B Z H W"]
) -> Float[Tensor, "B 3 h w"]:
    """Pictures (values from -1 to 1) of latents as a generator draws them, of any dtype."""
    shift, scale = shift_and_scale(autoencoder)
    unscaled = (latents / scale + shift).to(autoencoder.dtype)
    return autoencoder.decode(unscaled, return_dict=False)[0]


def shift_and_scale(autoencoder: Autoencoder) -> tuple[float, float]:
    """What is taken from latents, and what they are then multiplied by."""
    return autoencoder.config.get("shift_factor") or 0.0, autoencoder.config.scaling_factor
