"""The sections of the configuration: what every setting means, its type and what it may be.

The classes only hold and check values. Anything computed from them lives where it is used, which is
why the DVC stages depend on parameters and not on this file. `ladder.config.load` puts the sections
together and is where to import them from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ladder.config.checks import above, at_least, named, within

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
class Cluster:
    """Where training runs. Every process draws its own samples, noise and times."""

    strategy: Literal["auto", "ddp", "fsdp", "deepspeed"]
    """auto (one process on one device), ddp (one process a device, each with all weights), fsdp
    (FSDP2: each with a part of the weights, of which layers gather theirs as they compute) or
    deepspeed (ZeRO stage 2: each with all weights, and with a part of gradients and moments)."""
    devices: int
    """GPUs of a node, or processes where there are none."""
    nodes: int
    """Machines."""
    workers: int
    """Processes that assemble batches, for each process that trains; 0: it does so itself."""
    prompt_cache: str | None
    """A folder that keeps the keys and values of every prompt, so that the MLLM reads it once and
    not at each step; null: nothing is kept."""
    checkpointing: Literal["none", "generator", "all"]
    """Whose activations are computed anew in the backward pass, to save memory: the generator's
    blocks, or the queries' layers too."""

    def __post_init__(self) -> None:
        at_least(self, 1, "devices", "nodes")
        at_least(self, 0, "workers")
        if self.strategy == "fsdp" and self.prompt_cache is not None:
            raise ValueError(
                "prompt_cache must be null under strategy fsdp, where all processes read together, "
                f"got {self.prompt_cache}"
            )
        if self.strategy == "auto" and self.devices * self.nodes > 1:
            raise ValueError(
                "strategy must be ddp, fsdp or deepspeed for more than one process, got auto with "
                f"{self.devices} devices on {self.nodes} nodes"
            )


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
    maximum_aspect: float
    """Longer side to shorter; longer shapes are rejected."""
    captions: bool
    """Repair captions, and reject refusals, placeholders, watermarks and special tokens."""
    maximum_caption: int
    """Characters; longer captions are rejected."""
    edits: bool
    """Reject edits that change nothing or the shape of the picture."""
    edit_aspect: float
    """How much an edit may change the aspect ratio, as a factor."""
    duplicates: bool
    """Reject samples whose decoded pixels (and words, of an edit) were seen before in their set."""
    near_duplicates: int | None
    """Bits of the 64 of a perceptual hash in which pictures that look alike differ at most."""
    near_captions: float | None
    """Share of three-word groups (Jaccard, estimated) from which on captions are alike."""
    decontaminate: Literal["none", "exact", "template", "fuzzy"]
    """Reject captions that benchmarks ask for, by this tier and those before it."""
    similarity: float
    """Of captions, from which on they are nearly a benchmark's prompt: 0 to 100."""
    prompts: str | None
    """Folder with the benchmarks' prompts, BENCHMARK*.jsonl."""
    evaluation_share: float
    """Share held out, chosen by a hash of the content; 0 to below 1."""
    workers: int | None
    """Processes of the embedded Dask cluster; null: one a core, 0: work in this process."""
    scheduler: str | None
    """Address of a Dask scheduler (tcp://HOST:PORT) instead of the embedded cluster."""

    def __post_init__(self) -> None:
        at_least(self, 1, "minimum_side", "maximum_aspect", "maximum_caption", "edit_aspect")
        within(self, 0, 100, "similarity")
        if self.near_duplicates is not None:
            within(self, 0, 16, "near_duplicates")
        if self.near_captions is not None:
            within(self, 0, 1, "near_captions")
        if self.workers is not None:
            at_least(self, 0, "workers")
        if self.decontaminate != "none" and self.prompts is None:
            rule = "needs curation.prompts, a folder with the benchmarks' prompts"
            raise ValueError(f"curation.decontaminate: {self.decontaminate} {rule}")
        at_least(self, self.minimum_side**2, "maximum_pixels")
        within(self, 0, 0.999, "evaluation_share")


@dataclass(frozen=True)
class Foundations:
    """The frozen parts."""

    mllm: str
    """Qwen2.5-VL in the layout of transformers: a folder, or an id on the Hugging Face hub."""
    generator: str
    """Sana, PixArt or Stable Diffusion in the layout of diffusers: a folder or a hub id."""
    dtype: Dtype
    """In which the frozen parts compute."""

    def __post_init__(self) -> None:
        named(self, "mllm", "generator")


@dataclass(frozen=True)
class Pretraining:
    """How the toy's frozen parts are trained."""

    mllm_base: str
    """The toy MLLM before its tuning: a folder."""
    generator_base: str
    """The toy Sana before its tuning, without autoencoder: a folder."""
    seed: int
    """Seeds the training of the toy parts."""
    autoencoder_steps: int
    """Steps of training the toy autoencoder."""
    vision_steps: int
    """Steps of training the toy MLLM's vision tower."""
    mllm_base_steps: int
    """Steps of training the toy MLLM's base."""
    mllm_found_steps: int
    """Steps of training it further, with more to be found by what it is."""
    mllm_steps: int
    """Steps of tuning it."""
    generator_base_steps: int
    """Steps of training the toy generator's base."""
    generator_steps: int
    """Steps of tuning it."""

    def __post_init__(self) -> None:
        named(self, "mllm_base", "generator_base")
        at_least(self, 0, "seed")
        at_least(self, 1, "autoencoder_steps", "vision_steps")
        at_least(self, 1, "mllm_base_steps", "mllm_found_steps", "mllm_steps")
        at_least(self, 1, "generator_base_steps", "generator_steps")


@dataclass(frozen=True)
class Model:
    """The ladder itself; arms change this."""

    scheme: Scheme
    """Which MLLM layers feed which block: see ladder/models/layer_selection.py."""
    layers: tuple[int | Literal["norm"], ...] | None
    """Of scheme "list": a layer for each block, "norm" being the state after the final norm; of
    "mean" and "learned": the layers to mix, null for all."""
    queries: int
    """Learnable query tokens."""
    query_text: str | None
    """Words whose embeddings the first queries begin with (arXiv 2104.08691); null: random."""
    query_noise: float
    """Normal noise that is added to the queries while training, as a share of the scale of the
    token embeddings (after arXiv 2512.02536); 0: none."""
    connectors: Literal["shared", "per_rung"]
    """One connector for all rungs, as in the paper, or one for each."""
    connector_width: int | None
    """Hidden width of the connector; null: the generator's caption channels."""
    lora_rank: int | None
    """The generator's blocks learn low-rank changes only (LoRA) of this rank; null: all of it."""
    mllm_lora_rank: int | None
    """The MLLM gets an adapter of this rank, which acts while queries pass; null: none."""
    dora: bool
    """Low-rank changes learn the length of rows apart from their direction (arXiv 2402.09353)."""

    def __post_init__(self) -> None:
        at_least(self, 1, "queries")
        at_least(self, 0, "query_noise")
        ranks = [n for n in ("lora_rank", "mllm_lora_rank") if getattr(self, n) is not None]
        at_least(self, 1, *ranks)
        if self.dora and not ranks:
            raise ValueError("dora needs lora_rank or mllm_lora_rank, got null for both")
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
    """Prompts of each GenEval task, and reasoning prompts."""
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
