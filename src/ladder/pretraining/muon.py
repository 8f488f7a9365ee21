"""How the foundations are optimised: Muon on matrices, AdamW on the rest, a trapezoid of rates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

WARMUP, COOLDOWN = 0.03, 0.4
"""Shares of the steps in which the rates rise from 0 and fall back to 0."""
NOT_MATRICES = ("embed", "lm_head", "norm", "scale_shift_table", "proj_out", "pos")
"""Parts of names of two-dimensional parameters that Muon is not made for."""
MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration (https://kellerjordan.github.io/posts/muon)."""


class Muon(torch.optim.Optimizer):
    """Momentum whose every update is made orthogonal: Muon with Nesterov's momentum.

    `torch.optim.Muon` computes in bfloat16, which takes most of a step on CPUs that have no
    instructions for it; this one computes in float32, and matrices of one shape together.
    """

    def __init__(self, matrices: list[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            shapes: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for matrix in group["params"]:
                shapes[matrix.shape].append(matrix)
            for (rows, columns), matrices in shapes.items():
                updates = orthogonal(torch.stack([self._update(matrix) for matrix in matrices]))
                lr = group["lr"] * max(1, rows / columns) ** 0.5
                for matrix, update in zip(matrices, updates, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=lr)

    def _update(self, matrix: nn.Parameter) -> Tensor:
        state = self.state[matrix]
        if not state:
            state["momentum"] = torch.zeros_like(matrix)
        momentum = state["momentum"].lerp_(matrix.grad, 1 - MOMENTUM)
        return matrix.grad.lerp(momentum, MOMENTUM)


def orthogonal(matrices: Float[Tensor, "N A B"]) -> Float[Tensor, "N A B"]:
    """About the nearest semi-orthogonal matrices: singular values end between 0.7 and 1.2."""
    a, b, c = NEWTON_SCHULZ
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class MuonAndAdamW:
    """Two optimizers stepped as one; gradients are clipped to a norm of 1."""

    def __init__(self, muon: Muon, adamw: torch.optim.AdamW) -> None:
        self.parts = (muon, adamw)
        self.groups = [group for part in self.parts for group in part.param_groups]
        self.peaks = [group["lr"] for group in self.groups]

    def step_on(self, loss: Tensor) -> None:
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
        Muon(matrices, muon_lr, weight_decay=0.01),
        torch.optim.AdamW(rest, adamw_lr, betas=(0.9, 0.98), weight_decay=0.0),
    )


def trapezoid(optimizer: MuonAndAdamW, step: int, steps: int) -> None:
    """Set the learning rates of `step` out of `steps`."""
    share = min(1.0, (step + 1) / (WARMUP * steps), (steps - step) / (COOLDOWN * steps))
    for group, peak in zip(optimizer.groups, optimizer.peaks, strict=True):
        group["lr"] = peak * share
