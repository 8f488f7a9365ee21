"""What each verb needs of memory at its worst moment, from configurations alone.

The classes that train and draw are built of fake tensors (`ladder.profiling.live_memory`) and take
their steps: a stage its training step with gradients, moments and averages, a drawing its solver's
steps and the autoencoder. What is there all the time (weights) and what only processes of the real
size showed (the libraries, pages of files that are being read) is added by name.

Letters: B batch, T tokens of a prompt.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import AutoencoderDC, SanaTransformer2DModel
from torch import Tensor, nn
from transformers import Qwen2_5_VLForConditionalGeneration

from ladder.config.load import Config, Stage
from ladder.data.training.datamodule import Batch
from ladder.models.ladder import Ladder
from ladder.models.layer_selection import layer_indices
from ladder.models.lora import adapt_mllm
from ladder.models.mllm.frozen import Understanding
from ladder.models.mllm.prompts import Prompts
from ladder.models.reference import Reference
from ladder.profiling.live_memory import fake, rise, without_fakes
from ladder.profiling.published_sizes import generator_config, mllm_config
from ladder.training.module import LadderModule

FRAME = 39
"""Tokens around the text in the ladder's prompt; reckoned, without Qwen's tokenizer."""
AROUND = 2
"""Tokens around a picture in a prompt."""
VISUAL = 256
"""Tokens of a picture, where the configuration leaves them to the MLLM's own processor."""
LIBRARIES = {"draw": 0.55e9, "train": 0.75e9}
"""Bytes of Python and of the libraries that a verb imports, before there is any model; measured."""


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
            generator = SanaTransformer2DModel.from_config(sana).to(width)
            self.autoencoder = AutoencoderDC.from_config(autoencoder).to(width)
            nothing = Reference("", None, "", None)  # type: ignore[arg-type]
            understanding = Unread(mllm, None, nothing)  # type: ignore[arg-type]
            understanding.to(getattr(torch, config.foundations.dtype))
            depth, blocks = understanding.depth, generator.config.num_layers
            taps = layer_indices(model.scheme, blocks, depth, model.layers)
            self.ladder = Ladder(
                understanding, generator, taps, model.queries, model.connectors,
                model.connector_width,
            )  # fmt: skip
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


def weights(module: nn.Module) -> int:
    """Bytes of all its parameters and buffers."""
    return sum(value.nbytes for value in (*module.parameters(), *module.buffers()))


def stage_need(config: Config, name: str, stage: Stage, caption: int, pictures: int) -> Need:
    with fake():
        models = FakeModels(config)
        ladder = models.ladder
        if config.cluster.checkpointing != "none":
            ladder.enable_gradient_checkpointing(queries=config.cluster.checkpointing == "all")
        ladder.train()
        module = LadderModule(ladder, stage, config.flow, name, 0)
        optimizer = module.configure_optimizers()["optimizer"]
        trained = sum(value.nbytes for value in ladder.trainable_parameters())
        micro = stage.batch // stage.accumulate
        batch = Batch(models.latents(micro), models.prompts(micro, caption, pictures), [""] * micro)

        def step() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=stage.precision == "bf16-mixed"):
                loss = module.training_step(batch, 0)
            loss.backward()
            optimizer.step()
            module.ema.update()

        first = rise(step)
        optimizer.zero_grad(set_to_none=True)
        later = rise(step)
        return first, later, trained, weights(ladder.understanding.mllm), weights(ladder)
