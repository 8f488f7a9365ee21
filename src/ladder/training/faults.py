"""Faults put into training on purpose: what a gradient monitor is there to catch.

Which steps are spoilt, and how, depends on the seed of the faults and the number of the step alone,
so every arm of a comparison, whichever its monitor, meets the same ones:

spike    the gradient is SPIKE times as long: a loss that explodes, in the right direction
noise    the gradient is noise, NOISE times as long as it was: an overflow, a broken reduction
nan      one value of the gradient is no number
garbage  the latents of the batch are GARBAGE times too large: corrupt data

The first three come after the backward pass and before the monitor, the last before the forward
pass. faults.jsonl gets a line for each.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import xxhash
from jaxtyping import Float
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch.optim import Optimizer

from ladder.config.load import Faults
from ladder.data.training.datamodule import Batch
from ladder.training.monitor import keep_before

SPIKE, NOISE, GARBAGE = 300.0, 30.0, 20.0


class FaultInjector(Callback):
    """Spoils some steps; stands before the monitor in the list of callbacks."""

    def __init__(self, faults: Faults, record: Path) -> None:
        self.faults = faults
        self.record = record

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drops the faults after the checkpoint that training goes on from."""
        if trainer.is_global_zero:
            keep_before(trainer.global_step, self.record)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        if fault_at(trainer.global_step, self.faults) == "garbage":
            batch.latents.mul_(GARBAGE)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        kind = fault_at(trainer.global_step, self.faults)
        if kind is None:
            return
        gradients = [
            value.grad
            for group in optimizer.param_groups
            for value in group["params"]
            if value.grad is not None
        ]
        spoil(kind, gradients, seed_of(trainer.global_step, self.faults))
        if trainer.is_global_zero:
            with self.record.open("a") as file:
                file.write(json.dumps({"step": trainer.global_step, "kind": kind}) + "\n")


def fault_at(step: int, faults: Faults) -> str | None:
    """The kind of fault that a step has, or None."""
    rng = np.random.default_rng(seed_of(step, faults))
    return str(rng.choice(faults.kinds)) if rng.random() < faults.rate else None


def seed_of(step: int, faults: Faults) -> int:
    """A hash, so that neighbouring steps and seeds have nothing in common."""
    return xxhash.xxh64_intdigest(f"fault {faults.seed} {step}".encode()) >> 1


def spoil(kind: str, gradients: list[Float[torch.Tensor, "*_"]], seed: int) -> None:
    """Change gradients in place as a fault of `kind` would; "garbage" has done so already."""
    if kind == "spike":
        for gradient in gradients:
            gradient.mul_(SPIKE)
    elif kind == "nan":
        gradients[0].view(-1)[0] = torch.nan
    elif kind == "noise":
        norm = torch.nn.utils.get_total_norm(gradients)
        generator = torch.Generator().manual_seed(seed)  # on the CPU: the same on every device
        for gradient in gradients:
            gradient.copy_(torch.randn(gradient.shape, generator=generator))
        scale = NOISE * norm / torch.nn.utils.get_total_norm(gradients)
        for gradient in gradients:
            gradient.mul_(scale)
