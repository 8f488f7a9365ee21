"""How the foundations are optimised: Muon on matrices, AdamW on the rest, a trapezoid of rates."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

WARMUP, COOLDOWN = 0.03, 0.4
"""Shares of the steps in which the rates rise from 0 and fall back to 0."""
NOT_MATRICES = ("embed", "lm_head", "norm", "scale_shift_table", "proj_out", "pos")
"""Parts of names of two-dimensional parameters that Muon is not made for."""


class MuonAndAdamW:
    """Two optimizers stepped as one; gradients are clipped to a norm of 1."""

    def __init__(self, muon: torch.optim.Muon, adamw: torch.optim.AdamW) -> None:
        self.parts = (muon, adamw)
        self.groups = [group for part in self.parts for group in part.param_groups]
        self.peaks = [group["lr"] for group in self.groups]

    def step_on(self, loss: torch.Tensor) -> None:
        for part in self.parts:
            part.zero_grad()
        loss.backward()
        parameters = [p for group in self.groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for part in self.parts:
            part.step()


def muon_and_adamw(
    named: Iterable[tuple[str, nn.Parameter]], muon_lr: float, adamw_lr: float
) -> MuonAndAdamW:
    matrices, rest = [], []
    for name, parameter in named:
        fits = parameter.ndim == 2 and not any(part in name for part in NOT_MATRICES)
        (matrices if fits else rest).append(parameter)
    return MuonAndAdamW(
        torch.optim.Muon(matrices, muon_lr, weight_decay=0.01, momentum=0.95),
        torch.optim.AdamW(rest, adamw_lr, betas=(0.9, 0.98), weight_decay=0.0),
    )


def trapezoid(optimizer: MuonAndAdamW, step: int, steps: int) -> None:
    """Set the learning rates of `step` out of `steps`."""
    share = min(1.0, (step + 1) / (WARMUP * steps), (steps - step) / (COOLDOWN * steps))
    for group, peak in zip(optimizer.groups, optimizer.peaks, strict=True):
        group["lr"] = peak * share
