"""The generators that a ladder can draw with, and in what they differ.

SanaTransformer2DModel    Sana, the paper's (arXiv 2410.10629)
PixArtTransformer2DModel  PixArt-alpha and PixArt-Sigma (arXiv 2310.00426, 2403.04692)
UNet2DConditionModel      Stable Diffusion 1 and 2 (arXiv 2112.10752)

Only Sana was trained on rectified flow. PixArt and Stable Diffusion predict noise (or "v") on
another path from pictures to noise; a ladder trains their weights on to the velocity of rectified
flow, and until it has, they draw nothing of use.

MMDiTs (Stable Diffusion 3, FLUX) have no cross-attention that could be given a rung.

Letters: B batch, NQ tokens of a condition, C its channels, Z latent channels, H and W latent height
and width.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    ModelMixin,
    PixArtTransformer2DModel,
    SanaTransformer2DModel,
    UNet2DConditionModel,
)
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from jaxtyping import Float
from torch import Tensor

Generator = SanaTransformer2DModel | PixArtTransformer2DModel | UNet2DConditionModel
GENERATORS = {
    "SanaTransformer2DModel": SanaTransformer2DModel,
    "PixArtTransformer2DModel": PixArtTransformer2DModel,
    "UNet2DConditionModel": UNet2DConditionModel,
}
CAPTION_PARTS = ("caption_projection", "caption_norm")
"""What makes a caption the generator's own; a UNet has neither, PixArt no norm."""
PIXELS = 8
"""Along the side of a latent: of PixArt's autoencoders."""
MORE_INPUTS = (
    "addition_embed_type", "class_embed_type", "encoder_hid_dim_type", "num_class_embeds",
    "time_cond_proj_dim",
)  # fmt: skip
"""Settings of a UNet that is told more than a caption and the time, as Stable Diffusion XL is."""


def require_generator(generator: ModelMixin) -> None:
    """Raises ValueError for a generator that a ladder can't draw with."""
    name, settings = type(generator).__name__, generator.config
    if name not in GENERATORS:
        raise ValueError(f"the generator must be a {' or '.join(GENERATORS)}, got a {name}")
    more = {key: settings[key] for key in MORE_INPUTS if settings.get(key) is not None}
    if more:
        raise ValueError(f"a generator must need a caption and the time only, got {more}")
    if (settings.out_channels or settings.in_channels) < settings.in_channels:
        raise ValueError(
            "a generator must read latents alone and give as many channels, got "
            f"{settings.in_channels} channels in and {settings.out_channels} out"
        )
    if not isinstance(settings.sample_size, int):
        raise ValueError(f"sample_size must be the latents of a side, got {settings.sample_size}")


def cross_attentions(generator: Generator) -> list[Attention]:
    """Those to the caption, one a block, in the order in which they are computed.

    A UNet's blocks are those of its transformers, going down, in the middle and going up: 16 in
    Stable Diffusion.
    """
    if isinstance(generator, UNet2DConditionModel):
        # The middle was added to the UNet's modules last.
        parts = (*generator.down_blocks, generator.mid_block, *generator.up_blocks)
        modules = [module for part in parts if part is not None for module in part.modules()]
        return [module.attn2 for module in modules if isinstance(module, BasicTransformerBlock)]
    return [block.attn2 for block in generator.transformer_blocks]


def caption_parts(generator: Generator) -> list[str]:
    """Those of CAPTION_PARTS that it has."""
    return [name for name in CAPTION_PARTS if getattr(generator, name, None) is not None]


def caption_channels(generator: Generator) -> int:
    """Width of what it takes for a caption."""
    return generator.config.get("caption_channels") or generator.config.cross_attention_dim


def patch_size(generator: Generator) -> int:
    """Latents along the side of what it cuts them into."""
    return generator.config.get("patch_size", 1)


def velocity(
    generator: Generator,
    latents: Float[Tensor, "B Z H W"],
    timesteps: Float[Tensor, " B"],
    conditions: Float[Tensor, "B NQ C"],
) -> Float[Tensor, "B Z H W"]:
    """What it gives for noisy `latents` (time 1000 s), without the variance that PixArt learned."""
    output = generator(
        latents,
        encoder_hidden_states=conditions,
        timestep=timesteps * generator.config.get("timestep_scale", 1.0),
        **_size(generator, latents),
    ).sample
    return output[:, : latents.shape[1]]


def _size(generator: Generator, latents: Float[Tensor, "B Z H W"]) -> dict[str, Any]:
    """The size of the pictures, which PixArt-alpha's largest is told (in pixels, and H / W)."""
    if not getattr(generator, "use_additional_conditions", False):
        return {}
    batch, _, height, width = latents.shape
    sides = torch.tensor([[height, width]], dtype=latents.dtype, device=latents.device)
    sides = sides.expand(batch, 2)
    told = {"resolution": PIXELS * sides, "aspect_ratio": sides[:, :1] / sides[:, 1:]}
    return {"added_cond_kwargs": told}
