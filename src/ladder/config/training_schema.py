"""The sections of the configuration about training: its stages and what watches over them.

As in `ladder.config.schema`, the classes only hold and check values.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from ladder.config.types import (
    RULES,
    Count,
    Decay,
    Name,
    Natural,
    NotNegative,
    Positive,
    Seed,
    Several,
    Share,
    Shares,
)

Fault = Literal["spike", "nan", "noise", "garbage"]
LoggerName = Literal["dvclive", "tensorboard", "csv", "wandb"]


@dataclass(frozen=True, config=RULES)
class Stage:
    """One training."""

    init: Name | None
    """The folder of a ladder (an imported checkpoint too) whose weights the stage begins with;
    null: those of the stage before, or of the foundations."""
    steps: Natural
    """Optimizer steps; 0 skips the stage."""
    batch: Count
    """Samples a step and device, over all its micro-batches."""
    accumulate: Count
    """Micro-batches a step; divides `batch`."""
    mixture: Shares
    """Share of each data set in a batch; they add up to 1."""
    template_captions: bool
    """Whether captions in the words of GenEval's prompts, or of its toy's, are drawn; if not, then
    only for samples that have no other."""
    noise_samples: Count
    """Noises and times drawn for each prompt of a batch; the MLLM reads it only once."""
    lr: Positive
    """Peak learning rate of AdamW."""
    generator_lr_scale: Share
    """Learning rate of the generator's pretrained blocks, as a share of `lr`; 0..1."""
    query_lr_scale: Share
    """Learning rate of the queries, as a share of `lr`; 0..1."""
    final_lr: NotNegative
    """Learning rate at the end of the cosine."""
    warmup: Natural
    """Steps of linear warm-up, fewer than `steps`."""
    weight_decay: NotNegative
    """Of AdamW."""
    clip: Positive
    """The gradient's norm is clipped to this."""
    ema: Decay
    """Decay of the averaged weights used for sampling; 0 to below 1."""
    sample_every: Count
    """Steps between grids of fixed prompts."""
    checkpoint_every: Count
    """Steps between checkpoints."""
    precision: Literal["32-true", "bf16-mixed", "bf16-true"]
    """Lightning's name of the precision of training."""

    def __post_init__(self) -> None:
        if self.batch % self.accumulate:
            raise ValueError(f"accumulate must divide batch {self.batch}, got {self.accumulate}")
        if self.final_lr > self.lr:
            raise ValueError(f"final_lr must be at most lr {self.lr}, got {self.final_lr}")
        if 0 < self.steps <= self.warmup:
            raise ValueError(f"warmup must be fewer than steps {self.steps}, got {self.warmup}")


@dataclass(frozen=True, config=RULES)
class Stages:
    """Three trainings, one after the other."""

    t2i: Stage
    """Text to image."""
    ti2i: Stage
    """Editing, with some text to image so that it is not forgotten."""
    finetune: Stage
    """Both, on the small curated sets."""


@dataclass(frozen=True, config=RULES)
class Validation:
    """The loss on held-out samples, under the same noise each time."""

    every: Natural
    """Steps between two; 0: none."""
    samples: Count
    """Of each set, at most."""


@dataclass(frozen=True, config=RULES)
class Training:
    """What is shown and kept of a training; what comes out of it depends on none of it."""

    loggers: Annotated[Several[LoggerName], Field(min_length=1)]
    """dvclive (which `ladder watch` and DVC's plots read), tensorboard, csv, wandb."""
    keep: Count
    """Checkpoints: the last one and those before it. The last one goes when the stage is finished,
    the others stay."""
    validation: Validation
    """Losses on held-out samples."""

    def __post_init__(self) -> None:
        if len({*self.loggers}) < len(self.loggers):
            raise ValueError(f"loggers must be named once each, got {list(self.loggers)}")


@dataclass(frozen=True, config=RULES)
class ConnectorWarmup:
    """Before the first stage: connectors learn the states of the generator's own text encoder."""

    groups: Several[Count] | None
    """How many of the queries' words behind one another belong together and are read as one text;
    null: each is read by itself."""
    prompts: Count
    """Read by the MLLM; each takes 2 bytes times rungs, queries and its width of memory."""
    steps: Natural
    """Optimizer steps; 0: none, as in the paper."""
    batch: Count
    """Prompts a step."""
    muon_lr: Positive
    """Learning rate of Muon, on matrices, at the beginning; it falls to 0."""
    lr: Positive
    """That of AdamW, on the rest."""
    mixture: Shares
    """Share of each data set among the prompts."""


@dataclass(frozen=True, config=RULES)
class ConditionDropout:
    """How often conditions are dropped, for guidance; one uniform draw a sample. Probabilities."""

    t2i_text: Share
    """Text to image: the text is dropped."""
    edit_text: Share
    """Editing: the text is dropped."""
    edit_both: Share
    """Editing: the text and the source image are dropped."""
    edit_image: Share
    """Editing: the source image is dropped (a black one of the same size)."""

    def __post_init__(self) -> None:
        dropped = self.edit_text + self.edit_both + self.edit_image
        if dropped > 1:
            raise ValueError(f"edit_text + edit_both + edit_image must be at most 1, got {dropped}")


@dataclass(frozen=True, config=RULES)
class Faults:
    """Faults put into training on purpose, to compare what monitors make of them."""

    rate: Share
    """Share of steps that are spoilt; 0 is a training as it should be."""
    kinds: Annotated[Several[Fault], Field(min_length=1)]
    """Those to draw from: see ladder/training/faults.py."""
    seed: Seed
    """Chooses the steps and the kinds."""


@dataclass(frozen=True, config=RULES)
class Monitor:
    """Checks every step before it is taken."""

    rule: Literal["off", "published", "ema", "robust"]
    """See ladder/training/monitor_rules.py."""
    threshold: Positive
    """published, ema: ratio to the average; robust: deviations (MAD) of the log norm."""
    decay: Decay
    """Of the averages of published and ema."""
    window: Count
    """Accepted norms that robust remembers."""
    warmup: Natural
    """Steps that are never checked; non-finite ones are skipped all the same."""
    patience: Count
    """Skips in a row before going back to the last good checkpoint."""
    rollbacks: Natural
    """Times to go back before stopping with an error."""
    faults: Faults
    """Faults to be monitored, injected on purpose."""
