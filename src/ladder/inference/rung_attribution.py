"""What each rung does for a picture: where its block looks, and what is missing without it.

Letters: T steps, N rungs (one a block), B pictures, Q queries, NQ tokens of a condition, C caption
channels, Z latent channels, H and W latent height and width, h and w places of the generator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ladder.models.generator.attention_maps import attention
from ladder.models.generator.families import cross_attentions, patch_size
from ladder.models.ladder import Ladder


@dataclass(frozen=True)
class Explanation:
    """Of one call of the pipeline."""

    attention: Float[Tensor, "T N B h w Q"]
    """How much each place attends to each query of its block's rung, at each step: the mean over
    the heads, in the branch with text and sources. It adds up to 1 over Q."""
    silenced: list[Any]
    """For each rung, the pictures drawn from the same noise without it, as `images` are given."""
    effect: Float[Tensor, "N B"]
    """For each rung, how far the latents end without it from where they end with all, as a share
    of the length of the latter."""


@dataclass
class Watcher:
    """Notes where the blocks look at each step, in forward passes of its own."""

    ladder: Ladder
    conditions: Float[Tensor, "B NQ C"]
    maps: list[Float[Tensor, "N B h w Q"]] = field(default_factory=list)

    def __call__(self, latents: Float[Tensor, "B Z H W"], timestep: Tensor) -> None:
        """Add the maps of one step."""
        times = timestep.float().expand(len(latents))
        inputs = latents.to(self.conditions.dtype), times, self.conditions
        maps = attention(self.ladder, *inputs).mean(2)
        height = latents.shape[-2] // patch_size(self.ladder.generator)
        self.maps.append(maps.unflatten(2, (height, -1)))

    def explained(
        self,
        latents: Float[Tensor, "B Z H W"],
        draw: Callable[[], Tensor],
        decode: Callable[[Tensor], Any],
    ) -> Explanation:
        """The explanation of `latents`, which `draw` draws again while a rung is silent."""
        rungs = self.ladder.taps.blocks
        silenced = []
        for rung in range(rungs):
            with weighted_rungs(self.ladder, [float(other != rung) for other in range(rungs)]):
                silenced.append(draw())
        effect = torch.stack([distance(without, latents) for without in silenced])
        return Explanation(torch.stack(self.maps), [*map(decode, silenced)], effect)


@contextmanager
def weighted_rungs(ladder: Ladder, weights: Sequence[float]) -> Iterator[None]:
    """Within it, what block i takes from its rung counts `weights[i]` times.

    1 changes nothing, and 0 silences the rung: the block hears nothing of the prompt. Raises
    ValueError unless there is a weight for each rung.
    """
    blocks = cross_attentions(ladder.generator)
    if len(weights) != len(blocks):
        raise ValueError(f"each of {len(blocks)} rungs needs a weight, got {len(weights)}")
    hooks = [
        block.register_forward_hook(lambda _, __, heard, weight=weight: weight * heard)
        for block, weight in zip(blocks, weights, strict=True)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def distance(
    latents: Float[Tensor, "B Z H W"], reference: Float[Tensor, "B Z H W"]
) -> Float[Tensor, " B"]:
    """The length of the difference, as a share of the reference's."""
    lengths = torch.linalg.vector_norm(reference.flatten(1), dim=1)
    return torch.linalg.vector_norm((latents - reference).flatten(1), dim=1) / lengths
