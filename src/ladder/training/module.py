"""One training step of a ladder, its optimizer and schedule, as a Lightning module.

What is random in a step depends only on (seed, stage, rank, step, micro-step): ranks draw apart,
and a resumed run draws what it would have drawn.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import torch
import xxhash
from jaxtyping import Float
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import Parameter
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from ladder.config.load import Flow, Stage
from ladder.data.training.datamodule import Batch
from ladder.models import rectified_flow
from ladder.models.generator.families import CAPTION_PARTS
from ladder.models.ladder import Ladder
from ladder.models.lora import is_adapter
from ladder.training.ema import WeightEMA
from ladder.training.monitor import took_step
from ladder.training.strategies.deepspeed import ZeroStrategy
from ladder.training.strategies.fsdp import shard

BETAS = (0.9, 0.999)
"""Of AdamW, as in the paper."""
AVERAGE = "average"
"""Key of the averaged weights in a checkpoint."""


class LadderModule(LightningModule):
    """Trains `ladder` on rectified flow; the average of its weights is what comes out.

    Its state is that of what is trained: the frozen MLLM is in no checkpoint.
    """

    def __init__(
        self,
        ladder: Ladder,
        stage: Stage,
        flow: Flow,
        name: str,
        seed: int,
        query_noise: float = 0.0,
        compiled: bool = False,
        fused: bool = False,
    ) -> None:
        """`name` of the stage and `seed` choose the noise and the times.

        `query_noise` is the deviation of the noise on the queries, as a share of the embeddings'.
        `compiled`: the generator is compiled, for the steps alone and not for what is drawn.
        `fused`: AdamW steps all weights in one kernel.
        """
        super().__init__()
        self.ladder = ladder
        self.compiled = torch.compile(ladder.velocity) if compiled else None
        self.fused = fused
        self.query_noise = query_noise * ladder.understanding.embedding_std
        self.stage, self.flow, self.name, self.seed = stage, flow, name, seed
        self.ema = WeightEMA(ladder.trainable_parameters(), stage.ema)

    def configure_model(self) -> None:
        """Spread the ladder over processes, or its average alone, where the strategy does so."""
        strategy = self.trainer.strategy
        if self.device_mesh is not None:
            shard(self.ladder, self.device_mesh["data_parallel"])
            self.ema = WeightEMA(self.ladder.trainable_parameters(), self.stage.ema)
        elif isinstance(strategy, ZeroStrategy):
            weights = self.ladder.trainable_parameters()
            self.ema = WeightEMA(weights, self.stage.ema, strategy.mesh)

    def training_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, ""]:
        """The mean squared error of the velocity at one random time a sample."""
        # Drawn on the CPU, so that the noise is the same on every device.
        generator = torch.Generator().manual_seed(
            step_seed(
                self.seed,
                self.name,
                self.global_rank,
                self.global_step,
                batch_idx % self.stage.accumulate,
            )
        )
        latents = batch.latents.repeat(self.stage.noise_samples, 1, 1, 1)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        s = rectified_flow.times(len(latents), self.flow.shift, generator).to(latents.device)
        noisy = rectified_flow.noisy(latents, noise, s).to(self.ladder.queries.dtype)
        queries = self.ladder.queries
        shaken = None
        if self.query_noise:
            drawn = torch.randn(len(batch.latents), *queries.shape, generator=generator)
            shaken = self.query_noise * drawn.to(queries)
        conditions = self.ladder.conditions(batch.prompts, shaken)
        conditions = conditions.repeat(self.stage.noise_samples, 1, 1)
        predict = self.compiled or self.ladder.velocity
        velocity = predict(noisy, s * rectified_flow.TIMESTEPS, conditions)
        return rectified_flow.loss(velocity, latents, noise)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW; matrices and kernels decay, vectors, norms and tables (see `decays`) don't.

        The queries and the generator's pretrained blocks (see `pretrained`) learn at rates of
        their own.
        """
        groups: dict[tuple[float, bool], list[Parameter]] = defaultdict(list)
        for name, value in self.ladder.named_trainables():
            groups[self._share(name), value.ndim > 1 and decays(name)].append(value)
        optimizer = AdamW(
            [
                {
                    "params": values,
                    "lr": self.stage.lr * share,
                    "weight_decay": self.stage.weight_decay if decayed else 0.0,
                }
                for (share, decayed), values in sorted(
                    groups.items(), key=lambda item: item[0], reverse=True
                )
            ],
            betas=BETAS,
            fused=self.fused or None,
        )
        schedule = LambdaLR(optimizer, lambda step: rate(step, self.stage) / self.stage.lr)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _share(self, name: str) -> float:
        """The learning rate of a parameter as a share of the stage's."""
        if name == "queries":
            return self.stage.query_lr_scale
        return self.stage.generator_lr_scale if pretrained(name) else 1.0

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, *args: Any) -> None:
        """The step, and the average after it; a skipped step leaves the average alone."""
        super().optimizer_step(epoch, batch_idx, optimizer, *args)
        if took_step(optimizer):
            self.ema.update()

    def on_fit_start(self) -> None:
        self.ema.to(self.device)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """What is trained."""
        return self.ladder.trainable_state()

    def load_state_dict(self, state_dict: dict[str, Tensor], *args: Any, **kwargs: Any) -> None:
        """Take over such a state. Raises ValueError for missing or unexpected keys."""
        self.ladder.load_trainable_state(state_dict)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[AVERAGE] = self.ema.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.ema.load(checkpoint[AVERAGE], self.trainer.strategy.root_device)


def rate(step: int, stage: Stage) -> float:
    """The learning rate of step 0, 1, ..: linear warm-up to `lr`, then a cosine to `final_lr`.

    The warm-up's first step is made at lr / warmup, the last step of all at `final_lr`.
    """
    if step < stage.warmup:
        return stage.lr * (step + 1) / stage.warmup
    progress = (step - stage.warmup) / max(stage.steps - 1 - stage.warmup, 1)
    cosine = (1 + math.cos(math.pi * min(progress, 1.0))) / 2
    return stage.final_lr + (stage.lr - stage.final_lr) * cosine


def step_seed(seed: int, stage: str, rank: int, step: int, micro: int) -> int:
    """Seeds noise and times of one micro-batch; a hash, so that neighbours have nothing in common.

    torch.Generator takes 63 bits.
    """
    return xxhash.xxh64_intdigest(f"{seed} {stage} {rank} {step} {micro}".encode()) >> 1


def pretrained(name: str) -> bool:
    """Whether a parameter belongs to what the generator knows already, and not to what is new:
    queries, connector, low-rank changes (of the MLLM too), and the generator's projection of
    captions, if any."""
    own = name.removeprefix("generator.")
    return own != name and not own.startswith(CAPTION_PARTS) and not is_adapter(name)


def decays(name: str) -> bool:
    """Whether a parameter of more than one dimension decays: tables, for which 0 means something
    (no shift, the mean of all layers, no query at all), don't."""
    return not name.endswith(("queries", "mixture.weights", "scale_shift_table"))
