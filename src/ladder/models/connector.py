"""The connector: from the width of the MLLM to the caption channels of the generator.

As in the paper: Linear, GELU (tanh), Linear, RMSNorm; one connector serves all rungs. To find out
what sharing costs, there may also be one for each.

Letters: N rungs, B batch, Q queries, D width of the MLLM, C caption channels.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

SCALE = math.sqrt(5.5)
"""What the weight of the norm starts at (paper)."""


class Connector(nn.Sequential):
    """Maps (..., D) to (..., C): `width` to `channels`, through `hidden` units.

    The keys of its state (0, 2, 3) are those of the published checkpoint.
    """

    def __init__(self, width: int, hidden: int, channels: int) -> None:
        norm = nn.RMSNorm(channels, eps=1e-5)
        nn.init.constant_(norm.weight, SCALE)
        super().__init__(
            nn.Linear(width, hidden),
            nn.GELU(approximate="tanh"),
            nn.Linear(hidden, channels),
            norm,
        )


class ConnectorPerRung(nn.ModuleList):
    """A connector of its own for each rung; all begin alike, so that only training tells them
    apart."""

    def __init__(self, rungs: int, width: int, hidden: int, channels: int) -> None:
        first = Connector(width, hidden, channels)
        super().__init__(Connector(width, hidden, channels) for _ in range(rungs))
        for connector in self:
            connector.load_state_dict(first.state_dict())

    def forward(self, rungs: Float[Tensor, "N B Q D"]) -> Float[Tensor, "N B Q C"]:
        return torch.stack([connect(rung) for connect, rung in zip(self, rungs, strict=True)])
