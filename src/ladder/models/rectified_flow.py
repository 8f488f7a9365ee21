"""Rectified flow: a straight path from data to noise, its loss, and guidance at sampling.

At time s a picture's latents are x_s = (1-s) x_0 + s noise, so that the velocity to learn is
d x_s / d s = noise - x_0 (arXiv 2209.03003). Everything here is a pure function.

Letters: B batch, R branches of all pictures, Z channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

TIMESTEPS = 1000
"""What diffusers' schedulers and Sana call time s is 1000 s."""


def times(batch: int, shift: float, generator: torch.Generator) -> Float[Tensor, " B"]:
    """B training times, uniform in [0, 1) before they are moved towards noise by `shift`."""
    return shifted(torch.rand(batch, generator=generator, device=generator.device), shift)


def shifted(s: Float[Tensor, " B"], shift: float) -> Float[Tensor, " B"]:
    """Times s in [0, 1] moved towards noise: shift s / (1 + (shift - 1) s); 1 leaves them."""
    return shift * s / (1 + (shift - 1) * s)


def noisy(
    latents: Float[Tensor, "B Z H W"], noise: Float[Tensor, "B Z H W"], s: Float[Tensor, " B"]
) -> Float[Tensor, "B Z H W"]:
    """The point at time s on the straight path from `latents` (s = 0) to `noise` (s = 1)."""
    s = s[:, None, None, None]
    return (1 - s) * latents + s * noise


def target(
    latents: Float[Tensor, "B Z H W"], noise: Float[Tensor, "B Z H W"]
) -> Float[Tensor, "B Z H W"]:
    """The velocity along that path."""
    return noise - latents


def loss(
    velocity: Float[Tensor, "B Z H W"],
    latents: Float[Tensor, "B Z H W"],
    noise: Float[Tensor, "B Z H W"],
) -> Float[Tensor, ""]:
    """Mean squared error of a predicted velocity, in float32."""
    return F.mse_loss(velocity.float(), target(latents, noise).float())


@dataclass(frozen=True)
class Guidance:
    """How much each branch of a guided velocity counts; the weights add up to 1.

    A branch of weight 0 needn't run.
    """

    nothing: float
    """Of the velocity without text, and with black pictures in place of the sources."""
    image: float
    """Of the velocity without text, but with the sources."""
    full: float
    """Of the velocity with all that was given."""


def guidance(text_scale: float, image_scale: float | None = None) -> Guidance:
    """The branches of classifier-free guidance; a scale of 1 switches it off.

    Without sources (`image_scale` None) v_nothing + text (v_full - v_nothing), with them
    v_nothing + image (v_image - v_nothing) + text (v_full - v_image).
    """
    if image_scale is None:
        return Guidance(nothing=1 - text_scale, image=0.0, full=text_scale)
    return Guidance(nothing=1 - image_scale, image=image_scale - text_scale, full=text_scale)


def guide(
    velocities: Float[Tensor, "R Z H W"],
    weights: Float[Tensor, " R"],
    owners: Int[Tensor, " R"],
    batch: int,
) -> Float[Tensor, "{batch} Z H W"]:
    """The guided velocities of a batch, from those of its branches.

    Branch r belongs to picture owners[r]; what its weight is says `guidance`. The pictures may
    have different numbers of branches.
    """
    weighted = weights[:, None, None, None] * velocities.float()
    return weighted.new_zeros(batch, *velocities.shape[1:]).index_add(0, owners, weighted)
