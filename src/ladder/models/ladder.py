"""The whole: a frozen MLLM, queries, a connector and a generator, trained but for the MLLM.

    prompt --MLLM, frozen--> states of the queries at N layers --connector--> N rungs
    noisy latents --block 1 .. N, block i attends to rung i--> velocity

Letters: B batch, N rungs (one a block of the generator), Q queries, NQ all of them in a row,
D width of the MLLM, C caption channels, Z latent channels, H and W latent height and width.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import ModelMixin
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ladder.config.files import read_json
from ladder.config.load import Foundations, Model
from ladder.models.connector import Connector, ConnectorPerRung
from ladder.models.generator import families
from ladder.models.generator.rung_attention import (
    add_lora,
    attach_rungs,
    load_generator,
    merge_lora,
    write_lora,
)
from ladder.models.layer_selection import LayerMixture, Taps, layer_indices
from ladder.models.loading import generator_folder
from ladder.models.lora import adapt_mllm, adapted, is_adapter, read_mllm_adapter, write_adapter
from ladder.models.mllm.frozen import Understanding
from ladder.models.mllm.prompts import Prompts
from ladder.models.reference import Reference

CONFIG = "config.json"
WEIGHTS = "ladder.safetensors"
GENERATOR = "generator"
MLLM_ADAPTER = "mllm_adapter"
VISUAL_TOKENS, ASPECTS = "visual_tokens", "aspects"
"""Keys of what is there only where it was asked for."""
SQUARE = (1.0,)
MOST_VISUAL_TOKENS = 2**14
"""Of a picture; as many as Qwen's own processor allows."""


class Ladder(ModelMixin):
    """Conditions each block of a generator on its own layer of an MLLM.

    It is a diffusers model only so that a pipeline can save, load and move it. `state_dict` is
    whole; what a ladder consists of beside its MLLM is `trainable_state`.
    """

    def __init__(
        self,
        understanding: Understanding,
        generator: families.Generator,
        taps: Taps,
        queries: int,
        connectors: Literal["shared", "per_rung"] = "shared",
        connector_width: int | None = None,
        seed: int = 0,
        aspects: Sequence[float] = SQUARE,
    ) -> None:
        """Put the parts together, and draw fresh queries and fresh connectors from `seed`.

        `connector_width` None is the generator's caption channels; `aspects` are the widths to
        heights of the pictures that it is trained on. Raises ValueError if the taps
        were made for other parts, and for a generator that isn't one of `GENERATORS`.
        """
        super().__init__()
        families.require_generator(generator)
        if taps.depth != understanding.depth:
            raise ValueError(f"taps are for {taps.depth} layers, got {understanding.depth}")
        channels = families.caption_channels(generator)
        widths = (understanding.width, connector_width or channels, channels)
        self.understanding = understanding
        self.connectors = connectors
        self.aspects = tuple(aspects)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            drawn = torch.randn(queries, understanding.width)
            self.connector = (
                ConnectorPerRung(taps.blocks, *widths)
                if connectors == "per_rung"
                else Connector(*widths)
            )
        self.queries = nn.Parameter(drawn * understanding.embedding_std)
        self.mixture = LayerMixture(taps)
        self.generator = attach_rungs(generator, taps.blocks)

    @classmethod
    def from_foundations(
        cls,
        model: Model,
        foundations: Foundations,
        seed: int,
        aspects: Sequence[float] = SQUARE,
    ) -> Ladder:
        """A fresh ladder between pretrained parts; `seed` draws queries, connector and shuffles.

        The MLLM computes in `foundations.dtype`; what is trained is float32.
        """
        understanding = Understanding.from_pretrained(
            foundations.mllm, getattr(torch, foundations.dtype), foundations.visual_tokens
        )
        source = foundations.generator
        generator = load_generator(source, generator_folder(source))
        blocks = len(families.cross_attentions(generator))
        taps = layer_indices(model.scheme, blocks, understanding.depth, model.layers, seed)
        ladder = cls(
            understanding,
            generator,
            taps,
            model.queries,
            model.connectors,
            model.connector_width,
            seed,
            aspects,
        )
        if model.mllm_lora_rank is not None:
            adapt_mllm(understanding.mllm, model.mllm_lora_rank, model.dora, taps.highest, seed)
        if model.query_text is not None:
            ladder.begin_queries_with(model.query_text)
        return ladder

    @torch.no_grad()
    def begin_queries_with(self, text: str) -> None:
        """Set the first queries to the embeddings of the tokens of `text` (arXiv 2104.08691).

        Words with which the MLLM itself would answer lead its layers to what an answer needs.
        """
        tokens = self.understanding.prompter.tokens(f" {text}")[: len(self.queries)]
        embeddings = self.understanding.mllm.get_input_embeddings().weight
        self.queries[: len(tokens)] = embeddings[tokens].to(self.queries)

    @property
    def connector_width(self) -> int:
        """The hidden units of a connector."""
        return next(self.connector.parameters()).shape[0]

    @property
    def taps(self) -> Taps:
        """The layers that feed the blocks."""
        return self.mixture.taps

    def conditions(
        self, prompts: Prompts, noise: Float[Tensor, "B Q D"] | None = None
    ) -> Float[Tensor, "B NQ C"]:
        """What the generator attends to: for each prompt its N rungs of Q tokens in a row.

        `noise` is added to the queries, another one for each prompt.
        """
        queries = self.queries if noise is None else self.queries + noise
        states = self.understanding.rungs(prompts, queries, self.taps)
        rungs = self.connector(self.mixture(states.to(self.queries.dtype)))
        return rungs.transpose(0, 1).flatten(1, 2)

    def velocity(
        self,
        latents: Float[Tensor, "B Z H W"],
        timesteps: Float[Tensor, " B"],
        conditions: Float[Tensor, "B NQ C"],
    ) -> Float[Tensor, "B Z H W"]:
        """The velocity at noisy `latents`; `timesteps` are 1000 s, as schedulers count them."""
        return families.velocity(self.generator, latents, timesteps, conditions)

    def forward(
        self,
        latents: Float[Tensor, "B Z H W"],
        timesteps: Float[Tensor, " B"],
        prompts: Prompts,
    ) -> Float[Tensor, "B Z H W"]:
        """The velocity at noisy `latents` (time 1000 s) for `prompts`."""
        return self.velocity(latents, timesteps, self.conditions(prompts))

    def begin_lora(self, rank: int, seed: int, dora: bool = False) -> None:
        """From now on the generator's blocks learn low-rank changes only, drawn from `seed`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            add_lora(self.generator, rank, dora)

    def save_lora(self, folder: Path) -> None:
        """Write what was learnt so to a folder that peft loads upon the generator of before."""
        write_lora(self.generator, folder)

    def end_lora(self) -> None:
        """Add what was learnt so to the generator's weights: it is a stock model again."""
        merge_lora(self.generator)

    def enable_gradient_checkpointing(self, queries: bool = False) -> None:
        """Recompute the generator's blocks in the backward pass, and with `queries` the layers that
        these run through: less memory, more time."""
        self.generator.enable_gradient_checkpointing()
        self.understanding.checkpointing = queries

    def disable_gradient_checkpointing(self) -> None:
        """Keep all activations again."""
        self.generator.disable_gradient_checkpointing()
        self.understanding.checkpointing = False

    def named_trainables(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and values of all that is trained: everything but the MLLM's own weights."""
        return ((name, value) for name, value in self.named_parameters() if value.requires_grad)

    def trainable_parameters(self) -> list[nn.Parameter]:
        """All that is trained: queries, connector, generator, weights of a learned mixture, and an
        adapter of the MLLM."""
        return [value for _, value in self.named_trainables()]

    def trainable_state(self) -> dict[str, Tensor]:
        """The state of everything but the MLLM's own weights."""
        return {
            name: value
            for name, value in self.state_dict().items()
            if not name.startswith("understanding.") or is_adapter(name)
        }

    def load_trainable_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `trainable_state` gave; missing or unexpected keys raise ValueError."""
        _check_keys(self.trainable_state(), state)
        self.load_state_dict(state, strict=False)

    def save_pretrained(self, save_directory: Path | str, dtype: torch.dtype | None = None) -> None:
        """Write all that is trained to a folder, and the MLLM by reference.

        `dtype` is that of the stored weights; None leaves them as they are.
        """
        folder = Path(save_directory)
        (folder / GENERATOR).mkdir(parents=True, exist_ok=True)
        own, generator = {}, {}
        for name, value in self.trainable_state().items():
            part = generator if name.startswith("generator.") else own
            if not name.startswith("understanding."):
                part[name.removeprefix("generator.")] = value.to(dtype or value.dtype).contiguous()
        save_file(own, folder / WEIGHTS)
        save_file(generator, folder / GENERATOR / SAFETENSORS_WEIGHTS_NAME, {"format": "pt"})
        self.generator.save_config(folder / GENERATOR)
        settings = {
            "taps": asdict(self.taps),
            "queries": len(self.queries),
            "connectors": self.connectors,
            "connector_width": self.connector_width,
            "mllm": self.understanding.reference.as_dict(folder),
        }
        if self.understanding.visual_tokens is not None:
            settings[VISUAL_TOKENS] = self.understanding.visual_tokens
        if self.aspects != SQUARE:
            settings[ASPECTS] = self.aspects
        if adapted(self.understanding.mllm):
            write_adapter(self.understanding.mllm, folder / MLLM_ADAPTER, dtype)
            settings[MLLM_ADAPTER] = True
        (folder / CONFIG).write_text(json.dumps(settings, indent=2) + "\n")

    @classmethod
    def from_pretrained(
        cls,
        folder: Path | str,
        torch_dtype: torch.dtype | None = None,
        mllm_dtype: torch.dtype | None = None,
        **_: Any,
    ) -> Ladder:
        """Load a saved ladder in `torch_dtype` (default float32) and the MLLM it names in
        `mllm_dtype` (default the same), whose adapter is float32 all the same.

        A pipeline passes diffusers' other loading options too; they have no meaning here. Raises
        ValueError if the MLLM isn't the one the ladder was trained on, or keys don't match.
        """
        folder, dtype = Path(folder), torch_dtype or torch.float32
        settings = read_json(folder / CONFIG)
        taps = Taps(**settings["taps"] | {"layers": tuple(settings["taps"]["layers"])})
        require_sizes(settings, folder / WEIGHTS)
        reference = Reference.read(settings["mllm"], folder)
        generator = load_generator(folder, GENERATOR, dtype)
        visual_tokens = settings.get(VISUAL_TOKENS)
        understanding = Understanding.from_pretrained(reference, mllm_dtype or dtype, visual_tokens)
        if settings.get(MLLM_ADAPTER):
            read_mllm_adapter(understanding.mllm, folder / MLLM_ADAPTER, taps.highest)
        ladder = cls(
            understanding,
            generator,
            taps,
            settings["queries"],
            settings["connectors"],
            settings["connector_width"],
            aspects=settings.get(ASPECTS, SQUARE),
        )
        ladder._own_to(dtype)
        own = load_file(folder / WEIGHTS)
        own |= {
            name: value
            for name, value in ladder.trainable_state().items()
            if name.startswith(("generator.", "understanding."))
        }
        ladder.load_trainable_state(own)
        return ladder

    def _own_to(self, dtype: torch.dtype) -> None:
        """Cast all but the MLLM. (diffusers' `to` warns of modules that must stay in float32.)"""
        for part in (self.connector, self.mixture, self.generator):
            nn.Module.to(part, dtype)
        self.queries.data = self.queries.data.to(dtype)


def require_sizes(settings: Mapping[str, Any], weights: Path) -> None:
    """Raises ValueError for sizes that aren't those of the stored weights, before any is made."""
    with safe_open(weights, "pt") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    hidden = next(shape[0] for name, shape in sorted(shapes.items()) if name.endswith("0.weight"))
    for name, found in (("queries", shapes["queries"][0]), ("connector_width", hidden)):
        if settings[name] != found:
            raise ValueError(f"{name} must be {found} as in {weights}, got {settings[name]!r:.100}")
    tokens = settings.get(VISUAL_TOKENS, 1)
    if type(tokens) is not int or not 1 <= tokens <= MOST_VISUAL_TOKENS:
        raise ValueError(
            f"{VISUAL_TOKENS} must be a whole number from 1 to {MOST_VISUAL_TOKENS}, got {tokens!r}"
        )


def _check_keys(expected: Iterable[str], found: Iterable[str]) -> None:
    missing, unexpected = set(expected) - set(found), set(found) - set(expected)
    if missing or unexpected:
        raise ValueError(
            "the keys of a ladder's state must match, got "
            f"missing {sorted(missing)}, unexpected {sorted(unexpected)}"
        )
