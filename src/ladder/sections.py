"""The sections of the configuration: what every setting means, its type and what it may be.

The classes only hold and check values. Anything computed from them lives where it is used, which
is why the DVC stages depend on parameters and not on this file. `ladder.config` puts the sections
together and is where to import them from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ladder.limits import above, at_least, named, within

Scheme = Literal[
    "last_n",
    "last",
    "last_prenorm",
    "penultimate",
    "first_n",
    "uniform",
    "middle",
    "reversed",
    "shuffled",
    "mean",
    "learned",
    "list",
]
Dtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class World:
    """The toy world; raw shards are drawn from it."""

    seed: int
    """Seeds scenes, captions and edits."""
    t2i_samples: int
    """Scenes with captions, written as webdataset tars."""
    edit_samples: int
    """Edits, written as JSON beside images."""
    curated_samples: int
    """Samples of each kind in the small set of the third stage."""
    captions: int
    """True captions of every picture, redrawn at each step."""
    shard_samples: int
    """Samples in one tar."""
    faults: float
    """Share of captioned samples that are broken on purpose, for curation to find."""

    def __post_init__(self) -> None:
        at_least(self, 0, "seed")
        within(self, 0, 1, "faults")
        at_least(self, 1, "t2i_samples", "edit_samples", "curated_samples")
        at_least(self, 1, "captions", "shard_samples")


@dataclass(frozen=True)
class Curation:
    """What may be trained on."""

    minimum_side: int
    """Pixels; pictures with a shorter side are rejected."""
    maximum_pixels: int
    """Pixels; larger pictures are rejected from the header, before decoding."""
    duplicates: bool
    """Reject pictures whose decoded pixels were seen before."""
    evaluation_share: float
    """Share held out, chosen by a hash of the content; 0 to below 1."""

    def __post_init__(self) -> None:
        at_least(self, 1, "minimum_side")
        at_least(self, self.minimum_side**2, "maximum_pixels")
        within(self, 0, 0.999, "evaluation_share")


@dataclass(frozen=True)
class Foundations:
    """The pretrained parts."""

    mllm: str
    """Qwen2.5-VL in the layout of transformers: a folder, or an id on the Hugging Face hub."""
    generator: str
    """Sana with its autoencoder in the layout of diffusers: a folder or a hub id."""
    dtype: Dtype
    """In which the frozen parts compute."""
    seed: int
    """Seeds the training of the toy parts."""
    autoencoder_steps: int
    """Steps of training the toy autoencoder."""
    vision_steps: int
    """Steps of training the toy MLLM's vision tower."""
    mllm_steps: int
    """Steps of training the toy MLLM."""
    generator_steps: int
    """Steps of training the toy generator."""

    def __post_init__(self) -> None:
        named(self, "mllm", "generator")
        at_least(self, 0, "seed")
        at_least(self, 1, "autoencoder_steps", "vision_steps", "mllm_steps", "generator_steps")


@dataclass(frozen=True)
class Model:
    """The ladder itself; arms change this."""

    scheme: Scheme
    """Which MLLM layers feed which block: see ladder/model/rungs.py."""
    layers: tuple[int | Literal["norm"], ...] | None
    """Of scheme "list": a layer for each block, "norm" being the state after the final norm; of
    "mean" and "learned": the layers to mix, null for all."""
    queries: int
    """Learnable query tokens."""
    query_text: str | None
    """Words whose embeddings the first queries begin with (arXiv 2104.08691); null: random."""
    connector_width: int | None
    """Hidden width of the connector; null: the generator's caption channels."""

    def __post_init__(self) -> None:
        at_least(self, 1, "queries")
        if self.connector_width is not None:
            at_least(self, 1, "connector_width")
        if self.scheme == "list" and not self.layers:
            raise ValueError(f'layers must be given for scheme "list", got {self.layers}')
        if self.layers is not None and self.scheme not in ("list", "mean", "learned"):
            raise ValueError(
                'layers must be null but for the schemes "list", "mean" and "learned", '
                f"got scheme {self.scheme} with layers {self.layers}"
            )


@dataclass(frozen=True)
class Flow:
    """The rectified flow of training."""

    shift: float
    """Training times s are moved towards noise: shift s / (1 + (shift - 1) s)."""

    def __post_init__(self) -> None:
        above(self, 0, "shift")


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
    noises: int
    """Noises and times drawn for each prompt of a batch; the MLLM reads it only once."""
    lr: float
    """Peak learning rate of AdamW."""
    generator_rate: float
    """Learning rate of the generator's pretrained blocks, as a share of `lr`; 0..1."""
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
        shares = self.mixture.values()
        if not all(share > 0 for share in shares) or abs(sum(shares) - 1) > 1e-6:
            raise ValueError(f"mixture must be shares above 0 that sum to 1, got {self.mixture}")


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
class Dropping:
    """Joint dropping of conditions for guidance, by one uniform draw a sample; probabilities."""

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
class Monitor:
    """Judges every step before it is taken."""

    judge: Literal["off", "published", "ema", "robust"]
    """The rule: see ladder/training/monitor.py."""
    threshold: float
    """published, ema: ratio to the average; robust: deviations (MAD) of the log norm."""
    decay: float
    """Of the averages of published and ema."""
    window: int
    """Accepted norms that robust remembers."""
    warmup: int
    """Steps that are never judged; non-finite ones are skipped all the same."""
    patience: int
    """Skips in a row before going back to the last good checkpoint."""
    rollbacks: int
    """Times to go back before stopping with an error."""

    def __post_init__(self) -> None:
        above(self, 0, "threshold")
        within(self, 0, 0.999999, "decay")
        at_least(self, 1, "window", "patience")
        at_least(self, 0, "warmup", "rollbacks")


@dataclass(frozen=True)
class Sampling:
    """How pictures are drawn from a trained ladder."""

    solver: Literal["dpm", "euler"]
    """dpm (DPM-Solver++ on flows) or euler."""
    steps: int
    """Evaluations of the generator."""
    shift: float
    """Flow shift of the sampler."""
    guidance: float
    """Text guidance; 1 switches it off."""
    image_guidance: float
    """Guidance by the source image of an edit; 1 switches it off."""
    batch: int
    """Pictures sampled at once."""

    def __post_init__(self) -> None:
        at_least(self, 1, "steps", "batch", "guidance", "image_guidance")
        above(self, 0, "shift")


@dataclass(frozen=True)
class Evaluation:
    """How a trained ladder is scored."""

    seed: int
    """Seeds prompts, edits, questions and the noise."""
    prompts: int
    """Prompts of each GenEval task, and thought prompts."""
    images: int
    """Pictures a prompt."""
    edits: int
    """Edits of each kind."""
    questions: int
    """Questions of each kind."""
    resamples: int
    """Bootstrap samples of every 95% interval."""

    def __post_init__(self) -> None:
        at_least(self, 0, "seed")
        at_least(self, 1, "prompts", "images", "edits", "questions", "resamples")
