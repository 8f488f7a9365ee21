"""`ladder plan`: what a training needs, before anything is downloaded or started.

Everything is computed from the configurations of the models, built on torch's meta device: no
weight exists. FLOP of forward passes are counted by torch operation by operation. A backward pass
costs twice its forward, or once through frozen weights; a checkpointed one, one forward more.

Letters: S tokens of a prompt, Q queries, N rungs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import AutoencoderDC, SanaTransformer2DModel
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen2_5_VLForConditionalGeneration

from ladder.config.load import Config, Stage
from ladder.models.connector import Connector
from ladder.models.generator.rung_attention import attach_rungs
from ladder.models.layer_selection import layer_indices
from ladder.profiling.memory import AROUND, FRAME, VISUAL, stage_needs
from ladder.profiling.published_sizes import generator_config, mllm_config

CLOSING = 2
"""Tokens with which the published code closes the turn behind the queries."""
GIB, TERA = 2**30, 1e12
HEADROOM = 0.92
"""Share of a GPU's memory that may be planned."""


@dataclass(frozen=True)
class Parts:
    """Parameters, in numbers of values."""

    mllm: int
    generator: int
    connector: int
    queries: int
    autoencoder: int

    @property
    def trained(self) -> int:
        return self.generator + self.connector + self.queries

    @property
    def frozen(self) -> int:
        """What a training holds but doesn't change; latents are encoded before."""
        return self.mllm


@dataclass(frozen=True)
class Flops:
    """Of a sample's training step with one noise, in FLOP."""

    prompt: float
    queries: float
    generator: float

    @property
    def total(self) -> float:
        return self.prompt + self.queries + self.generator


class MetaModels:
    """The real classes on the meta device."""

    def __init__(self, config: Config) -> None:
        settings = mllm_config(config.foundations.mllm)
        sana, autoencoder = generator_config(config.foundations.generator)
        model, text = config.model, settings.text_config
        with torch.device("meta"):
            self.mllm = Qwen2_5_VLForConditionalGeneration(settings).requires_grad_(False)
            self.generator = SanaTransformer2DModel.from_config(sana)
            self.autoencoder = AutoencoderDC.from_config(autoencoder)
            channels = self.generator.config.caption_channels
            hidden = model.connector_width or channels
            self.connector = Connector(text.hidden_size, hidden, channels)
        self.taps = layer_indices(
            model.scheme, self.generator.config.num_layers, text.num_hidden_layers, model.layers
        )
        attach_rungs(self.generator, self.taps.blocks)
        self.width, self.queries = text.hidden_size, model.queries
        self.visual_tokens = config.foundations.visual_tokens or VISUAL

    def parts(self) -> Parts:
        numbers = (size(x) for x in (self.mllm, self.generator, self.connector))
        mllm, generator, connector = numbers
        return Parts(mllm, generator, connector, self.queries * self.width, size(self.autoencoder))

    def read(self, tokens: int, layers: int) -> float:
        """FLOP of a forward pass of so many tokens through the first `layers` of the MLLM."""
        language = self.mllm.model.language_model
        states = torch.empty(1, tokens, self.width, device="meta")
        positions = torch.zeros(3, 1, tokens, dtype=torch.long, device="meta")
        rotary = language.rotary_emb(states, positions)

        def run() -> None:
            value = states
            for layer in language.layers[:layers]:
                value = layer(value, attention_mask=None, position_embeddings=rotary)

        return counted(run)

    def learn(self, tokens: int) -> float:
        """FLOP of a whole checkpointed step through the frozen MLLM, back to its embeddings."""
        language = self.mllm.model.language_model.train()
        language.activation_checkpointing_enable()
        states = torch.empty(1, tokens, self.width, device="meta", requires_grad=True)
        positions = torch.zeros(3, 1, tokens, dtype=torch.long, device="meta")
        with FlopCounterMode(display=False) as counter:
            language(
                inputs_embeds=states,
                position_ids=positions,
                attention_mask={"full_attention": None},
                use_cache=False,
            ).last_hidden_state.sum().backward()
        language.activation_checkpointing_disable()
        return float(counter.get_total_flops())

    def draw(self) -> float:
        """FLOP of a forward pass of connector and generator for one sample."""
        tokens = self.taps.blocks * self.queries
        states = torch.empty(1, tokens, self.width, device="meta")
        return counted(lambda: self.velocity(self.connector(states)))

    def velocity(self, conditions: Tensor) -> Tensor:
        side, channels = self.generator.config.sample_size, self.generator.config.in_channels
        latents = torch.empty(1, channels, side, side, device="meta")
        time = torch.empty(1, device="meta")
        return self.generator(latents, encoder_hidden_states=conditions, timestep=time).sample

    def look(self) -> float:
        """FLOP of the vision tower for one picture: its matrices, and its attention within windows
        or, in some blocks, over the whole picture."""
        vision = self.mllm.model.visual
        settings = vision.config
        merged = settings.spatial_merge_size**2
        patches = merged * self.visual_tokens
        window = (settings.window_size // settings.patch_size) ** 2
        whole = len(settings.fullatt_block_indexes)
        span = whole * patches + (settings.depth - whole) * min(window, patches)
        matrices = patches * size(vision.blocks) + self.visual_tokens * size(vision.merger)
        return float(2 * matrices + 4 * patches * span * settings.hidden_size)

    def encode(self) -> float:
        """FLOP of encoding one picture."""
        scale = 2 ** (len(self.autoencoder.config.encoder_block_out_channels) - 1)
        side = self.generator.config.sample_size * scale
        picture = torch.empty(1, 3, side, side, device="meta")
        return counted(lambda: self.autoencoder.encode(picture))


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def counted(run: Callable[[], object]) -> float:
    """FLOP of `run`, twice the multiply-adds of its matrix products and convolutions."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return float(counter.get_total_flops())


def flops(
    models: MetaModels, caption: int, checkpointed: bool = False, edits: float = 0.0
) -> Flops:
    """FLOP of a training step for a sample with a caption of so many tokens.

    `edits` is the share of samples with a picture that is to be changed.
    """
    prompt, highest = FRAME + caption, models.taps.highest
    queries = models.read(models.queries, highest)
    drawn = models.draw()
    seen = models.visual_tokens + AROUND
    reading = models.read(prompt, highest)
    if edits:
        changed = models.read(prompt + seen, highest) + models.look()
        reading += edits * (changed - reading)
    return Flops(reading, 2 * queries, (4 if checkpointed else 3) * drawn)


def published_flop(models: MetaModels, caption: int) -> float:
    """What the published step takes for a sample without a picture to be changed: everything with
    gradients, checkpointed, and the picture encoded anew."""
    whole = FRAME + caption + models.queries + CLOSING
    return models.learn(whole) + 4 * models.draw() + models.encode()


def plan(
    config: Config, caption: int, devices: int, memory: float, speed: float, mfu: float
) -> list[str]:
    """What to expect, in lines. `memory` in GiB and `speed` in TFLOP/s are a GPU's; `mfu` is the
    share of the speed that is reached.

    Raises ValueError, after nothing was started, if a stage doesn't fit into the memory; it says
    what most of the memory is for, and what would help.
    """
    models = MetaModels(config)
    parts = models.parts()
    lines = [
        f"trained   {parts.trained / 1e9:8.4g} B   generator {parts.generator / 1e9:.4g} B, "
        f"connector {parts.connector / 1e6:.1f} M, queries {parts.queries / 1e3:.0f} k",
        f"frozen    {parts.frozen / 1e9:8.4g} B   MLLM; autoencoder "
        f"{parts.autoencoder / 1e6:.0f} M, only before training",
        f"download  {2 * (parts.mllm + parts.generator + parts.autoencoder) / GIB:8.3g} GiB in "
        "bfloat16",
    ]
    flag = config.cluster.checkpointing != "none"
    needed = stage_needs(config, caption, devices)
    for name, need in needed.items():
        stage: Stage = getattr(config.stages, name)
        cost = flops(models, caption, flag, edits(stage))
        step = stage.batch * (cost.prompt + cost.queries + stage.noise_samples * cost.generator)
        hours = stage.steps * step / (speed * mfu * TERA) / 3600
        most = sorted(need.parts.items(), key=lambda item: -item[1])[:3]
        lines += [
            f"{name:9} {step / TERA:8.3g} TFLOP a step and GPU, {stage.steps} steps: "
            f"{hours * devices:.2g} GPU-hours, or {hours:.2g} hours of {devices} GPUs",
            f"          {need.bytes / GIB:8.3g} GiB a GPU: "
            + ", ".join(f"{part} {size / GIB:.3g}" for part, size in most)
            + f", the rest {(need.bytes - sum(size for _, size in most)) / GIB:.3g}",
        ]
        if need.bytes > HEADROOM * memory * GIB:
            raise ValueError(
                f"{name} needs {need.bytes / GIB:.0f} GiB a GPU, of {memory:g} there are "
                f"{HEADROOM * memory:.0f} to use; the largest part, "
                f"{need.parts[need.largest] / GIB:.1f} GiB, is for {need.largest}: "
                f"{way_out(need.largest, name, config)}"
            )
    trained = next(iter(needed.values())).checkpoint
    lines.append(
        f"disk      {trained / GIB:8.3g} GiB a checkpoint, and a new one is written beside it"
    )
    cost = flops(models, caption)
    lines.append(
        f"a sample  {cost.total / TERA:8.3g} TFLOP with a caption of {caption} tokens; "
        f"the published step {published_flop(models, caption) / TERA:.3g}"
    )
    return lines


def way_out(part: str, stage: str, config: Config) -> str:
    """What makes a part of a stage's memory smaller."""
    if part in ("activations", "drawing"):
        ways = [f"lower stages.{stage}.batch or raise its accumulate"]
        if part == "drawing":
            ways = ["lower sampling.batch"]
        elif config.cluster.checkpointing != "all":
            ways.append("set cluster.checkpointing to all")
    elif part == "MLLM" and config.foundations.dtype == "float32":
        ways = ["set foundations.dtype to bfloat16"]
    else:
        spread = {"ddp": "deepspeed or fsdp", "auto": "deepspeed or fsdp", "deepspeed": "fsdp"}
        ways = [
            f"set cluster.strategy to {spread.get(config.cluster.strategy, 'fsdp')} on more GPUs"
        ]
        if config.model.lora_rank is None:
            ways.append("give model.lora_rank")
    return ", or ".join(ways)


def edits(stage: Stage) -> float:
    """The share of a stage's samples that have a picture to be changed."""
    return sum(share for name, share in stage.mixture.items() if "ti2i" in name)
