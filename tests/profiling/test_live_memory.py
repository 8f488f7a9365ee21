"""Bytes that are counted without computing are those that computing takes."""

from __future__ import annotations

import torch
from torch import nn

from ladder.profiling.live_memory import Live, fake, rise

MIB = 2**20


def test_what_is_let_go_is_not_counted_twice():
    def run() -> torch.Tensor:
        first = torch.zeros(MIB, dtype=torch.uint8)
        second = first + 1
        del first
        return second + 1

    with fake():
        assert rise(run) == 2 * MIB


def test_views_and_changes_in_place_take_nothing():
    with fake():
        values = torch.zeros(MIB, dtype=torch.uint8)
        assert rise(lambda: values.view(2, -1)[1].add_(1).t()) == 0


def test_a_step_keeps_its_gradients():
    """A linear layer of n weights and B rows: outputs and a gradient in float32."""
    with fake():
        layer, rows = nn.Linear(512, 512, bias=False), torch.zeros(4, 512)
        with Live() as live:
            layer(rows).sum().backward()
            assert live.now == 4 * 512 * 512
        assert live.most < 4 * (512 * 512 + 4 * 512 * 4)


def test_autocast_copies_weights_in_half_their_size():
    with fake():
        layer, rows = nn.Linear(1024, 1024, bias=False), torch.zeros(1, 1024)

        def run() -> torch.Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return layer(rows)

        copied = 2 * 1024 * 1024
        assert copied <= rise(run) < 1.1 * copied


def test_a_fake_of_any_size_takes_no_memory():
    """A hundred terabytes."""
    with fake():
        assert rise(lambda: torch.zeros(10**14, dtype=torch.uint8)) == 10**14
