"""The connector: from the width of the MLLM to the caption channels of the generator.

One connector serves all rungs. As in the paper: Linear, GELU (tanh), Linear, RMSNorm.
"""

from __future__ import annotations

import math

from torch import nn

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
