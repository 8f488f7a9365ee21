"""What the blocks of the generator look at: their attention on the queries of their rungs.

Letters: N blocks, B batch, H heads, S picture tokens, Q queries, Z latent channels.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from jaxtyping import Float
from torch import Tensor

from ladder.models.generator.families import cross_attentions
from ladder.models.ladder import Ladder


@torch.no_grad()
def attention(
    ladder: Ladder,
    latents: Float[Tensor, "B Z height width"],
    timesteps: Float[Tensor, " B"],
    conditions: Float[Tensor, "B NQ C"],
) -> Float[Tensor, "N B H S Q"]:
    """The cross-attention of every block while the velocity is computed; sums to 1 over Q.

    It is taken from the queries and keys of the very forward pass of `Ladder.velocity`. Raises
    ValueError for a UNet, whose blocks see pictures in several sizes.
    """
    seen: dict[int, list[Tensor]] = defaultdict(list)
    blocks = cross_attentions(ladder.generator)
    hooks = [
        part.register_forward_hook(lambda _, __, out, index=index: seen[index].append(out))
        for index, block in enumerate(blocks)
        for part in (block.to_q, block.to_k)
    ]
    try:
        ladder.velocity(latents, timesteps, conditions)
    finally:
        for hook in hooks:
            hook.remove()
    if len(sizes := {seen[index][0].shape[1] for index in seen}) > 1:
        raise ValueError(f"maps are drawn of blocks that see equally many places, got {sizes}")
    maps = []
    for index, block in enumerate(blocks):
        query, key = (out.unflatten(-1, (block.heads, -1)) for out in seen[index])
        scores = torch.einsum("bshd,bqhd->bhsq", query, key) * query.shape[-1] ** -0.5
        maps.append(scores.softmax(-1))
    return torch.stack(maps)
