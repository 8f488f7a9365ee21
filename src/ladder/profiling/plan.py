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
from ladder.profiling.published_sizes import generator_config, mllm_config

FRAME = 39
"""Tokens around the caption in the ladder's prompt; reckoned, without Qwen's tokenizer."""
CLOSING = 2
"""Tokens with which the published code closes the turn behind the queries."""
ADAMW = 8
"""Bytes a trained weight of two moments in float32."""
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
    published: float
    """What the published step takes for the same sample: everything with gradients, checkpointed,
    and the picture encoded anew."""

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

    def encode(self) -> float:
        """FLOP of encoding one picture."""
        scale = 2 ** (len(self.autoencoder.config.encoder_block_out_channels) - 1)
        side = self.generator.config.sample_size * scale
        picture = torch.empty(1, 3, side, side, device="meta")
        return counted(lambda: self.autoencoder.encode(picture))

    def activations(self, checkpointed: bool, width: int = 2) -> int:
        """Bytes that the generator keeps for the backward pass of one sample, `width` a value."""
        switch = (
            self.generator.enable_gradient_checkpointing
            if checkpointed
            else self.generator.disable_gradient_checkpointing
        )
        switch()
        self.generator.train()
        kept: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            if not isinstance(tensor, nn.Parameter):
                kept[id(tensor)] = tensor.numel()
            return tensor

        conditions = torch.empty(
            1, self.taps.blocks * self.queries, self.generator.config.caption_channels,
            device="meta", requires_grad=True,
        )  # fmt: skip
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            self.velocity(conditions)
        return sum(kept.values()) * width


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def counted(run: Callable[[], object]) -> float:
    """FLOP of `run`, twice the multiply-adds of its matrix products and convolutions."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return float(counter.get_total_flops())


def flops(models: MetaModels, caption: int, checkpointed: bool = False) -> Flops:
    """FLOP of a training step for a sample with a caption of so many tokens, and no picture."""
    prompt, highest = FRAME + caption, models.taps.highest
    queries = models.read(models.queries, highest)
    drawn = models.draw()
    whole = prompt + models.queries + CLOSING
    published = models.learn(whole) + 4 * drawn + models.encode()
    return Flops(
        prompt=models.read(prompt, highest),
        queries=2 * queries,
        generator=(4 if checkpointed else 3) * drawn,
        published=published,
    )


def plan(
    config: Config, caption: int, devices: int, memory: float, speed: float, use: float
) -> list[str]:
    """What to expect, in lines. `memory` in GiB and `speed` in TFLOP/s are a GPU's; `use` is the
    share of the speed that is reached.

    Raises ValueError, after nothing was started, if the stages don't fit into the memory.
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
    kept = {flag: models.activations(flag) for flag in (False, True)}
    fixed = 2 * (parts.frozen + parts.trained) + (4 + 4 + ADAMW) * parts.trained
    costs = {flag: flops(models, caption, flag) for flag in (False, True)}
    flag = config.cluster.checkpointing != "none"
    for name in ("t2i", "ti2i", "finetune"):
        stage: Stage = getattr(config.stages, name)
        samples = stage.batch // stage.accumulate * stage.noise_samples
        needs = {flag: (fixed + samples * kept[flag]) / GIB for flag in kept}
        step = stage.batch * (
            costs[flag].prompt + costs[flag].queries + stage.noise_samples * costs[flag].generator
        )
        hours = stage.steps * step / (speed * use * TERA) / 3600
        lines.append(
            f"{name:9} {step / TERA:8.3g} TFLOP a step and GPU, {needs[False]:.3g} GiB "
            f"({needs[True]:.3g} checkpointed), {stage.steps} steps: {hours * devices:.2g} "
            f"GPU-hours, or {hours:.2g} hours of {devices} GPUs{', checkpointed' if flag else ''}"
        )
        if needs[flag] > HEADROOM * memory:
            raise ValueError(
                f"{name} needs {needs[flag]:.0f} GiB a GPU, of {memory:g} there are "
                f"{HEADROOM * memory:.0f} to use: lower stages.{name}.batch or raise accumulate"
                f"{'' if flag else ', or set cluster.checkpointing to generator'}"
            )
    cost = costs[False]
    lines.append(
        f"a sample  {cost.total / TERA:8.3g} TFLOP with a caption of {caption} tokens; "
        f"the published step {cost.published / TERA:.3g}"
    )
    return lines
