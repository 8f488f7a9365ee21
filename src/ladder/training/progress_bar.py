"""The progress bar of a stage, which counts optimizer steps, also after a resumption."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from ladder.training.monitor import GradientMonitor


class StepBar(ProgressBar):
    """A bar over the steps of the stage `name`, with loss, norm and skips up to now.

    Lightning's own counts micro-batches of an epoch that a stage doesn't have.
    """

    def __init__(self, name: str, monitor: GradientMonitor) -> None:
        super().__init__()
        self.name = name
        self.monitor = monitor
        self._bar: tqdm | None = None
        self._shown = True

    def disable(self) -> None:
        """Lightning asks for this on every rank but the first."""
        self._shown = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._bar = tqdm(
            desc=self.name,
            total=trainer.max_steps,
            initial=trainer.global_step,
            unit="step",
            mininterval=1.0,
            disable=not self._shown,
        )

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *batch: Any) -> None:
        done = trainer.global_step - self._bar.n
        if done:
            shown = {name: trainer.callback_metrics.get(name) for name in ("loss", "norm")}
            known = {name: f"{value:.3f}" for name, value in shown.items() if value is not None}
            self._bar.set_postfix(known | {"skipped": self.monitor.skipped}, refresh=False)
            self._bar.update(done)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._bar.close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        if self._bar is not None:
            self._bar.close()
