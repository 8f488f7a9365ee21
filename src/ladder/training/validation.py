"""The loss on held-out samples under fixed noise, while a stage trains and of a trained ladder.

It differs from the training loss in that nothing of it is drawn anew: samples, captions, noise and
times are the same each time, so that a change of it is one of the ladder. It tells arms apart
before pictures do.

Letters: B samples, C H W channels, height and width of latents.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from datasets import Dataset
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from ladder.config.load import ConditionDropout
from ladder.data.training.datamodule import Mixture, collate
from ladder.data.training.encoded import open_split
from ladder.data.training.sampler import Draw
from ladder.models import rectified_flow
from ladder.models.ladder import Ladder
from ladder.training.checkpoints import require_finite_weights
from ladder.training.module import LadderModule
from ladder.training.strategies.fsdp import ShardedStrategy

TIMES = (0.2, 0.4, 0.6, 0.8, 0.9, 0.97)
"""At which the loss is taken; the later, the more noise."""
BATCH, SAMPLES = 64, 256
"""Samples at once, and of a set, where nothing else is said."""
NOTHING_DROPPED = ConditionDropout(t2i_text=0.0, edit_text=0.0, edit_both=0.0, edit_image=0.0)


class HeldOutLoss(Callback):
    """Logs the loss on held-out samples of each set every `every` steps, beside the training's.

    Its curves are validation_SET. It is that of the averaged weights, which are what comes out.
    Where weights are whole, the first process computes it and the others wait.
    """

    def __init__(
        self, encoded: Path, sets: Sequence[str], every: int, samples: int, batch: int
    ) -> None:
        """`samples` of each set at most, `batch` of them at once.

        Raises ValueError where no set has a held-out sample.
        """
        self.encoded, self.every, self.samples, self.batch = encoded, every, samples, batch
        self.sets = [name for name in sets if (encoded / name / "evaluation").is_dir()]
        if not self.sets:
            raise ValueError(
                "training.validation.every above 0 needs held-out samples (curation."
                f"evaluation_share), {encoded} has none of {', '.join(sets)}"
            )
        self._seen = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._seen = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LadderModule, *batch: Any) -> None:
        step = trainer.global_step
        if step > self._seen and step % self.every == 0:
            require_finite_weights(trainer, pl_module)
            everywhere = isinstance(trainer.strategy, ShardedStrategy)
            pl_module.ladder.eval()
            with pl_module.ema.applied():
                if trainer.is_global_zero or everywhere:
                    self._log(trainer, pl_module, step - 1)
            pl_module.ladder.train()
        self._seen = step

    def _log(self, trainer: Trainer, module: LadderModule, step: int) -> None:
        """Log the mean loss of each set as that of `step`, the last one that was made."""
        losses = {}
        for name in self.sets:
            with trainer.precision_plugin.forward_context():
                found = heldout_losses(
                    module.ladder, self.encoded, name, self.samples, batch=self.batch
                )
            losses[f"validation_{name}"] = float(found.to_numpy().mean())
        for logger in trainer.loggers:
            logger.log_metrics(losses, step)


@torch.no_grad()
def heldout_losses(
    ladder: Ladder,
    encoded: Path,
    name: str = "t2i",
    samples: int = SAMPLES,
    times: Sequence[float] = TIMES,
    batch: int = BATCH,
    seed: int = 0,
) -> pd.DataFrame:
    """The loss of the first held-out samples of a set: a row a sample, a column a time.

    The noise is that of `seed`: the same for every ladder, and whatever the `batch`. Mean squared
    errors of the velocity. The index are the captions.
    """
    found: dict[float, list[float]] = {s: [] for s in times}
    captions: list[str] = []
    for bucket, held, noise in _fixed(encoded / name / "evaluation", samples, seed):
        mixture = Mixture({name: {bucket: held}}, NOTHING_DROPPED)
        for first in range(0, len(noise), batch):
            rows = range(first, min(first + batch, len(noise)))
            items = mixture.__getitems__([Draw(name, row, (0, row), bucket) for row in rows])
            captions += [item.conditions.caption for item in items]
            own = collate(items, ladder.understanding.prepare).to(ladder.device)
            conditions = ladder.conditions(own.prompts)
            drawn = noise[rows.start : rows.stop].to(own.latents)
            wanted = rectified_flow.target(own.latents, drawn)
            for s in times:
                time = torch.full((len(rows),), s, device=ladder.device)
                noisy = rectified_flow.noisy(own.latents, drawn, time).to(ladder.queries.dtype)
                velocity = ladder.velocity(noisy, time * rectified_flow.TIMESTEPS, conditions)
                errors = (velocity.float() - wanted.float()).square().flatten(1).mean(1)
                found[s] += errors.tolist()
    index = pd.Index(captions, name="prompt")
    return pd.DataFrame(found, index=index).rename_axis(columns="time")


def _fixed(split: Path, samples: int, seed: int) -> Iterator[tuple[str, Dataset, torch.Tensor]]:
    """The first samples of a split by bucket, each with its noise from `seed`.

    Buckets have their shares of `samples`, and each at least one.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = open_split(split)
    total = sum(map(len, parts.values()))
    for bucket, held in sorted(parts.items()):
        count = min(len(held), max(1, samples * len(held) // total))
        shape = (count, *held.features["latents"].shape)
        yield bucket, held, torch.randn(shape, generator=generator)
