"""`ladder bench step`: our training step against the published one, from the same weights.

Both draw the same noise and times, and must find the same loss. A step is loss, gradients, clipping
and AdamW; the generator is checkpointed on both sides, and attention computed alike. Seconds are
measured in pairs, memory for each in a new process: how far its peak rises over two steps, above
the models and their weights. On a GPU each is measured alone, in seconds of time.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from ladder.config.load import load
from ladder.data.training.datamodule import Batch
from ladder.models.ladder import Ladder
from ladder.models.mllm.prompts import Prompts
from ladder.profiling.paired_timing import Pairs, alternate, memory_rise
from ladder.profiling.published_step import Published, encoded
from ladder.profiling.random_models import (
    SIZES,
    Size,
    SizeName,
    make_autoencoder,
    make_ladder,
    make_pictures,
    make_prompts,
)
from ladder.training.module import LadderModule, step_seed
from ladder.training.stages import attention

CAPTIONS = (60, 256)
"""Tokens."""
BATCH = 4
GPU_STEPS = 6
"""The first one, which finds the best kernels, isn't counted."""
TOLERANCE = 1e-5
"""Of the loss, relative."""
Way = Literal["ours", "published"]


@dataclass(frozen=True)
class Workload:
    """What a step is measured on."""

    size: SizeName
    tokens: int
    """Of a caption."""
    device: str = "cpu"

    @property
    def models(self) -> Size:
        return SIZES[self.size]

    def ladder(self) -> Ladder:
        dtype = torch.float32 if self.device == "cpu" else torch.bfloat16
        ladder = make_ladder(self.models, dtype, self.device)
        ladder.enable_gradient_checkpointing()
        return ladder.train()

    def prompts(self, ladder: Ladder) -> Prompts:
        texts = make_prompts(BATCH, self.tokens)
        return ladder.understanding.prepare(texts, [[]] * BATCH).to(self.device)

    def pixels(self) -> Tensor:
        pictures = np.stack(make_pictures(self.models, BATCH))
        return torch.from_numpy(pictures).to(self.device).permute(0, 3, 1, 2) / 127.5 - 1

    def latents(self) -> Tensor:
        """Noise in the shape of latents, where their values don't matter."""
        settings = self.models.generator
        side = settings["sample_size"]
        return torch.randn(BATCH, settings["in_channels"], side, side, device=self.device)


def step(size: SizeName, pairs: int, device: str) -> dict[str, Any]:
    """For each length of captions: the ratio of seconds, and that of the memory's rise.

    Raises ValueError if the two losses differ by more than TOLERANCE.
    """
    measured, steps = {}, 2 if device == "cpu" else GPU_STEPS
    for tokens in CAPTIONS:
        work = Workload(size, tokens, device)
        memory, seconds = {}, {}
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            for way in ("published", "ours"):
                memory[way], seconds[way] = pool.apply(alone, (work, way, steps))
        row: dict[str, Any] = {"memory_ratio": memory["ours"] / memory["published"], "MiB": memory}
        if device == "cpu":
            row |= compared(work, pairs)
        else:
            ratio = seconds["published"] / seconds["ours"]
            row |= {"ratio": {"median": ratio, "low": ratio, "high": ratio}, "seconds": seconds}
        measured[str(tokens)] = row
    return measured


def compared(work: Workload, pairs: int) -> dict[str, Any]:
    """CPU seconds of both in turn, after a first step of each, and once more with a prompt cache.

    Raises ValueError if the losses of the first steps differ by more than TOLERANCE.
    """
    ladder, autoencoder = work.ladder(), make_autoencoder(work.models, work.device)
    pixels, prompts = work.pixels(), work.prompts(ladder)
    with torch.no_grad():
        latents = encoded(autoencoder, pixels)
    with attention():
        theirs = published_step(Published(ladder, autoencoder), prompts, pixels)
        ours = lean_step(ladder, prompts, latents)
        losses = theirs(), ours()
        difference = abs(losses[0] - losses[1]) / abs(losses[0])
        if difference > TOLERANCE:
            raise ValueError(
                f"the losses of both ways must be equal to {TOLERANCE}, got {losses[0]} published "
                f"and {losses[1]} ours"
            )
        found = alternate(theirs, ours, pairs)
        with tempfile.TemporaryDirectory() as folder:
            ladder.understanding.prompt_cache = Path(folder)
            ours()
            kept = alternate(theirs, ours, pairs)
    return {
        **times(found),
        "loss_difference": difference,
        "readings_kept": times(kept),
    }


def times(found: Pairs) -> dict[str, Any]:
    """What pairs have found, for JSON."""
    seconds = {"ours": found.ours, "published": found.theirs}
    return {"ratio": asdict(found.ratio), "seconds": seconds}


def alone(work: Workload, way: Way, steps: int) -> tuple[float, float]:
    """MiB by which the peak of this process rises in so many steps, and seconds of one, but for the
    first."""
    ladder = work.ladder()
    prompts = work.prompts(ladder)
    if way == "ours":
        take = lean_step(ladder, prompts, work.latents())
    else:
        model = Published(ladder, make_autoencoder(work.models, work.device))
        del ladder
        take = published_step(model, prompts, work.pixels())
    seconds = []

    def run() -> None:
        for _ in range(steps):
            begun = time.perf_counter()
            take()
            seconds.append(time.perf_counter() - begun)

    with attention():
        if work.device == "cpu":
            rise = memory_rise(run)
            return rise, median(seconds[1:])
        before = torch.cuda.memory_allocated()
        run()
    return (torch.cuda.max_memory_allocated() - before) / 2**20, median(seconds[1:])


def lean_step(ladder: Ladder, prompts: Prompts, latents: Tensor) -> Callable[[], float]:
    """Our step on one batch, as the stages take it."""
    config = load("paper")
    module = LadderModule(ladder, replace(config.stages.t2i, accumulate=1), config.flow, "t2i", 0)
    optimizer = module.configure_optimizers()["optimizer"]
    batch = Batch(latents, prompts, [str(number) for number in range(BATCH)])
    return lambda: taken(lambda: module.training_step(batch, 0), optimizer, latents.device)


def published_step(model: Published, prompts: Prompts, pixels: Tensor) -> Callable[[], float]:
    """The published step on one batch."""
    config = load("paper")
    optimizer = model.optimizer(config.stages.t2i)

    def loss() -> Tensor:
        generator = torch.Generator().manual_seed(step_seed(0, "t2i", 0, 0, 0))
        return model.loss(pixels, prompts, config.flow, generator)

    return lambda: taken(loss, optimizer, pixels.device)


def taken(loss: Callable[[], Tensor], optimizer: Optimizer, device: torch.device) -> float:
    """Take a step; its loss."""
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        value = loss()
    value.backward()
    clip_grad_norm_([x for group in optimizer.param_groups for x in group["params"]], 0.5)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return value.item()
