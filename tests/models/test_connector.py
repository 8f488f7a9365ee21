"""The connector of the paper: Linear, GELU (tanh), Linear, RMSNorm that starts at sqrt(5.5)."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from ladder.models.connector import Connector


def test_it_is_the_papers_formula():
    torch.manual_seed(0)
    connector = Connector(width=8, hidden=12, channels=6)
    states = 20 * torch.randn(3, 5, 8)
    hidden = F.gelu(states @ connector[0].weight.T + connector[0].bias, approximate="tanh")
    mapped = hidden @ connector[2].weight.T + connector[2].bias
    rms = (mapped.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(connector(states), math.sqrt(5.5) * mapped / rms)


def test_its_state_has_the_keys_of_the_published_checkpoint():
    keys = {"0.weight", "0.bias", "2.weight", "2.bias", "3.weight"}
    assert set(Connector(8, 12, 6).state_dict()) == keys
