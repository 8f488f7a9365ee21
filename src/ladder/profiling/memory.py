"""What each verb needs of memory at its worst moment, from configurations alone.

The classes that train and draw are built of fake tensors (`ladder.profiling.live_memory`) and take
their steps: a stage its training step with gradients, moments and averages, a drawing its solver's
steps and the autoencoder. What is there all the time is added by name: weights, and the libraries,
whose size only running processes show.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderDC, SanaTransformer2DModel
from torch import Tensor, nn
from transformers import DynamicCache, Qwen2_5_VLForConditionalGeneration

from ladder.config.load import Config, Stage
from ladder.data.training.datamodule import Batch
from ladder.models.generator.autoencoder import compression, decoded
from ladder.models.generator.rung_attention import ConditionsOnce
from ladder.models.ladder import Ladder
from ladder.models.layer_selection import layer_indices
from ladder.models.lora import adapt_mllm
from ladder.models.mllm.families import language_model
from ladder.models.mllm.frozen import Understanding
from ladder.models.mllm.prompts import Prompter, Prompts
from ladder.models.reference import Reference
from ladder.profiling.live_memory import Live, fake, rise, without_fakes
from ladder.profiling.published_sizes import generator_config, mllm_config
from ladder.training.module import LadderModule
from ladder.training.strategies.deepspeed import BUCKET

FRAME = 39
"""Tokens around the text in the ladder's prompt; reckoned, without Qwen's tokenizer."""
CAPTION = 20
"""Tokens of what is typed at a verb, about."""
AROUND = 2
"""Tokens around a picture in a prompt."""
VISUAL = 256
"""Tokens of a picture, where the configuration leaves them to the MLLM's own processor."""
LIBRARIES = {"curate": 0.5e9, "draw": 0.6e9, "train": 0.8e9}
"""Bytes of Python and the libraries that a verb imports, before there is a model; measured."""
CUDA = 0.9e9
"""Of a GPU, what its context and libraries take: reckoned, not measured."""
GRID = 8
"""Prompts of a set in a grid of samples."""
FLOAT = 4
"""Bytes of a float32."""


@dataclass(frozen=True)
class Need:
    """Bytes at the worst moment, by what they are for."""

    parts: dict[str, float]

    @property
    def bytes(self) -> int:
        return round(sum(self.parts.values()))

    @property
    def largest(self) -> str:
        """What most of them are for."""
        return max(self.parts, key=self.parts.__getitem__)


@dataclass(frozen=True)
class StageNeed(Need):
    """And the bytes of a stage's checkpoint, what is needed to go on from it, and what for a stage
    that exports its pipeline in the end."""

    checkpoint: int = 0
    resumed: Need | None = None
    exported: Need | None = None


class Unread(Understanding):
    """Of fake tensors, which have no values and so no deviation."""

    embedding_std = 1.0  # type: ignore[assignment]


class FakeModels:
    """The parts of a ladder without any bytes."""

    def __init__(self, config: Config, width: torch.dtype = torch.float32) -> None:
        """`width` is the type of all but the MLLM, which has a setting. Within `fake` only."""
        self.config, model = config, config.model
        settings = mllm_config(config.foundations.mllm)
        settings._attn_implementation = "eager"
        sana, autoencoder = generator_config(config.foundations.generator)
        with without_fakes(), torch.device("meta"):
            mllm = Qwen2_5_VLForConditionalGeneration(settings)
            generator = nn.Module.to(SanaTransformer2DModel.from_config(sana), width)
            self.autoencoder = nn.Module.to(AutoencoderDC.from_config(autoencoder), width)
            # A prompter without its tokenizer: prompts are made here, and have no words.
            wordless = Prompter.__new__(Prompter)
            understanding = Unread(mllm, wordless, Reference("", None, "", Path()))
            understanding.to(getattr(torch, config.foundations.dtype))
            depth, blocks = understanding.depth, generator.config.num_layers
            taps = layer_indices(model.scheme, blocks, depth, model.layers)
            self.ladder = Ladder(
                understanding, generator, taps, model.queries, model.connectors,
                model.connector_width,
            )  # fmt: skip
            self.ladder.queries.data = self.ladder.queries.data.to(width)
            for part in (self.ladder.connector, self.ladder.mixture):
                part.to(width)
            if model.mllm_lora_rank:
                adapt_mllm(mllm, model.mllm_lora_rank, model.dora, taps.highest, 0)
            if model.lora_rank:
                self.ladder.begin_lora(model.lora_rank, 0, model.dora)
        for part in (self.ladder, self.autoencoder):
            as_fakes(part)
        self.autoencoder.requires_grad_(False)

    @property
    def visual_tokens(self) -> int:
        return self.config.foundations.visual_tokens or VISUAL

    def prompts(self, batch: int, caption: int, pictures: int) -> Prompts:
        """Of so many tokens of text, and pictures whose tokens stand for them."""
        tokens = FRAME + caption + pictures * (self.visual_tokens + AROUND)
        ids = torch.zeros(batch, tokens, dtype=torch.long)
        return Prompts(ids, torch.ones_like(ids), ids.expand(3, -1, -1), None, None, (0,) * batch)

    def answer(self, tokens: int) -> Tensor:
        """What the MLLM does to answer about a picture: it reads and goes on word by word."""
        language = self.ladder.understanding.mllm.model.language_model
        read = FRAME + CAPTION + AROUND + self.visual_tokens
        cache = DynamicCache(config=language.config)
        for length in (read, *(1,) * (tokens - 1)):
            ids = torch.zeros(1, length, dtype=torch.long)
            states = language(input_ids=ids, past_key_values=cache, attention_mask=None)
        return self.ladder.understanding.mllm.lm_head(states.last_hidden_state[:, -1])

    def latents(self, batch: int) -> Tensor:
        settings = self.ladder.generator.config
        return torch.randn(batch, settings.in_channels, *(settings.sample_size,) * 2)


def as_fakes(module: nn.Module) -> None:
    """Put a fake tensor on the CPU in the place of each of the meta device; ties stay."""
    made: dict[int, Tensor] = {}
    for part in module.modules():
        for values in (part._parameters, part._buffers):
            for name, value in values.items():
                if value is None:
                    continue
                if id(value) not in made:
                    new = torch.empty(value.shape, dtype=value.dtype)
                    if isinstance(value, nn.Parameter):
                        new = nn.Parameter(new, value.requires_grad)
                    made[id(value)] = new
                values[name] = made[id(value)]


def weights(*modules: nn.Module) -> int:
    """Bytes of all parameters and buffers."""
    return sum(
        value.nbytes for module in modules for value in (*module.parameters(), *module.buffers())
    )


def read_weights(models: FakeModels, pictures: int) -> int:
    """Bytes of the MLLM's weights that a step reads: not those of layers above the last rung, nor
    those that look at pictures where there are none."""
    mllm = models.ladder.understanding.mllm
    layers = language_model(mllm).layers[: models.ladder.taps.highest]
    seen = [mllm.model.visual] if pictures else []
    return weights(mllm.get_input_embeddings(), *layers, *seen)


def worst(phases: dict[str, dict[str, float]]) -> Need:
    """The phase in which the most is needed."""
    return Need(max(phases.values(), key=lambda parts: sum(parts.values())))


def stage_needs(
    config: Config, caption: int, processes: int = 1, device: str = "cuda"
) -> dict[str, StageNeed]:
    """Of one of the processes of each stage that has steps.

    Raises ValueError for models that are neither folders nor known.
    """
    with fake():
        models = FakeModels(config)
        if config.cluster.checkpointing != "none":
            models.ladder.enable_gradient_checkpointing(config.cluster.checkpointing == "all")
        taken: dict[tuple, Took] = {}
        found = {}
        for name, stage in vars(config.stages).items():
            if not stage.steps:
                continue
            # What decides what is computed; stages that differ in nothing else are counted once.
            like = (stage.batch // stage.accumulate, stage.noise_samples, edited(stage),
                    stage.precision, len(stage.mixture))  # fmt: skip
            if like not in taken:
                taken[like] = take_step(models, config, stage, caption)
            found[name] = stage_need(config, stage, taken[like], processes, device)
    return found


@dataclass(frozen=True)
class Took:
    """Bytes by which memory rises in a step of a stage, above its models."""

    frozen: int
    """Not a rise: the MLLM's weights."""
    read: int
    """Nor this: those of the MLLM that the step reads."""
    embedding: int
    """Nor this: those of its words."""
    own: int
    """Nor this: all other weights."""
    numbers: int
    """That are trained."""
    trained: int
    """Bytes of these."""
    forward: int
    both: int
    """With the backward pass and its gradients."""
    scale: int
    """While the deviation of the embeddings is found."""
    grid: int
    autoencoder: int


def edited(stage: Stage) -> bool:
    """Whether there are samples with a picture to be changed."""
    return any("ti2i" in name for name in stage.mixture)


def take_step(models: FakeModels, config: Config, stage: Stage, caption: int) -> Took:
    """Take a training step of a batch, all of edits if there are any, and draw a grid."""
    ladder, pictures = models.ladder.train(), int(edited(stage))
    module = LadderModule(ladder, stage, config.flow, "t2i", 0)
    values = ladder.trainable_parameters()
    micro = stage.batch // stage.accumulate
    batch = Batch(models.latents(micro), models.prompts(micro, caption, pictures), [""] * micro)
    with Live() as live:
        with torch.autocast("cpu", torch.bfloat16, enabled=stage.precision == "bf16-mixed"):
            loss = module.training_step(batch, 0)
        forward = live.most
        loss.backward()
        both = live.most
    del loss
    ladder.zero_grad(set_to_none=True)
    shown = min(GRID * len(stage.mixture), config.sampling.batch)
    return Took(
        frozen=weights(ladder.understanding),
        read=read_weights(models, pictures),
        embedding=ladder.understanding.mllm.get_input_embeddings().weight.nbytes,
        own=weights(ladder) - weights(ladder.understanding),
        numbers=sum(value.numel() for value in values),
        trained=sum(value.nbytes for value in values),
        forward=forward,
        both=both,
        scale=scale_rise(ladder),
        grid=drawing_rise(models, shown, caption, pictures),
        autoencoder=weights(models.autoencoder),
    )


def stage_need(config: Config, stage: Stage, took: Took, processes: int, device: str) -> StageNeed:
    """The worst moment of a stage's process.

    It reads its models; takes steps (forward and backward pass, with the gradients of the step
    before until the backward begins; then the optimizer); and draws grids, if pictures are held
    out. On GPUs AdamW takes all weights at once. Where weights or moments are spread over
    `processes`, each has its part. What is gathered to write a checkpoint lies on the CPU. There
    weights that stay as they are lie in their file, and are in memory once they are read.
    """
    strategy = config.cluster.strategy
    spread = 1 / processes if strategy in ("fsdp", "deepspeed") else 1.0
    sharded = spread if strategy == "fsdp" else 1.0
    there: dict[str, float] = {
        "libraries": CUDA if device == "cuda" else LIBRARIES["train"],
        "MLLM": took.frozen * sharded if device == "cuda" else took.read,
        "generator and connectors": took.own * sharded,
    }
    kept = {
        "moving average": FLOAT * took.numbers * spread,
        "moments": 2 * FLOAT * took.numbers * spread,
        "gradients": took.trained * spread,
    }
    if strategy == "ddp" and processes > 1:
        kept["buckets of gradients"] = took.trained
    elif strategy == "deepspeed":
        kept["weights that are stepped"] = FLOAT * took.numbers * spread
        kept["buckets of gradients"] = 2 * FLOAT * min(BUCKET, took.numbers)
    phases = {
        "load": there
        | {"scale of the embeddings": took.scale}
        | ({} if device == "cuda" else {"MLLM": took.embedding}),
        "pass": there | kept | {"activations": max(took.forward, took.both - took.trained)},
    }
    if device == "cuda" and not config.cluster.fused:
        phases["step"] = there | kept | {"optimizer's step": took.trained * spread}
    if config.curation.evaluation_share:
        copied = {"weights' copy": took.trained * sharded, "autoencoder": took.autoencoder}
        phases["grid"] = there | kept | copied | {"drawing": took.grid}
    # Weights, their average and two moments, all of them float32.
    checkpoint = took.own + 3 * FLOAT * took.numbers
    held = {name: kept[name] for name in ("moving average", "moments")}
    begun = phases["load"] | held | {"checkpoint": checkpoint}
    del begun["scale of the embeddings"]
    resumed = worst(phases | {"resume": begun})
    # On a CPU all weights of a file stay there while one of them is not yet cast.
    cast = {"weights in bfloat16": took.own / 2 * (device != "cuda")}
    exported = worst(phases | {"export": there | cast | {"autoencoder": took.autoencoder}})
    return StageNeed(worst(phases).parts, checkpoint, resumed, exported)


def scale_rise(ladder: Ladder) -> int:
    """Bytes that a fresh ladder takes to find the deviation of the MLLM's embeddings."""
    embedding = ladder.understanding.mllm.get_input_embeddings().weight
    return rise(lambda: embedding.float()) if embedding.dtype != torch.float32 else 0


def drawing_rise(models: FakeModels, batch: int, caption: int, pictures: int) -> int:
    """Bytes that drawing so many pictures adds to what is loaded."""
    ladder, rows = models.ladder, batch * (3 if pictures else 2)
    width = ladder.queries.dtype

    def draw() -> None:
        prompts = models.prompts(batch + 1, caption, pictures)
        conditions = ladder.conditions(prompts).mean(0, keepdim=True).expand(rows, -1, -1)
        noisy = models.latents(rows).to(width)
        with ConditionsOnce(ladder.generator):
            for _ in range(2):
                velocity = ladder.velocity(noisy, torch.ones(rows), conditions)
        decoded(models.autoencoder, velocity[:batch])

    training = ladder.training
    ladder.eval()
    with torch.no_grad():
        found = rise(draw)
    ladder.train(training)
    return found


def verb_needs(config: Config, dtype: torch.dtype, tokens: int) -> dict[str, Need]:
    """Of what one process does on a CPU with a picture of the generator's size: `encode`, and in
    `dtype` `generate`, `edit` and `ask`, whose answer has so many tokens, and the import and export
    of a published checkpoint that is stored in it."""
    with fake():
        models = FakeModels(config, dtype)
        ladder, autoencoder = models.ladder.eval(), models.autoencoder
        frozen, decoder = weights(ladder.understanding), weights(autoencoder)
        everything = {
            "libraries": LIBRARIES["draw"], "MLLM": frozen,
            "generator and connectors": weights(ladder) - frozen, "autoencoder": decoder,
        }  # fmt: skip
        words = ladder.understanding.mllm.get_input_embeddings().weight
        load = everything | {"scale of the embeddings": scale_rise(ladder)}
        check = everything | {"check of weights": rise(lambda: words.isfinite().all())}
        copy = {"copy of the embeddings": words.nbytes}
        drawn = [{"drawing": drawing_rise(models, 1, CAPTION, pictures)} for pictures in (0, 1)]
        side = ladder.generator.config.sample_size * compression(autoencoder)
        pictures = torch.empty(config.encoding.batch, 3, side, side, dtype=dtype)
        with torch.no_grad():
            encoding = rise(lambda: autoencoder.encode(pictures))
            answer = rise(lambda: models.answer(tokens))
    return {
        "encode": Need(
            {"libraries": LIBRARIES["curate"], "autoencoder": decoder, "pictures": encoding}
        ),
        "generate": worst({"load": load, "check": check, "draw": everything | drawn[0]}),
        "edit": worst({"load": load, "check": check, "draw": everything | drawn[1]}),
        "ask": worst({"load": load, "check": check, "answer": everything | {"answer": answer}}),
        "import": worst({"load": load | copy, "check": check | copy}),
        "export": worst({"load": load, "write": everything | copy}),
    }
