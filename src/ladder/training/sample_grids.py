"""Grids of pictures drawn while a stage trains: the same prompts from the same noise each time.

The prompts are held-out samples of the stage's sets, so any data set has them. An edit shows its
source above its result. What is drawn comes from the averaged weights, as after the training.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from datasets import concatenate_datasets
from diffusers.utils import make_image_grid
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from PIL import Image

from ladder.config.files import replacing, write_text
from ladder.config.load import Sampling
from ladder.data.resize import fit
from ladder.data.training.encoded import open_split
from ladder.inference.pipeline import LadderPipeline
from ladder.training.checkpoints import require_finite_weights
from ladder.training.loggers import log_image
from ladder.training.module import LadderModule
from ladder.training.strategies.fsdp import ShardedStrategy

PROMPTS = 8
"""Of each set."""


@dataclass(frozen=True)
class Prompt:
    """One thing to draw."""

    text: str
    images: tuple[Image.Image, ...]
    """Sources of an edit."""


class Grids(Callback):
    """Writes `folder`/STEP.png every `every` steps, and hands it to the loggers.

    The texts are in `folder`/prompts.json, in the order of the pictures.
    """

    def __init__(
        self,
        pipeline: LadderPipeline,
        prompts: Sequence[Prompt],
        every: int,
        sampling: Sampling,
        seed: int,
        folder: Path,
    ) -> None:
        self.pipeline, self.prompts = pipeline, prompts
        self.every, self.sampling, self.seed, self.folder = every, sampling, seed, folder
        self._seen = 0
        pipeline.set_progress_bar_config(disable=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._seen = trainer.global_step
        if trainer.is_global_zero:
            texts = [prompt.text for prompt in self.prompts]
            write_text(self.folder / "prompts.json", json.dumps(texts, indent=1) + "\n")

    def on_train_batch_end(self, trainer: Trainer, pl_module: LadderModule, *batch: Any) -> None:
        step = trainer.global_step
        # Where weights are sharded, every process has to take part.
        draws = trainer.is_global_zero or isinstance(trainer.strategy, ShardedStrategy)
        due = step > self._seen and step % self.every == 0
        if due:
            require_finite_weights(trainer, pl_module)
        if due:
            self.pipeline.vae.to(pl_module.device)
            pl_module.ladder.eval()
            with pl_module.ema.applied():
                grid = self.draw() if draws else None
            pl_module.ladder.train()
            if trainer.is_global_zero:
                with replacing(self.folder / f"{step:06d}.png") as part:
                    grid.save(part, "PNG")
                for logger in trainer.loggers:
                    log_image(logger, "samples", step, grid)
        self._seen = step

    def draw(self) -> Image.Image:
        """The grid, drawn by the weights as they are, `sampling.batch` pictures at once, all in
        one size."""
        width, height = self.pipeline.size_for([])
        generator = torch.Generator().manual_seed(self.seed)
        pictures: list[Image.Image] = []
        for first in range(0, len(self.prompts), self.sampling.batch):
            prompts = self.prompts[first : first + self.sampling.batch]
            pictures += self.pipeline(
                [prompt.text for prompt in prompts],
                image=[list(prompt.images) for prompt in prompts],
                num_inference_steps=self.sampling.steps,
                guidance_scale=self.sampling.guidance,
                image_guidance_scale=self.sampling.image_guidance,
                height=height,
                width=width,
                generator=generator,
            ).images
        return arranged(self.prompts, pictures)


def arranged(prompts: Sequence[Prompt], pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures in rows of at most `PROMPTS`; a row of edits has their first sources above it."""
    size = pictures[0].size
    columns = min(PROMPTS, len(pictures))
    tiles: list[Image.Image] = []

    def add_row(row: list[Image.Image]) -> None:
        blank = [Image.new("RGB", size, "white")] * (columns - len(row))
        tiles.extend([*(fit(tile, size) for tile in row), *blank])

    drawn = zip(prompts, pictures, strict=True)
    for edits, group in groupby(drawn, key=lambda pair: bool(pair[0].images)):
        pairs = list(group)
        for first in range(0, len(pairs), columns):
            row = pairs[first : first + columns]
            if edits:
                add_row([prompt.images[0] for prompt, _ in row])
            add_row([picture for _, picture in row])
    return make_image_grid(tiles, rows=len(tiles) // columns, cols=columns)


def fixed_prompts(encoded: Path, sets: Sequence[str]) -> list[Prompt]:
    """The first held-out samples of each set of `encoded`; a set without any has none."""
    prompts = []
    for name in sets:
        folder = encoded / name / "evaluation"
        if not folder.is_dir():
            continue
        rows = concatenate_datasets(
            [
                data.select_columns(["captions", "sources"]).take(min(PROMPTS, len(data)))
                for data in open_split(folder).values()
            ]
        )
        for row in rows.take(min(PROMPTS, len(rows))):
            images = tuple(image.convert("RGB") for image in row["sources"])
            prompts.append(Prompt(row["captions"][0], images))
    return prompts
