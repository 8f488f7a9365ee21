"""Low-rank changes of attention (LoRA, arXiv 2106.09685; DoRA, 2402.09353) by peft.

The generator has them for the length of a stage, which ends by adding them to its weights. The MLLM
keeps its own beside its weights: they act while queries pass, and at nothing else, so that prompts
are read and questions answered by the frozen weights alone. Both are written as folders that peft
loads. They are float32 whatever the weights beside them are, and are computed so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from peft import (
    LoraConfig,
    get_peft_model_state_dict,
    inject_adapter_in_model,
    set_peft_model_state_dict,
)
from peft.tuners.tuners_utils import BaseTunerLayer, cast_adapter_dtype
from peft.utils import CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME
from safetensors.torch import load_file, save_file
from torch import nn

from ladder.config.files import read_json
from ladder.models.load_errors import require_weights

NAME = "ladder"
"""Of an adapter within its model."""
PREFIX = "base_model.model."
"""Of the names in peft's files."""
UNSAID = ("base_model_name_or_path", "inference_mode", "peft_version")
"""Settings of peft that don't change what an adapter computes."""


def adapter(rank: int, dora: bool, targets: str) -> LoraConfig:
    """Changes of `rank`, which begin at none, of the matrices whose whole name matches `targets`.

    With `dora` the length of each row is learned apart from its direction.
    """
    return LoraConfig(r=rank, lora_alpha=rank, use_dora=dora, target_modules=targets)


def adapt_mllm(mllm: nn.Module, rank: int, dora: bool, layers: int, seed: int) -> None:
    """Put fresh changes, drawn from `seed`, beside the attention of the first `layers` layers.

    Raises ValueError if no layer runs. In bfloat16 DoRA begins at no change but for rounding.
    """
    if layers < 1:
        raise ValueError(f"an adapter of the MLLM needs a layer that runs, got {layers} layers")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(adapter(rank, dora, _attention(layers)), mllm, NAME)
    cast_adapter_dtype(mllm, NAME)
    _rest(mllm)


@contextmanager
def acting(mllm: nn.Module) -> Iterator[None]:
    """Within it the adapter of `mllm`, if it has one, acts."""
    for layer in _layers(mllm):
        layer.enable_adapters(True)
    try:
        yield
    finally:
        _rest(mllm)


def adapted(model: nn.Module) -> bool:
    """Whether it has an adapter."""
    return bool(_layers(model))


def is_adapter(name: str) -> bool:
    """Whether a parameter belongs to an adapter, and not to what it changes."""
    return ".lora_" in name


def write_adapter(
    model: nn.Module, folder: Path, dtype: torch.dtype | None = None, whole: Sequence[str] = ()
) -> None:
    """Write the adapter of `model` to a folder as peft has it.

    `whole` names modules which go with it as they are. `dtype` is that of the stored weights; None
    leaves them as they are.
    """
    weights = get_peft_model_state_dict(model, adapter_name=NAME)
    for name in whole:
        values = model.get_submodule(name).state_dict()
        weights |= {f"{name}.{inner}": value for inner, value in values.items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {f"{PREFIX}{name}": v.to(dtype or v.dtype).contiguous() for name, v in weights.items()},
        folder / SAFETENSORS_WEIGHTS_NAME,
        {"format": "pt"},
    )
    kept = replace(model.peft_config[NAME], inference_mode=True, modules_to_save=[*whole] or None)
    kept.save_pretrained(str(folder))


def read_mllm_adapter(mllm: nn.Module, folder: Path, layers: int) -> None:
    """Give `mllm` the adapter in `folder`, of its first `layers` layers.

    Raises ValueError for one of another kind, and where weights are missing or left over.
    """
    found = read_json(folder / CONFIG_NAME)
    rank, dora = found["r"], found["use_dora"]
    expected = adapter(rank, dora, _attention(layers)).to_dict()
    said = {key: value for key, value in found.items() if key not in UNSAID}
    if others := {key: value for key, value in said.items() if expected.get(key) != value}:
        raise ValueError(
            f"{folder} must change the attention of the first {layers} layers as LoRA or DoRA of "
            f"one rank does, got {others}"
        )
    adapt_mllm(mllm, rank, dora, layers, seed=0)
    fill_mllm_adapter(mllm, folder)


def fill_mllm_adapter(mllm: nn.Module, folder: Path) -> None:
    """Give the adapter of `mllm` the weights of the one in `folder`.

    Raises ValueError where weights are missing, left over or of another shape.
    """
    weights = {
        name.removeprefix(PREFIX): value
        for name, value in load_file(folder / SAFETENSORS_WEIGHTS_NAME).items()
    }
    require_weights(get_peft_model_state_dict(mllm, adapter_name=NAME), weights, folder)
    set_peft_model_state_dict(mllm, weights, adapter_name=NAME)


def _attention(layers: int) -> str:
    """The names of the projections of attention in the first layers of any MLLM of ours."""
    numbers = "|".join(map(str, range(layers)))
    return rf"model\.(language_model\.)?layers\.({numbers})\.self_attn\.[qkvo]_proj"


def _layers(model: nn.Module) -> list[BaseTunerLayer]:
    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]


def _rest(mllm: nn.Module) -> None:
    """Let the weights act alone. peft also freezes what it switches off, which is undone."""
    for layer in _layers(mllm):
        layer.enable_adapters(False)
        for part in layer.adapter_layer_names:
            getattr(layer, part).requires_grad_(True)
