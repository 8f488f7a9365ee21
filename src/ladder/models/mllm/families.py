"""The language models that a ladder can read with, and in what they differ.

qwen2_5_vl  Qwen2.5-VL, the paper's (arXiv 2502.13923)
qwen3_vl    Qwen3-VL: what its vision tower sees on the way is added to the states of the first
            layers (DeepStack, arXiv 2406.04334)
qwen3       Qwen3, which reads text only (arXiv 2505.09388)

Letters: B batch, T tokens, D width, S tokens of a pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3ForCausalLM,
    Qwen3VLForConditionalGeneration,
)

from ladder.models.mllm.prompts import Prompts
from ladder.models.part_settings import require_file

MLLMS = {
    "qwen2_5_vl": Qwen2_5_VLForConditionalGeneration,
    "qwen3_vl": Qwen3VLForConditionalGeneration,
    "qwen3": Qwen3ForCausalLM,
}
"""By the type in their configuration. Their layers are called one by one, so another model is one
more test, not one more name."""


@dataclass(frozen=True)
class Embedded:
    """What enters the first layer, and what is added to the states after each of the first ones."""

    states: Float[Tensor, "B T D"]
    deeper: tuple[Float[Tensor, "B T D"], ...] = ()

    def __getitem__(self, places: tuple[slice, slice]) -> Embedded:
        """Some of the rows and tokens."""
        return Embedded(self.states[places], tuple(added[places] for added in self.deeper))


def load_mllm(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """The MLLM in a folder, to compute in `dtype`.

    Raises ValueError for a model that no ladder reads with, for a setting that can't be used, and
    when weights are missing or left over.
    """
    for name in ("config.json", "preprocessor_config.json"):
        require_file(folder / name)
    settings = AutoConfig.from_pretrained(folder)
    if settings.model_type not in MLLMS:
        known = ", ".join(MLLMS)
        raise ValueError(f"the MLLM must be one of {known}; {folder} holds {settings.model_type}")
    mllm, report = MLLMS[settings.model_type].from_pretrained(
        folder, dtype=dtype, output_loading_info=True
    )
    wrong = {kind: sorted(keys) for kind, keys in report.items() if keys}
    if wrong:
        raise ValueError(f"the weights in {folder} must fit the MLLM, got {wrong}")
    return mllm


def require_whole_prompt(settings: PreTrainedConfig) -> None:
    """Raises ValueError if some layers attend to the last tokens only."""
    if "sliding_attention" in (getattr(settings.get_text_config(), "layer_types", None) or ()):
        raise ValueError("the MLLM must attend to the whole prompt, got sliding-window layers")


def sees(mllm: PreTrainedModel) -> bool:
    """Whether it reads pictures; its positions then have three axes (mrope)."""
    return hasattr(mllm.model, "visual")


def language_model(mllm: PreTrainedModel) -> nn.Module:
    """Embeddings, layers and norm."""
    return mllm.model.language_model if sees(mllm) else mllm.model


def rotary(
    mllm: PreTrainedModel, states: Float[Tensor, "B S D"], positions: Int[Tensor, "3 B S"]
) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the positions."""
    return language_model(mllm).rotary_emb(states, positions if sees(mllm) else positions[0])


def embedded(mllm: PreTrainedModel, prompts: Prompts) -> Embedded:
    """The words' embeddings, with what the vision tower makes of the pictures in their places."""
    words = mllm.get_input_embeddings()(prompts.input_ids)
    if prompts.pixel_values is None:
        return Embedded(words)
    seen = mllm.get_image_features(prompts.pixel_values, prompts.image_grid_thw)
    places = (prompts.input_ids == mllm.config.image_token_id)[..., None]
    nothing = torch.zeros_like(words)
    deeper = getattr(seen, "deepstack_features", None) or ()
    return Embedded(
        words.masked_scatter(places, torch.cat(seen.pooler_output).to(words.dtype)),
        tuple(nothing.masked_scatter(places, torch.cat(x).to(words.dtype)) for x in deeper),
    )
