"""The generator: a stock diffusion model whose block i cross-attends to rung i only.

All rungs go in as one long caption (B, N*Q, C) through the model's own forward, with its projection
and norm of captions where it has them, and each block's cross-attention cuts out its rung. So no
forward is copied, and gradient checkpointing, offloading and LoRA work as they do in diffusers.

Letters: B batch, N rungs, Q queries, NQ all of them in a row, C width of a caption that a block
attends to, I width of the block, S picture tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from diffusers.utils import recurse_remove_peft_layers
from jaxtyping import Float
from peft import inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from ladder.models.generator.families import GENERATORS, Generator, caption_parts, cross_attentions
from ladder.models.loading import class_of, load_part
from ladder.models.lora import NAME, adapter, write_adapter

ADAPTED = r".*\.attn[12]\.(to_q|to_k|to_v|to_out\.0)"
"""The matrices that LoRA changes: those of both attentions of a block."""


class RungProcessor:
    """A cross-attention as `attend` computes it, on one of the `rungs` rungs."""

    def __init__(self, rung: int, rungs: int, attend: Callable[..., Tensor]) -> None:
        self.rung = rung
        self.rungs = rungs
        self.attend = attend

    def __call__(
        self,
        attn: Attention,
        hidden_states: Float[Tensor, "B S I"],
        encoder_hidden_states: Float[Tensor, "B NQ C"],
        attention_mask: Tensor | None = None,
    ) -> Float[Tensor, "B S I"]:
        """Attend to the own rung in `encoder_hidden_states`, in which they all stand in a row.

        Raises ValueError if the rungs aren't equally long, or for a mask: no query is padding.
        """
        if encoder_hidden_states.shape[1] % self.rungs:
            raise ValueError(
                f"conditions must be {self.rungs} rungs of equal length, got "
                f"{encoder_hidden_states.shape[1]} tokens"
            )
        if attention_mask is not None:
            raise ValueError(f"rungs have no mask, got one of shape {tuple(attention_mask.shape)}")
        own = encoder_hidden_states.unflatten(1, (self.rungs, -1))[:, self.rung]
        return self.attend(attn, hidden_states, own)


def attach_rungs(generator: Generator, rungs: int) -> Generator:
    """Give block i of `generator` rung i: changes it in place, and returns it.

    A generator that had rungs gets new ones. Raises ValueError unless there is one rung a block.
    """
    attentions = cross_attentions(generator)
    if len(attentions) != rungs:
        raise ValueError(
            f"there must be one rung for each of {len(attentions)} blocks, got {rungs}"
        )
    for index, attention in enumerate(attentions):
        stock = attention.processor
        if isinstance(stock, RungProcessor):
            stock = stock.attend
        attention.set_processor(RungProcessor(index, rungs, stock))
    return generator


class ConditionsOnce:
    """A context in which a generator computes only once what depends on its conditions alone.

    That is their projection and norm, if any, and every block's keys and values of its rung: the
    many steps of a sampling share them. All calls within the context, which may be left and entered
    again, must be for the same conditions.
    """

    def __init__(self, generator: Generator) -> None:
        places = [(generator, name) for name in caption_parts(generator)]
        for attention in cross_attentions(generator):
            places += [(attention, "to_k"), (attention, "to_v")]
        self.places = [(parent, name, Once(getattr(parent, name))) for parent, name in places]

    def __enter__(self) -> None:
        for parent, name, once in self.places:
            setattr(parent, name, once)

    def __exit__(self, *_: object) -> None:
        for parent, name, once in self.places:
            setattr(parent, name, once.module)


class Once(nn.Module):
    """Gives the outcome of its first call at every call."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.outcome: Tensor | None = None

    def forward(self, *inputs: Any) -> Tensor:
        if self.outcome is None:
            self.outcome = self.module(*inputs)
        return self.outcome


def add_lora(generator: Generator, rank: int, dora: bool = False) -> None:
    """Freeze the weights of `generator` but for its projection of captions, if any, and put
    low-rank matrices, which start at no change, beside those of its attentions."""
    # diffusers' own `add_adapter` does the same, but PixArt lacks it.
    inject_adapter_in_model(adapter(rank, dora, ADAPTED), generator, NAME)
    for name in caption_parts(generator):
        generator.get_submodule(name).requires_grad_(True)


def write_lora(generator: Generator, folder: Path) -> None:
    """Write what it has learnt since `add_lora` as a folder of peft: upon the weights of then, peft
    makes of it the generator that `merge_lora` leaves."""
    write_adapter(generator, folder, whole=caption_parts(generator))


def merge_lora(generator: Generator) -> None:
    """Add the low-rank changes to the weights and remove their matrices; all can learn again."""
    for module in generator.modules():
        if isinstance(module, BaseTunerLayer):
            module.merge(adapter_names=[NAME])
    recurse_remove_peft_layers(generator)
    del generator.peft_config
    generator.requires_grad_(True)


def load_generator(
    source: Path | str, subfolder: str, dtype: torch.dtype = torch.float32
) -> Generator:
    """The generator in a subfolder of a folder or hub id.

    Raises ValueError for one that no ladder draws with, and when weights are missing or left over.
    """
    return load_part(class_of(GENERATORS, source, subfolder), source, subfolder, dtype)
