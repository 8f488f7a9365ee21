"""The generator: a stock Sana whose block i cross-attends to rung i only.

All rungs go in as one long caption (B, N*Q, C) through Sana's own forward, with its caption
projection and norm, and each block's cross-attention cuts out its rung. So no forward is copied,
and gradient checkpointing, offloading and LoRA work as they do in diffusers.

Letters: B batch, N rungs, Q queries, NQ all of them in a row, I inner width, S picture tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import ModelMixin, SanaTransformer2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.transformers.sana_transformer import SanaAttnProcessor2_0
from jaxtyping import Float
from peft import LoraConfig
from torch import Tensor, nn

LORA = "ladder"
"""Name of the adapter."""
LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
"""Ends of the names of the matrices that LoRA changes: those of both attentions of a block."""

Part = TypeVar("Part", bound=ModelMixin)


class RungProcessor(SanaAttnProcessor2_0):
    """Sana's cross-attention, on one of the `rungs` rungs."""

    def __init__(self, rung: int, rungs: int) -> None:
        super().__init__()
        self.rung = rung
        self.rungs = rungs

    def __call__(
        self,
        attn: Attention,
        hidden_states: Float[Tensor, "B S I"],
        encoder_hidden_states: Float[Tensor, "B NQ I"],
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
        return super().__call__(attn, hidden_states, own)


def attach_rungs(transformer: SanaTransformer2DModel, rungs: int) -> SanaTransformer2DModel:
    """Give block i of `transformer` rung i: changes it in place, and returns it.

    Raises ValueError unless there is one rung a block.
    """
    blocks = transformer.transformer_blocks
    if len(blocks) != rungs:
        raise ValueError(f"there must be one rung for each of {len(blocks)} blocks, got {rungs}")
    for index, block in enumerate(blocks):
        block.attn2.set_processor(RungProcessor(index, rungs))
    return transformer


class ConditionsOnce:
    """A context in which a generator computes only once what depends on its conditions alone.

    That is their projection and norm, and every block's keys and values of its rung: the many steps
    of a sampling share them. All calls within the context, which may be left and entered again,
    must be for the same conditions.
    """

    def __init__(self, transformer: SanaTransformer2DModel) -> None:
        places = [(transformer, "caption_projection"), (transformer, "caption_norm")]
        for block in transformer.transformer_blocks:
            places += [(block.attn2, "to_k"), (block.attn2, "to_v")]
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


def add_lora(transformer: SanaTransformer2DModel, rank: int) -> None:
    """Freeze the weights of `transformer` but for its projection of captions, and put low-rank
    matrices, which start at no change, beside those of its attentions (arXiv 2106.09685)."""
    transformer.add_adapter(
        LoraConfig(r=rank, lora_alpha=rank, init_lora_weights=True, target_modules=[*LORA_TARGETS]),
        adapter_name=LORA,
    )
    for name, value in transformer.named_parameters():
        if name.startswith("caption"):
            value.requires_grad_(True)


def merge_lora(transformer: SanaTransformer2DModel) -> None:
    """Add the low-rank changes to the weights and remove their matrices; all can learn again."""
    transformer.fuse_lora(adapter_names=[LORA])
    transformer.unload_lora()
    transformer.requires_grad_(True)


def load_part(
    part: type[Part], source: Path | str, subfolder: str, dtype: torch.dtype = torch.float32
) -> Part:
    """Load a diffusers model from a subfolder of a folder, or of a hub id (`id`, `id@revision`).

    Raises ValueError when weights are missing or left over.
    """
    name, revision = located(source)
    model, report = part.from_pretrained(
        name,
        subfolder=subfolder,
        revision=revision,
        torch_dtype=dtype,
        output_loading_info=True,
    )
    wrong = {kind: sorted(keys) for kind, keys in report.items() if keys}
    if wrong:
        raise ValueError(f"the weights in {source}/{subfolder} must fit, got {wrong}")
    return model


def located(source: Path | str) -> tuple[str, str | None]:
    """Name and revision of a folder, which has none, or of a hub id (`id`, `id@revision`)."""
    if Path(source).is_dir():
        return str(source), None
    name, _, revision = str(source).partition("@")
    return name, revision or None
