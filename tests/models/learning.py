"""A ladder that learns one batch by heart: so much its gradients must be good for."""

from __future__ import annotations

import dataclasses

from ladder.config.load import Config
from ladder.data.training.datamodule import Batch
from ladder.models.ladder import Ladder
from ladder.training.module import LadderModule

STEPS = 20


def learn(ladder: Ladder, batch: Batch, config: Config) -> None:
    """Train on the batch; everything trainable must get a gradient, and the loss must fall."""
    stage = dataclasses.replace(config.stages.t2i, lr=1e-3, warmup=1, noise_samples=1)
    module = LadderModule(ladder, stage, config.flow, "t2i", 0)
    optimizer = module.configure_optimizers()["optimizer"]
    losses = []
    for _ in range(STEPS):
        loss = module.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        assert all(value.grad is not None for value in ladder.trainable_parameters())
        assert ladder.queries.grad.abs().amax(1).min() > 0
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
