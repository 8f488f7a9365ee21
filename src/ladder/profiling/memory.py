"""What each verb needs of memory at its worst moment, from configurations alone.

The classes that train and draw are built of fake tensors (`ladder.profiling.live_memory`) and take
their steps: a stage its training step with gradients, moments and averages, a drawing its solver's
steps and the autoencoder. What is there all the time (weights) and what only processes of the real
size showed (the libraries, pages of files that are being read) is added by name.

Letters: B batch, T tokens of a prompt.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from diffusers import AutoencoderDC, SanaTransformer2DModel
from torch import Tensor, nn
from transformers import Qwen2_5_VLForConditionalGeneration

from ladder.config.load import Config, Stage
from ladder.data.training.datamodule import Batch
from ladder.models.generator.autoencoder import decoded
from ladder.models.generator.rung_attention import ConditionsOnce
from ladder.models.ladder import Ladder
from ladder.models.layer_selection import layer_indices
from ladder.models.lora import adapt_mllm
from ladder.models.mllm.frozen import Understanding
from ladder.models.mllm.prompts import Prompts
from ladder.models.reference import Reference
from ladder.profiling.live_memory import Live, fake, rise, without_fakes
from ladder.profiling.published_sizes import generator_config, mllm_config
from ladder.training.module import LadderModule
from ladder.training.strategies.deepspeed import BUCKET

FRAME = 39
"""Tokens around the text in the ladder's prompt; reckoned, without Qwen's tokenizer."""
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

    parts: dict[str, int]
    flop: float = 0.0

    @property
    def bytes(self) -> int:
        return sum(self.parts.values())

    @property
    def largest(self) -> str:
        """What most of them are for."""
        return max(self.parts, key=self.parts.__getitem__)


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
            nothing = Reference("", None, "", None)  # type: ignore[arg-type]
            understanding = Unread(mllm, None, nothing)  # type: ignore[arg-type]
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


def worst(phases: dict[str, dict[str, float]]) -> Need:
    """The phase in which the most is needed."""
    return Need(max(phases.values(), key=lambda parts: sum(parts.values())))


def stage_need(
    config: Config, name: str, caption: int, processes: int = 1, device: str = "cuda"
) -> Need:
    """Of one process of a stage, whose batch is all edits if it has any.

    A stage's process reads its models; takes steps (forward and backward pass, with the gradients
    of the step before until the backward begins; the optimizer); and draws grids. On GPUs AdamW
    takes all weights at once. Where weights or moments are spread over `processes`, each has its
    part; what a process gathers to write a checkpoint is on the CPU.
    """
    stage: Stage = getattr(config.stages, name)
    strategy = config.cluster.strategy
    spread = processes if strategy in ("fsdp", "deepspeed") else 1
    pictures = any("ti2i" in one for one in stage.mixture)
    with fake():
        models = FakeModels(config)
        ladder = models.ladder
        if config.cluster.checkpointing != "none":
            ladder.enable_gradient_checkpointing(queries=config.cluster.checkpointing == "all")
        ladder.train()
        module = LadderModule(ladder, stage, config.flow, name, 0)
        values = ladder.trainable_parameters()
        trained = sum(value.nbytes for value in values)
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
        frozen, own = weights(ladder.understanding), weights(ladder) - weights(ladder.understanding)
        scale = rise(lambda: ladder.understanding.mllm.get_input_embeddings().weight.float())
        grid = drawing_rise(models, GRID * len(stage.mixture), caption, pictures, config)
        decoder = weights(models.autoencoder)
    layers = frozen * (1 - 1 / spread) if strategy == "fsdp" else 0
    parts = 1 / spread
    there: dict[str, float] = {
        "libraries": LIBRARIES["train"],
        "MLLM": frozen - layers,
        "generator and connectors": own * (parts if strategy == "fsdp" else 1),
        "moving average": FLOAT * count(values) * parts,
    }
    moments = {"moments": 2 * FLOAT * count(values) * parts}
    gradients = {"gradients": trained * parts}
    ahead = max(forward, both - trained)
    if strategy == "ddp" and processes > 1:
        moments["buckets of gradients"] = trained
    elif strategy == "deepspeed":
        moments["weights that are stepped"] = FLOAT * count(values) * parts
        moments["buckets of gradients"] = 2 * FLOAT * min(BUCKET, count(values))
    stepping = {"optimizer's step": 2 * trained * parts} if device == "cuda" else {}
    if device == "cuda":
        there["libraries"] = CUDA
    return worst(
        {
            "load": there | {"scale of embeddings": scale},
            "pass": there | moments | gradients | {"activations": ahead},
            "step": there | moments | gradients | stepping,
            "grid": there | moments | gradients
            | {"weights' copy": trained, "autoencoder": decoder, "drawing": grid},
        }
    )  # fmt: skip


def count(values: Iterable[Tensor]) -> int:
    """How many numbers."""
    return sum(value.numel() for value in values)


def drawing_rise(
    models: FakeModels, batch: int, caption: int, pictures: int, config: Config
) -> int:
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


def verb_needs(config: Config, dtype: torch.dtype) -> dict[str, Need]:
    """Of `encode`, and of what draws and answers in `dtype`, all by one process on a CPU."""
    with fake():
        models = FakeModels(config, dtype)
        ladder, decoder = models.ladder, weights(models.autoencoder)
        everything = {
            "libraries": LIBRARIES["draw"],
            "MLLM": weights(ladder.understanding),
            "generator and connectors": weights(ladder) - weights(ladder.understanding),
            "autoencoder": decoder,
        }
        scale = rise(lambda: ladder.understanding.mllm.get_input_embeddings().weight.float())
        drawn = {
            name: worst(
                {
                    "load": everything | {"scale of embeddings": scale},
                    "draw": everything | {"drawing": drawing_rise(models, 1, 20, edit, config)},
                }
            )
            for name, edit in (("generate", 0), ("edit", 1))
        }
    return drawn
