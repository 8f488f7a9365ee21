"""The sections of the configuration: what every setting means, its type and what it may be.

The classes only hold and check values. Anything computed from them lives where it is used, which is
why the DVC stages depend on parameters and not on this file. `ladder.config.load` puts the sections
together and is where to import them from.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from ladder.config.types import (
    RULES,
    AtLeastOne,
    Count,
    Name,
    Natural,
    NotNegative,
    Positive,
    Seed,
    Several,
    Share,
)

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


@dataclass(frozen=True, config=RULES)
class Cluster:
    """Where training runs. Every process draws its own samples, noise and times."""

    device: Literal["auto", "cpu", "cuda", "mps"]
    """On what stages are trained; auto: on GPUs where there are some, else on the CPU."""
    strategy: Literal["auto", "ddp", "fsdp", "deepspeed"]
    """auto (one process on one device), ddp (one process a device, each with all weights), fsdp
    (FSDP2: each with a part of the weights, of which layers gather theirs as they compute) or
    deepspeed (ZeRO stage 2: each with all weights, and with a part of gradients and moments)."""
    devices: Count
    """GPUs of a node, or processes where there are none."""
    nodes: Count
    """Machines."""
    workers: Natural
    """Processes that assemble batches, for each process that trains; 0: it does so itself."""
    prompt_cache: str | None
    """A folder that keeps the keys and values of every prompt, so that the MLLM reads it once and
    not at each step; null: nothing is kept."""
    checkpointing: Literal["none", "generator", "all"]
    """Whose activations are computed anew in the backward pass, to save memory: the generator's
    blocks, or the queries' layers too."""
    compile: bool
    """Compile the generator by torch.compile for training: minutes at the start, faster steps."""
    fused: bool
    """AdamW in one kernel for all weights; equal but for rounding."""

    def __post_init__(self) -> None:
        if self.strategy == "fsdp" and self.prompt_cache is not None:
            raise ValueError(
                "prompt_cache must be null under strategy fsdp, where all processes read together, "
                f"got {self.prompt_cache}"
            )
        if self.strategy == "fsdp" and self.compile:
            raise ValueError(
                "compile must be false under strategy fsdp, which gathers each block by itself, "
                "got true"
            )
        if self.strategy == "auto" and self.devices * self.nodes > 1:
            raise ValueError(
                "strategy must be ddp, fsdp or deepspeed for more than one process, got auto with "
                f"{self.devices} devices on {self.nodes} nodes"
            )


@dataclass(frozen=True, config=RULES)
class World:
    """The toy world; raw shards are drawn from it."""

    seed: Seed
    """Seeds scenes, captions and edits."""
    t2i_samples: Count
    """Scenes with captions, written as webdataset tars."""
    edit_samples: Count
    """Edits, written as JSON beside images."""
    curated_samples: Count
    """Samples of each kind in the small set of the third stage."""
    captions: Count
    """True captions of every picture, redrawn at each step."""
    shard_samples: Count
    """Samples in one tar."""
    faults: Share
    """Share of captioned samples that are broken on purpose, for curation to find."""


@dataclass(frozen=True, config=RULES)
class Curation:
    """What may be trained on."""

    minimum_side: Count
    """Pixels; pictures with a shorter side are rejected."""
    maximum_pixels: int
    """Pixels; larger pictures are rejected from the header, before decoding."""
    maximum_aspect: AtLeastOne
    """Longer side to shorter; longer shapes are rejected."""
    captions: bool
    """Repair captions, and reject refusals, placeholders, watermarks and special tokens."""
    maximum_caption: Count
    """Characters; longer captions are rejected."""
    edits: bool
    """Reject edits that change nothing or the shape of the picture."""
    edit_aspect: AtLeastOne
    """How much an edit may change the aspect ratio, as a factor."""
    duplicates: bool
    """Reject samples whose decoded pixels (and words, of an edit) were seen before in their set."""
    near_duplicates: Annotated[int, Field(ge=0, le=16)] | None
    """Bits of the 64 of a perceptual hash in which pictures that look alike differ at most."""
    near_captions: Share | None
    """Share of three-word groups (Jaccard, estimated) from which on captions are alike."""
    decontaminate: Literal["none", "exact", "template", "fuzzy"]
    """Reject captions that benchmarks ask for, by this tier and those before it."""
    similarity: Annotated[float, Field(ge=0, le=100)]
    """Of captions, from which on they are nearly a benchmark's prompt: 0 to 100."""
    prompts: str | None
    """Folder with the benchmarks' prompts, BENCHMARK*.jsonl."""
    evaluation_share: Annotated[float, Field(ge=0, le=0.999)]
    """Share held out, chosen by a hash of the content; 0 to below 1."""
    workers: Natural | None
    """Processes of the embedded Dask cluster; null: one a core, 0: work in this process."""
    scheduler: str | None
    """Address of a Dask scheduler (tcp://HOST:PORT) instead of the embedded cluster."""

    def __post_init__(self) -> None:
        if self.decontaminate != "none" and self.prompts is None:
            rule = "needs curation.prompts, a folder with the benchmarks' prompts"
            raise ValueError(f"decontaminate: {self.decontaminate} {rule}")
        if self.maximum_pixels < self.minimum_side**2:
            raise ValueError(
                f"maximum_pixels must be at least {self.minimum_side**2}, the square of "
                f"minimum_side, got {self.maximum_pixels}"
            )


@dataclass(frozen=True, config=RULES)
class Encoding:
    """How curated pictures become the latents that training reads, once."""

    side: Count | None
    """Pixels: pictures get about side x side of them; null: what the generator was made for."""
    aspects: Annotated[Several[Annotated[float, Field(ge=1 / 8, le=8)]], Field(min_length=1)]
    """Width to height of the sizes (buckets); each picture goes to the nearest one."""
    latents: Dtype
    """In which latents are kept; the autoencoder computes in `foundations.dtype`."""
    sources: Literal["png", "jpeg", "original"]
    """In which sources of edits are kept: png is exact, jpeg a tenth as large; original keeps the
    files that already have their size as they came, and the others as jpeg."""
    quality: Annotated[int, Field(ge=1, le=100)]
    """Of jpeg, 1 to 100."""
    batch: Count
    """Pictures that the autoencoder takes at once."""
    chunk: Count
    """MiB of curated shards that are encoded into one file, or not at all: what is done between two
    interruptions, and what one process does at a time."""
    device: Literal["cpu", "cuda", "mps"] | None
    """Where the autoencoder computes; null: on a GPU where there is one."""
    workers: Natural | None
    """Processes of the embedded Dask cluster; null: one a core, 0: work in this process."""
    scheduler: str | None
    """Address of a Dask scheduler (tcp://HOST:PORT) instead of the embedded cluster."""


@dataclass(frozen=True, config=RULES)
class Foundations:
    """The frozen parts."""

    mllm: Name
    """Qwen2.5-VL in the layout of transformers: a folder, or an id on the Hugging Face hub."""
    generator: Name
    """Sana, PixArt or Stable Diffusion in the layout of diffusers: a folder or a hub id."""
    dtype: Dtype
    """In which the frozen parts compute."""
    visual_tokens: Count | None
    """Tokens that the MLLM makes of a picture, about; null: by the limits of its own processor."""


@dataclass(frozen=True, config=RULES)
class Pretraining:
    """How the toy's frozen parts are trained."""

    mllm_base: Name
    """The toy MLLM before its tuning: a folder."""
    generator_base: Name
    """The toy Sana before its tuning, without autoencoder: a folder."""
    seed: Seed
    """Seeds the training of the toy parts."""
    autoencoder_steps: Count
    """Steps of training the toy autoencoder."""
    vision_steps: Count
    """Steps of training the toy MLLM's vision tower."""
    mllm_base_steps: Count
    """Steps of training the toy MLLM's base."""
    mllm_found_steps: Count
    """Steps of training it further, with more to be found by what it is."""
    mllm_steps: Count
    """Steps of tuning it."""
    generator_base_steps: Count
    """Steps of training the toy generator's base."""
    generator_steps: Count
    """Steps of tuning it."""


@dataclass(frozen=True, config=RULES)
class Model:
    """The ladder itself; arms change this."""

    scheme: Scheme
    """Which MLLM layers feed which block: see ladder/models/layer_selection.py."""
    layers: Several[int | Literal["norm"]] | None
    """Of scheme "list": a layer for each block, "norm" being the state after the final norm; of
    "mean" and "learned": the layers to mix, null for all."""
    queries: Count
    """Learnable query tokens."""
    query_text: str | None
    """Words whose embeddings the first queries begin with (arXiv 2104.08691); null: random."""
    query_noise: NotNegative
    """Normal noise that is added to the queries while training, as a share of the scale of the
    token embeddings (after arXiv 2512.02536); 0: none."""
    connectors: Literal["shared", "per_rung"]
    """One connector for all rungs, as in the paper, or one for each."""
    connector_width: Count | None
    """Hidden width of the connector; null: the generator's caption channels."""
    lora_rank: Count | None
    """The generator's blocks learn low-rank changes only (LoRA) of this rank; null: all of it."""
    mllm_lora_rank: Count | None
    """The MLLM gets an adapter of this rank, which acts while queries pass; null: none."""
    dora: bool
    """Low-rank changes learn the length of rows apart from their direction (arXiv 2402.09353)."""

    def __post_init__(self) -> None:
        if self.dora and self.lora_rank is None and self.mllm_lora_rank is None:
            raise ValueError("dora needs lora_rank or mllm_lora_rank, got null for both")
        if self.scheme == "list" and not self.layers:
            raise ValueError(f'layers must be given for scheme "list", got {self.layers}')
        if self.layers is not None and self.scheme not in ("list", "mean", "learned"):
            raise ValueError(
                'layers must be null but for the schemes "list", "mean" and "learned", '
                f"got scheme {self.scheme} with layers {self.layers}"
            )


@dataclass(frozen=True, config=RULES)
class Flow:
    """The rectified flow of training."""

    shift: Positive
    """Training times s are moved towards noise: shift s / (1 + (shift - 1) s)."""


@dataclass(frozen=True, config=RULES)
class Sampling:
    """How pictures are drawn from a trained ladder."""

    solver: Literal["dpm", "euler"]
    """dpm (DPM-Solver++ on flows) or euler."""
    steps: Count
    """Evaluations of the generator."""
    shift: Positive
    """Flow shift of the sampler."""
    guidance: AtLeastOne
    """Text guidance; 1 switches it off."""
    image_guidance: AtLeastOne
    """Guidance by the source image of an edit; 1 switches it off."""
    batch: Count
    """Pictures sampled at once."""


@dataclass(frozen=True, config=RULES)
class Evaluation:
    """How a trained ladder is scored."""

    seed: Seed
    """Seeds prompts, edits, questions and the noise."""
    prompts: Count
    """Prompts of each GenEval task, and reasoning prompts."""
    images: Count
    """Pictures a prompt."""
    edits: Count
    """Edits of each kind."""
    questions: Count
    """Questions of each kind."""
    resamples: Count
    """Bootstrap samples of every 95% interval."""
