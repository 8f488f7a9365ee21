"""The gradient monitor: checks every step before it is taken, and skips or undoes bad ones.

It runs in `on_before_optimizer_step`, which Lightning calls once a step: after the last micro-batch
and the reduction over ranks, before clipping. On a skip the gradients become None, so the optimizer
leaves weights, moments and weight decay alone; the schedule and the data go on. When the patience
ends, the last checkpoint comes back: its weights, its moments and the rule's own baseline. The data
still goes on, so nothing bad is met twice. After too many of those the run stops, and its last good
checkpoint stays. Other callbacks see by `took_step` what happened.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy
from torch import Tensor
from torch.optim import Optimizer

from ladder.config.files import write_text
from ladder.config.load import Monitor
from ladder.training.monitor_rules import Decision, State, check_step
from ladder.training.strategies.fsdp import whole

__all__ = [
    "Decision",
    "DivergedError",
    "GradientMonitor",
    "State",
    "check_step",
    "keep_before",
    "took_step",
]

log = logging.getLogger(__name__)


class DivergedError(RuntimeError):
    """Training goes bad again and again, or has left weights that aren't finite."""


class GradientMonitor(Callback):
    """Applies `check_step` to a training, with skips, returns to a checkpoint, and an end.

    `events` gets a line of JSON for each step that wasn't taken: step, loss, norm (null where not
    finite), verdict ("skip", "go back" or "stop"), reason, and the keys of the step's samples on
    all ranks. `go_back` restores the last checkpoint and returns it. Raises DivergedError when the
    patience ends for the (`config.rollbacks` + 1)th time.
    """

    def __init__(
        self, config: Monitor, events: Path, go_back: Callable[[Trainer], dict[str, Any]]
    ) -> None:
        self.config = config
        self.events = events
        self.go_back = go_back
        self.state = State()
        self.rollbacks = 0
        self.skipped = 0
        """Steps of the run that weren't taken."""
        self._losses: list[Float[Tensor, ""]] = []
        self._keys: list[str] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Raises ValueError for strategies under which a skip would do nothing."""
        if self.config.rule != "off" and isinstance(
            trainer.strategy, DeepSpeedStrategy | FSDPStrategy
        ):
            raise ValueError(
                "monitor.rule must be off where gradients are hidden or sharded, "
                f"as {type(trainer.strategy).__name__} does; got {self.config.rule}"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drops the events after the checkpoint that training goes on from."""
        if trainer.is_global_zero:
            keep_before(trainer.global_step, self.events)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._keys += getattr(batch, "keys", [])

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Float[Tensor, ""]
    ) -> None:
        # Already divided by the number of micro-batches, so the step's loss is the sum.
        self._losses.append(loss.detach())

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        loss, norm = reduced(trainer, torch.stack(self._losses).sum(), optimizer)
        decision = check_step(loss, norm, self.state, self.config)
        self.state = decision.state
        if not decision.take:
            optimizer.zero_grad(set_to_none=True)
            self.skipped += 1
            self._respond(trainer, decision, loss, norm)
        measured = {"loss": loss, "norm": norm, "skipped": float(not decision.take)}
        measured["lr"] = optimizer.param_groups[0]["lr"]
        # Lightning writes its rows after the checkpoint; a kill in between would lose them.
        for logger in trainer.loggers:
            logger.log_metrics(measured, trainer.global_step)
        pl_module.log_dict(measured, logger=False)
        self._losses, self._keys = [], []

    def state_dict(self) -> dict[str, Any]:
        return {
            "state": asdict(self.state),
            "rollbacks": self.rollbacks,
            "skipped": self.skipped,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.state = State(**state_dict["state"])
        self.rollbacks, self.skipped = state_dict["rollbacks"], state_dict["skipped"]

    def _respond(self, trainer: Trainer, decision: Decision, loss: float, norm: float) -> None:
        """Record a skip; where it was one too many, go back or stop."""
        answer = "skip"
        if decision.exhausted:
            answer = "go back" if self.rollbacks < self.config.rollbacks else "stop"
        event = {
            "step": trainer.global_step,
            "loss": loss if math.isfinite(loss) else None,
            "norm": norm if math.isfinite(norm) else None,
            "verdict": answer,
            "reason": decision.reason,
            "keys": gathered(trainer, self._keys),
        }
        if trainer.is_global_zero:
            with self.events.open("a") as file:
                file.write(json.dumps(event, allow_nan=False) + "\n")
        text = f"step {trainer.global_step}: {decision.reason}; {answer}"
        log.warning(text)
        if answer == "stop":
            raise DivergedError(
                f"{self.config.patience} skips in a row, and going back {self.rollbacks} times "
                f"didn't help; last at {text}; the steps are in {self.events}"
            )
        if answer == "go back":
            self.rollbacks += 1
            saved = State(**self.go_back(trainer)["callbacks"][self.state_key]["state"])
            # A checkpoint of the first steps has no baseline yet, and would let anything pass.
            if saved.accepted >= self.config.warmup:
                self.state = replace(saved, rejected=0)


def keep_before(step: int, record: Path) -> None:
    """Drop what a file of events, a line each, says of `step` and later; made if it isn't there."""
    text = record.read_text() if record.exists() else ""
    # A kill or a full disk may have left half a line at the end.
    lines = text[: text.rfind("\n") + 1].splitlines()
    kept = [line for line in lines if json.loads(line)["step"] < step]
    write_text(record, "".join(f"{line}\n" for line in kept))


def took_step(optimizer: Optimizer) -> bool:
    """Whether the optimizer's last step was made: a skipped one has no gradients."""
    return any(
        value.grad is not None for group in optimizer.param_groups for value in group["params"]
    )


def reduced(trainer: Trainer, loss: Float[Tensor, ""], optimizer: Optimizer) -> tuple[float, float]:
    """Loss and gradient norm as means over the ranks, so that all of them decide alike.

    Under DDP the gradients are equal on all ranks already, and so is their norm; where they are
    sharded, it is put together from those of the parts.
    """
    gradients = [
        value.grad
        for group in optimizer.param_groups
        for value in group["params"]
        if value.grad is not None
    ]
    norm = whole(torch.nn.utils.get_total_norm(gradients))
    both = torch.stack([loss.float(), norm.to(loss.device).float()])
    loss, norm = trainer.strategy.reduce(both, reduce_op="mean").tolist()
    return loss, norm


def gathered(trainer: Trainer, keys: list[str]) -> list[str]:
    """The keys of all ranks, which must all call this."""
    if trainer.world_size == 1:
        return keys
    everyone: list[list[str]] = [[] for _ in range(trainer.world_size)]
    torch.distributed.all_gather_object(everyone, keys)
    return [key for rank in everyone for key in rank]
