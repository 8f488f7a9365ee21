"""Which states of the MLLM feed which block of the generator.

The ladder gives every block of the generator its own layer of the MLLM. A scheme names the layers
for N blocks and an MLLM of L layers. The indices are our own and do not depend on a library: 0 is
the embedding, i the state after layer i, L the state after the last layer and before the final
norm, "norm" the state after it. (transformers calls the latter `hidden_states[L]`, and has changed
its mind about that before.)

Letters: K states read, N blocks (rungs), L layers of the MLLM, B batch, Q queries, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ladder.config.schema import Scheme

Layer = int | Literal["norm"]
NORM = "norm"
MIXED = ("mean", "learned")
"""The schemes whose blocks get a mixture of states."""


@dataclass(frozen=True)
class Taps:
    """The states to read from an MLLM, and how they become one rung a block."""

    scheme: Scheme
    """With "mean" and "learned" each block gets a mixture of the states, else one of them."""
    layers: tuple[Layer, ...]
    """The K states to read. Unless they are mixed, K = N and block i gets layers[i]."""
    blocks: int
    """N, the blocks to feed."""
    depth: int
    """L, the layers that the MLLM has."""

    def __post_init__(self) -> None:
        for layer in self.layers:
            if layer != NORM and not 0 <= layer <= self.depth:
                raise ValueError(f'a layer is 0 .. {self.depth} or "{NORM}", got {layer!r}')
        if self.scheme not in MIXED and len(self.layers) != self.blocks:
            raise ValueError(
                f"{self.blocks} blocks need {self.blocks} layers, got {len(self.layers)}: "
                f"{self.layers}"
            )

    @property
    def highest(self) -> int:
        """How many layers of the MLLM must run."""
        return max(self.depth if layer == NORM else layer for layer in self.layers)


def layer_indices(
    scheme: Scheme,
    blocks: int,
    depth: int,
    layers: Sequence[Layer] | None = None,
    seed: int = 0,
) -> Taps:
    """The taps of a scheme for `blocks` (N) blocks and an MLLM of `depth` (L) layers.

    - last_n: L-N .. L-1, the paper's ladder; for 36 layers and 20 blocks 16 .. 35
    - last: the state after the final norm for every block (the baseline, MetaQuery)
    - last_prenorm, penultimate, middle: L, L-1 or L // 2 for every block
    - first_n: 1 .. N (the embedding, 0, doesn't depend on the prompt)
    - uniform: N layers spread evenly over 1 .. L-1, both ends included
    - reversed, shuffled: last_n upside down, or in an order drawn from `seed`
    - mean: the mean of the layers 1 .. L, each normalised (arXiv 2506.08210)
    - learned: every block its own softmax-weighted mean of them (arXiv 2602.03510)
    - list: `layers`, one a block

    For mean and learned, `layers` may name the states to mix, so that no layer above them runs.
    Raises ValueError for an unknown scheme, for layers that don't exist and for a ladder that is
    longer than the MLLM.
    """
    if scheme not in get_args(Scheme):
        raise ValueError(f"scheme must be one of {', '.join(get_args(Scheme))}, got {scheme!r}")
    if blocks < 1 or depth < 1:
        raise ValueError(f"blocks and depth must be at least 1, got {blocks} and {depth}")
    if layers and scheme not in ("list", *MIXED):
        raise ValueError(
            f'layers are for "list", "mean" and "learned", got {scheme!r} with {layers}'
        )
    if scheme == "list" and not layers:
        raise ValueError('scheme "list" needs layers, got none')
    chosen = tuple(layers) if layers else _layers(scheme, blocks, depth, seed)
    return Taps(scheme, chosen, blocks, depth)


def _layers(scheme: Scheme, blocks: int, depth: int, seed: int) -> tuple[Layer, ...]:
    match scheme:
        case "last":
            return (NORM,) * blocks
        case "last_prenorm":
            return (depth,) * blocks
        case "penultimate":
            return (depth - 1,) * blocks
        case "middle":
            return (depth // 2,) * blocks
        case "mean" | "learned":
            return tuple(range(1, depth + 1))
    layers = depth - 1 if scheme == "uniform" else depth
    if blocks > layers:
        raise ValueError(
            f"a ladder of scheme {scheme} must not be longer than the MLLM: {blocks} blocks need "
            f"as many layers, got {layers}"
        )
    last_n = tuple(range(depth - blocks, depth))
    match scheme:
        case "first_n":
            return tuple(range(1, blocks + 1))
        case "uniform":
            return tuple(int(layer) for layer in np.linspace(1, layers, blocks).round())
        case "reversed":
            return last_n[::-1]
        case "shuffled":
            return tuple(int(layer) for layer in np.random.default_rng(seed).permutation(last_n))
    return last_n


class LayerMixture(nn.Module):
    """Makes the N rungs of the K states read. It has weights (N, K) only if they are learned."""

    def __init__(self, taps: Taps) -> None:
        super().__init__()
        self.taps = taps
        if taps.scheme == "learned":
            self.weights = nn.Parameter(torch.zeros(taps.blocks, len(taps.layers)))

    def forward(self, states: Float[Tensor, "K B Q D"]) -> Float[Tensor, "N B Q D"]:
        """States that are mixed are first brought to unit RMS, or the deepest would drown the rest.

        (The RMS of raw layers grows with depth by more than an order of magnitude.)
        """
        if self.taps.scheme not in MIXED:
            return states
        unit = F.rms_norm(states, states.shape[-1:])
        if self.taps.scheme == "mean":
            return unit.mean(0, keepdim=True).expand(self.taps.blocks, -1, -1, -1)
        return torch.einsum("nk,kbqd->nbqd", self.weights.softmax(-1).to(unit.dtype), unit)
