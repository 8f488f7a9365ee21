"""Encoded sets to batches, each a pure function of the seed, the stage and a global position.

Captions and dropping are redrawn at every step and never cached: with both fixed per sample, longer
training made the scores fall.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from datasets import Dataset
from jaxtyping import Float
from lightning import LightningDataModule
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from ladder.config.load import ConditionDropout, Stage
from ladder.data.images import FORMATS
from ladder.data.training.condition_dropout import Conditions, drop
from ladder.data.training.encoded import open_split, require_alike, values
from ladder.data.training.sampler import Draw, StepBatches
from ladder.world.caption_templates import follows_geneval
from ladder.world.templates import follows_geneval_toy

__all__ = ["Batch", "Conditions", "Item", "LadderData", "Mixture", "StepBatches", "collate", "drop"]

log = logging.getLogger(__name__)

# Shapes: B samples of a batch, C H W channels, height and width of latents.


@runtime_checkable
class PreparedPrompts(Protocol):
    """Tokenised prompts of a batch, as `ladder.models.mllm.frozen` prepares them."""

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PreparedPrompts: ...

    def pin_memory(self) -> PreparedPrompts: ...


Prepare = Callable[[Sequence[str], Sequence[Sequence[Image.Image]]], PreparedPrompts]
"""`Understanding.prepare`: the texts and the pictures of a batch to its `PreparedPrompts`."""


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
        self, latents: Float[Tensor, "B C H W"], prompts: PreparedPrompts, keys: list[str]
    ) -> None:
        self.latents = latents
        self.prompts = prompts
        self.keys = keys

    def to(self, device: torch.device | str, non_blocking: bool = True) -> Batch:
        """On another device; from pinned memory the copy and the computation overlap."""
        latents = self.latents.to(device, non_blocking=non_blocking)
        return Batch(latents, self.prompts.to(device, non_blocking=non_blocking), self.keys)

    def pin_memory(self) -> Batch:
        """In memory that a GPU reads by itself; a loader calls this."""
        return Batch(self.latents.pin_memory(), self.prompts.pin_memory(), self.keys)


class Mixture(TorchDataset[Item]):
    """Encoded sets by name and bucket, indexed by `Draw`: a draw always gives the same item."""

    def __init__(
        self,
        sets: Mapping[str, Mapping[str, Dataset]],
        dropout: ConditionDropout,
        templates: bool = True,
    ) -> None:
        """Without `templates`, captions that benchmarks could ask for are left out where a sample
        has others. Raises ValueError for sets whose latents in a bucket have several shapes."""
        self.sizes = {name: {b: len(x) for b, x in parts.items()} for name, parts in sets.items()}
        of_bucket: dict[str, dict[str, tuple[int, ...]]] = {}
        for name, parts in sets.items():
            for bucket, data in parts.items():
                of_bucket.setdefault(bucket, {})[name] = data.features["latents"].shape
        for shapes in of_bucket.values():
            if len(set(shapes.values())) > 1:
                raise ValueError(f"sets of a mixture must have latents of one shape: {shapes}")
        # Raw Arrow tables: the library's own decoding takes fifteen times as long.
        self._sets = {
            name: {bucket: data.with_format("arrow") for bucket, data in parts.items()}
            for name, parts in sets.items()
        }
        self._dropout, self._templates = dropout, templates

    def __getitem__(self, draw: Draw) -> Item:
        return self.__getitems__([draw])[0]

    def __getitems__(self, draws: list[Draw]) -> list[Item]:
        """The items of a batch, read with one look-up per set."""
        items: dict[Draw, Item] = {}
        for name, bucket in {(draw.name, draw.bucket): None for draw in draws}:
            chosen = [draw for draw in draws if (draw.name, draw.bucket) == (name, bucket)]
            data = self._sets[name][bucket]
            table = data[[draw.index for draw in chosen]]
            shape = data.features["latents"].shape
            latents = table["latents"].combine_chunks().storage
            for _ in shape:
                latents = latents.flatten()
            latents = latents.to_numpy().reshape(-1, *shape)
            columns = (table[name].to_pylist() for name in ("key", "captions", "sources"))
            for draw, latent, key, captions, sources in zip(chosen, latents, *columns, strict=True):
                conditions = self._conditions(draw, captions, sources)
                latent = values(torch.from_numpy(latent.copy()))
                items[draw] = Item(f"{name}/{key}", latent, conditions)
        return [items[draw] for draw in draws]

    def _conditions(self, draw: Draw, captions: list[str], sources: list[dict]) -> Conditions:
        rng = np.random.default_rng(draw.seed)
        if not self._templates:
            captions = [text for text in captions if not teaches_to_the_test(text)] or captions
        caption = captions[rng.integers(len(captions))]
        images = tuple(
            Image.open(io.BytesIO(source["bytes"]), formats=FORMATS) for source in sources
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

    Position: the loader starts at step `start`, or, resumed from a checkpoint, where all ranks
    together had come, however many there were. It ends after the stage's steps. Its order is
    already split by rank, so the Trainer needs `use_distributed_sampler=False`.
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
        self.resumed: dict[str, Any] = {}

    def train_dataloader(self) -> DataLoader:
        """Batches of `stage.batch / stage.accumulate` samples, each of one bucket.

        Raises ValueError for a set that isn't encoded, for sets that have changed since the
        checkpoint, and for processes that have different ones.
        """
        processes = self.trainer.world_size if self.trainer else 1
        names = sorted(self.stage.mixture)
        if processes > 1:
            require_alike(self.encoded, names)
        mixture = Mixture(
            {name: open_split(self.encoded / name / "train") for name in names},
            self.condition_dropout,
            self.stage.template_captions,
        )
        self._require_same(mixture.sizes, processes)
        self.batches = StepBatches(
            mixture.sizes,
            self.stage.mixture,
            steps=self.stage.steps,
            batch=self.stage.batch,
            accumulate=self.stage.accumulate,
            seed=self.seed,
            stage=self.name,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=processes,
            start=self.start,
            seen=self.resumed.get("seen"),
        )
        return DataLoader(
            mixture,
            batch_sampler=self.batches,
            num_workers=self.workers,
            pin_memory=torch.cuda.is_available(),
            collate_fn=partial(collate, prepare=self.prepare),
            # Else every new loader takes a number from the global generator, which seeds noise.
            generator=torch.Generator(),
        )

    def state_dict(self) -> dict[str, Any]:
        """The step, how many samples all ranks have taken of each bucket, and of which sets."""
        step = self.trainer.global_step
        return {
            "step": step,
            "seen": self.batches.seen(step),
            "sizes": self.batches.sizes,
            "processes": self.batches.world_size,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.start, self.resumed = state_dict["step"], state_dict

    def _require_same(self, sizes: dict[str, dict[str, int]], processes: int) -> None:
        """Compare with what the checkpoint knew."""
        if not self.resumed:
            return
        if self.resumed["sizes"] != sizes:
            raise ValueError(
                f"a stage goes on with the data it began with, {self.resumed['sizes']} samples, "
                f"got {sizes}: bring them back, or remove its checkpoint to begin it anew"
            )
        if (before := self.resumed["processes"]) != processes:
            log.warning(
                "this stage goes on with %d processes, %d samples a step, instead of %d with %d: "
                "no sample comes twice in an epoch, but its steps are those of another batch size",
                processes,
                processes * self.stage.batch,
                before,
                before * self.stage.batch,
            )
