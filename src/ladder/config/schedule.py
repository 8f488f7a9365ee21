"""The sections of the configuration about training: its stages and what watches over them.

As in `ladder.config.schema`, the classes only hold and check values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ladder.config.checks import above, at_least, shares, within

Fault = Literal["spike", "nan", "noise", "garbage"]


@dataclass(frozen=True)
class Stage:
    """One training."""

    steps: int
    """Optimizer steps; 0 skips the stage."""
    batch: int
    """Samples a step and device, over all its micro-batches."""
    accumulate: int
    """Micro-batches a step; divides `batch`."""
    mixture: dict[str, float]
    """Share of each data set in a batch; they add up to 1."""
    template_captions: bool
    """Whether captions in the words of GenEval's prompts, or of its toy's, are drawn; if not, then
    only for samples that have no other."""
    noise_samples: int
    """Noises and times drawn for each prompt of a batch; the MLLM reads it only once."""
    lr: float
    """Peak learning rate of AdamW."""
    generator_lr_scale: float
    """Learning rate of the generator's pretrained blocks, as a share of `lr`; 0..1."""
    query_lr_scale: float
    """Learning rate of the queries, as a share of `lr`; 0..1."""
    final_lr: float
    """Learning rate at the end of the cosine."""
    warmup: int
    """Steps of linear warm-up, fewer than `steps`."""
    weight_decay: float
    """Of AdamW."""
    clip: float
    """The gradient's norm is clipped to this."""
    ema: float
    """Decay of the averaged weights used for sampling; 0 to below 1."""
    sample_every: int
    """Steps between grids of fixed prompts."""
    checkpoint_every: int
    """Steps between checkpoints."""
    precision: Literal["32-true", "bf16-mixed", "bf16-true"]
    """Lightning's name of the precision of training."""

    def __post_init__(self) -> None:
        at_least(self, 0, "steps", "warmup", "final_lr", "weight_decay")
        at_least(self, 1, "batch", "accumulate", "sample_every", "checkpoint_every")
        above(self, 0, "lr", "clip")
        within(self, 0, 0.999999, "ema")
        if self.batch % self.accumulate:
            raise ValueError(f"accumulate must divide batch {self.batch}, got {self.accumulate}")
        if self.final_lr > self.lr:
            raise ValueError(f"final_lr must be at most lr {self.lr}, got {self.final_lr}")
        if 0 < self.steps <= self.warmup:
            raise ValueError(f"warmup must be fewer than steps {self.steps}, got {self.warmup}")
        shares(self, "mixture")


@dataclass(frozen=True)
class Stages:
    """Three trainings, one after the other."""

    t2i: Stage
    """Text to image."""
    ti2i: Stage
    """Editing, with some text to image so that it is not forgotten."""
    finetune: Stage
    """Both, on the small curated sets."""


@dataclass(frozen=True)
class ConnectorWarmup:
    """Before the first stage: connectors learn the states of the generator's own text encoder."""

    groups: tuple[int, ...] | None
    """How many of the queries' words behind one another belong together and are read as one text;
    null: each is read by itself."""
    prompts: int
    """Read by the MLLM; each takes 2 bytes times rungs, queries and its width of memory."""
    steps: int
    """Optimizer steps; 0: none, as in the paper."""
    batch: int
    """Prompts a step."""
    muon_lr: float
    """Learning rate of Muon, on matrices, at the beginning; it falls to 0."""
    lr: float
    """That of AdamW, on the rest."""
    mixture: dict[str, float]
    """Share of each data set among the prompts."""

    def __post_init__(self) -> None:
        at_least(self, 0, "steps")
        at_least(self, 1, "batch", "prompts")
        if self.groups is not None and min(self.groups, default=0) < 1:
            raise ValueError(f"groups must be numbers of words from 1 on, got {[*self.groups]}")
        above(self, 0, "muon_lr", "lr")
        shares(self, "mixture")


@dataclass(frozen=True)
class ConditionDropout:
    """How often conditions are dropped, for guidance; one uniform draw a sample. Probabilities."""

    t2i_text: float
    """Text to image: the text is dropped."""
    edit_text: float
    """Editing: the text is dropped."""
    edit_both: float
    """Editing: the text and the source image are dropped."""
    edit_image: float
    """Editing: the source image is dropped (a black one of the same size)."""

    def __post_init__(self) -> None:
        within(self, 0, 1, "t2i_text", "edit_text", "edit_both", "edit_image")
        dropped = self.edit_text + self.edit_both + self.edit_image
        if dropped > 1:
            raise ValueError(f"edit_text + edit_both + edit_image must be at most 1, got {dropped}")


@dataclass(frozen=True)
class Faults:
    """Faults put into training on purpose, to compare what monitors make of them."""

    rate: float
    """Share of steps that are spoilt; 0 is a training as it should be."""
    kinds: tuple[Fault, ...]
    """Those to draw from: see ladder/training/faults.py."""
    seed: int
    """Chooses the steps and the kinds."""

    def __post_init__(self) -> None:
        within(self, 0, 1, "rate")
        at_least(self, 0, "seed")
        if not self.kinds:
            raise ValueError("kinds must name at least one kind of fault, got none")


@dataclass(frozen=True)
class Monitor:
    """Checks every step before it is taken."""

    rule: Literal["off", "published", "ema", "robust"]
    """See ladder/training/monitor_rules.py."""
    threshold: float
    """published, ema: ratio to the average; robust: deviations (MAD) of the log norm."""
    decay: float
    """Of the averages of published and ema."""
    window: int
    """Accepted norms that robust remembers."""
    warmup: int
    """Steps that are never checked; non-finite ones are skipped all the same."""
    patience: int
    """Skips in a row before going back to the last good checkpoint."""
    rollbacks: int
    """Times to go back before stopping with an error."""
    faults: Faults
    """Faults to be monitored, injected on purpose."""

    def __post_init__(self) -> None:
        above(self, 0, "threshold")
        within(self, 0, 0.999999, "decay")
        at_least(self, 1, "window", "patience")
        at_least(self, 0, "warmup", "rollbacks")
