"""Encoded sets to batches, each a pure function of (seed, stage, rank, step).

Captions and dropping are redrawn at every step and never cached: with both fixed per sample, longer
training made the scores fall.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from datasets import Dataset, load_from_disk
from jaxtyping import Float
from lightning import LightningDataModule
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from ladder.config.load import ConditionDropout, Stage
from ladder.data.training.condition_dropout import Conditions, drop
from ladder.data.training.sampler import Draw, StepBatches
from ladder.world.caption_templates import follows_geneval
from ladder.world.templates import follows_geneval_toy

__all__ = ["Batch", "Conditions", "Item", "LadderData", "Mixture", "StepBatches", "collate", "drop"]

# Shapes: B samples of a batch, C H W channels, height and width of latents.


@runtime_checkable
class Prompts(Protocol):
    """Tokenised prompts of a batch, as `ladder.models.mllm.frozen` prepares them."""

    def to(self, device: torch.device | str) -> Prompts: ...


Prepare = Callable[[Sequence[str], Sequence[Sequence[Image.Image]]], Prompts]
"""`Understanding.prepare`: the texts and the pictures of a batch to its `Prompts`."""


@dataclass(frozen=True)
class Item:
    """One sample at one step."""

    key: str
    """SET/SHARD/KEY, by which it is found in the curated and in the raw sets."""
    latents: Float[Tensor, "C H W"]
    conditions: Conditions


class Batch:
    """What one micro-step trains on: scaled latents, the prompts of its B samples, their keys.

    No dataclass: Lightning's precision plugins take those apart to cast every tensor, and fail on
    frozen ones; which part computes in which type is the model's affair.
    """

    def __init__(
        self, latents: Float[Tensor, "B C H W"], prompts: Prompts, keys: list[str]
    ) -> None:
        self.latents = latents
        self.prompts = prompts
        self.keys = keys

    def to(self, device: torch.device | str) -> Batch:
        return Batch(self.latents.to(device), self.prompts.to(device), self.keys)


class Mixture(TorchDataset[Item]):
    """Encoded sets by name, indexed by `Draw`: the same draw always gives the same item."""

    def __init__(
        self, sets: Mapping[str, Dataset], dropout: ConditionDropout, templates: bool = True
    ) -> None:
        """Without `templates`, captions that benchmarks could ask for are left out where a sample
        has others."""
        self.sizes = {name: len(data) for name, data in sets.items()}
        self._shapes = {name: data.features["latents"].shape for name, data in sets.items()}
        if len(set(self._shapes.values())) > 1:
            raise ValueError(f"sets of a mixture must have latents of one shape: {self._shapes}")
        # Raw Arrow tables: the library's own decoding takes fifteen times as long.
        self._sets = {name: data.with_format("arrow") for name, data in sets.items()}
        self._dropout, self._templates = dropout, templates

    def __getitem__(self, draw: Draw) -> Item:
        return self.__getitems__([draw])[0]

    def __getitems__(self, draws: list[Draw]) -> list[Item]:
        """The items of a batch, read with one look-up per set."""
        items: dict[Draw, Item] = {}
        for name in {draw.name: None for draw in draws}:
            chosen = [draw for draw in draws if draw.name == name]
            table = self._sets[name][[draw.index for draw in chosen]]
            latents = table["latents"].combine_chunks().storage
            for _ in self._shapes[name]:
                latents = latents.flatten()
            latents = latents.to_numpy().reshape(-1, *self._shapes[name])
            columns = (table[name].to_pylist() for name in ("key", "captions", "sources"))
            for draw, latent, key, captions, sources in zip(chosen, latents, *columns, strict=True):
                conditions = self._conditions(draw, captions, sources)
                items[draw] = Item(f"{name}/{key}", torch.from_numpy(latent.copy()), conditions)
        return [items[draw] for draw in draws]

    def _conditions(self, draw: Draw, captions: list[str], sources: list[dict]) -> Conditions:
        rng = np.random.default_rng(draw.seed)
        if not self._templates:
            captions = [text for text in captions if not teaches_to_the_test(text)] or captions
        caption = captions[rng.integers(len(captions))]
        images = tuple(
            Image.open(io.BytesIO(source["bytes"]), formats=("PNG",)) for source in sources
        )
        conditions = drop(caption, images, self._dropout, rng.random())
        for image in conditions.images:
            image.load()  # only now: the pixels of a dropped picture are never decoded
        return conditions


def teaches_to_the_test(caption: str) -> bool:
    """Whether GenEval's template, or that of its toy, could have made a caption."""
    return follows_geneval(caption) or follows_geneval_toy(caption)


def collate(items: list[Item], prepare: Prepare) -> Batch:
    """Stacks the latents of a batch and has its conditions tokenised by `prepare`."""
    texts = [item.conditions.caption for item in items]
    images = [item.conditions.images for item in items]
    latents = torch.stack([item.latents for item in items])
    return Batch(latents, prepare(texts, images), [item.key for item in items])


class LadderData(LightningDataModule):
    """The training data of one stage.

    Position: the loader starts at step `start`, or, resumed from a checkpoint, at the checkpoint's
    `global_step`, and ends after the stage's steps. Its order is already split by rank, so the
    Trainer needs `use_distributed_sampler=False`.
    """

    def __init__(
        self,
        encoded: Path,
        name: str,
        stage: Stage,
        dropout: ConditionDropout,
        seed: int,
        prepare: Prepare,
        workers: int = 0,
        start: int = 0,
    ) -> None:
        """`encoded`: the folder that `encode` wrote; `name` of the stage, which chooses the order;
        `prepare`: `Understanding.prepare`; `workers`: processes that assemble batches, 0 for none.
        """
        super().__init__()
        self.encoded, self.name, self.stage, self.condition_dropout = encoded, name, stage, dropout
        self.seed, self.prepare, self.workers, self.start = seed, prepare, workers, start

    def train_dataloader(self) -> DataLoader:
        """Batches of `stage.batch / stage.accumulate` samples. Errors: a set is not encoded."""
        mixture = Mixture(
            {name: _load(self.encoded / name / "train") for name in sorted(self.stage.mixture)},
            self.condition_dropout,
            self.stage.template_captions,
        )
        batches = StepBatches(
            mixture.sizes,
            self.stage.mixture,
            steps=self.stage.steps,
            batch=self.stage.batch,
            accumulate=self.stage.accumulate,
            seed=self.seed,
            stage=self.name,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self.trainer.world_size if self.trainer else 1,
            start=self.start,
        )
        return DataLoader(
            mixture,
            batch_sampler=batches,
            num_workers=self.workers,
            collate_fn=partial(collate, prepare=self.prepare),
            # Else every new loader takes a number from the global generator, which seeds noise.
            generator=torch.Generator(),
        )

    def state_dict(self) -> dict[str, int]:
        return {"step": self.trainer.global_step}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.start = state_dict["step"]


def _load(folder: Path) -> Dataset:
    if not folder.is_dir():
        raise ValueError(f"{folder} must hold an encoded set; `ladder encode` writes it")
    return load_from_disk(folder)
