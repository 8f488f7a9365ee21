"""The checkpoints of a running stage: to go on after an interruption, and to go back to.

The last one is last.ckpt. Those before it, if any are kept, are step-00001000.ckpt by their step;
one that is copied to last.ckpt is what the next run goes on from.

A file holds what Lightning restores (trained weights, moments, schedule, position, monitor) with
the averaged weights and the configuration. It is written only after a step that was taken and left
finite weights, so that the last one is always good. That one is removed when the stage is finished.
"""

from __future__ import annotations

import os
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins import TorchCheckpointIO

from ladder.config.files import settle
from ladder.config.load import require_same
from ladder.training.monitor import DivergedError, took_step
from ladder.training.strategies.fsdp import whole

CONFIG = "config"
"""Key of the configuration in a checkpoint."""
FREE = ("monitor",)
"""Sections that may be changed when a stage goes on, or before the next one begins."""
EARLIER = re.compile(r"step-(\d{8})\.ckpt")
"""Names of the checkpoints before the last one."""


class Checkpoints(Checkpoint):
    """Writes `path` at the start and after every `every` steps, and restores it.

    It keeps `keep` checkpoints, the last one among them. `config` are the settings that the run
    depends on. Raises ValueError where `path` exists and has other ones.
    """

    def __init__(self, path: Path, every: int, config: dict[str, Any], keep: int = 1) -> None:
        self.path = path
        self.every = every
        self.config = config
        self.keep = keep
        self.step = 0
        """The step that training goes on from."""
        self._seen = 0
        if path.exists():
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            where = f"{path} (remove it to begin this stage anew)"
            require_same(config, found[CONFIG], where, FREE)
            self.step = found["global_step"]
        self._written = self.step

    def resume(self) -> Path | None:
        """What an interrupted run left, if it did."""
        return self.path if self.path.exists() else None

    def write(self, trainer: Trainer) -> None:
        """Write the checkpoint; all ranks call this. A renamed file is whole."""
        part = self.path.with_suffix(".part")
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            if self.keep > 1 and self.path.exists():
                self._keep_last()
            settle(part, self.path)
            self._written = trainer.global_step
        trainer.strategy.barrier()

    def _keep_last(self) -> None:
        """Give the last checkpoint a second name, by its step, and remove what is too old.

        What is later than it was made by a run that was gone back from.
        """
        own = self.path.with_name(f"step-{self._written:08}.ckpt")
        own.unlink(missing_ok=True)
        os.link(self.path, own)
        earlier = sorted(earlier_than_last(self.path.parent))
        past = [path for path in earlier if path <= own]
        for path in {*earlier} - {*past[-(self.keep - 1) :]}:
            path.unlink()

    def go_back(self, trainer: Trainer) -> dict[str, Any]:
        """Restore weights, averages and moments; the position, and so the data, goes on.

        Returns the checkpoint, from which callbacks take back what they kept in it.

        The optimizer's learning rates are the checkpoint's until the schedule sets them, which
        Lightning has it do after each step.
        """
        checkpoint = trainer.strategy.load_checkpoint(self.path, weights_only=True)
        trainer.lightning_module.on_load_checkpoint(checkpoint)
        trainer.strategy.load_model_state_dict(checkpoint)
        trainer.strategy.load_optimizer_state_dict(checkpoint)
        return checkpoint

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._seen = trainer.global_step
        if trainer.global_step == 0:
            self.write(trainer)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *batch: Any) -> None:
        step = trainer.global_step
        if step > self._seen and step % self.every == 0 and took_step(trainer.optimizers[0]):
            require_finite_weights(trainer, pl_module)
            self.write(trainer)
        self._seen = step

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        require_finite_weights(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[CONFIG] = self.config


def earlier_than_last(folder: Path) -> list[Path]:
    """The checkpoints of a stage before the last one."""
    return [path for path in folder.iterdir() if EARLIER.fullmatch(path.name)]


class FileIO(TorchCheckpointIO):
    """Checkpoints from memory to a file and back, without a copy of the whole in memory.

    Lightning's own writes one into memory before the file (it gathers 26 GB for the paper's), and
    reads it whole. Whoever writes renames the finished file: see `Checkpoints.write`.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Path | str, storage_options: Any | None = None
    ) -> None:
        """Write it, tensor by tensor."""
        torch.save(checkpoint, path)

    def load_checkpoint(
        self, path: Path | str, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """The content, mapped on the CPU and not yet read; nothing is unpickled but tensors and
        plain values.

        An optimizer keeps the moments that it is given, and one of them that lies in the file would
        keep all of it in memory: they are read.
        """
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return content | {"optimizer_states": deepcopy(content.get("optimizer_states", []))}


def require_finite_weights(trainer: Trainer, pl_module: LightningModule) -> None:
    """Raises DivergedError on all ranks where a weight that is trained isn't finite on one."""
    spoilt = [
        name
        for name, value in pl_module.named_parameters()
        if value.requires_grad and not whole(value.detach()).isfinite().all()
    ]
    if not trainer.strategy.reduce_boolean_decision(not spoilt, all=True):
        raise DivergedError(
            f"weights must be finite, got {', '.join(spoilt[:3])} of {len(spoilt)} that aren't "
            f"after step {trainer.global_step}; only the last good checkpoint is kept"
        )
