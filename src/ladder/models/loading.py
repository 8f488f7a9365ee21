"""Parts of a diffusers pipeline, from a folder or from the hub, by the class that they name.

A part is a subfolder with a configuration and weights. `source` is a folder, or a hub id (`id`,
`id@revision`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from diffusers import AutoModel, DiffusionPipeline, ModelMixin
from safetensors import safe_open

from ladder.models.part_settings import require_settings

Part = TypeVar("Part", bound=ModelMixin)


def load_part(
    part: type[Part], source: Path | str, subfolder: str, dtype: torch.dtype = torch.float32
) -> Part:
    """Load a diffusers model from a subfolder of `source`.

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


def class_of(known: Mapping[str, type[Part]], source: Path | str, subfolder: str) -> type[Part]:
    """The class that the configuration in a subfolder of `source` names.

    Raises ValueError for one that is not among the `known`, which are by their names, and for
    a setting that can't be used.
    """
    name, revision = located(source)
    config = AutoModel.load_config(name, subfolder=subfolder, revision=revision)
    if (found := config.get("_class_name")) not in known:
        raise ValueError(f"{source}/{subfolder} must hold {' or '.join(known)}, got {found}")
    require_settings(config, f"{source}/{subfolder}")
    return known[found]


def generator_folder(source: Path | str) -> str:
    """The subfolder in which a pipeline has its generator: "unet" or "transformer"."""
    name, revision = located(source)
    index = DiffusionPipeline.load_config(name, revision=revision)
    return "unet" if "unet" in index else "transformer"


def located(source: Path | str) -> tuple[str, str | None]:
    """Name and revision of a folder, which has none, or of a hub id (`id`, `id@revision`)."""
    if Path(source).is_dir():
        return str(source), None
    name, _, revision = str(source).partition("@")
    return name, revision or None


def stored_dtype(folder: Path) -> torch.dtype:
    """The type of the weights in the .safetensors files of a folder, by that of one of them.

    Raises FileNotFoundError where there are none.
    """
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (it is no mapping)
                return file.get_tensor(name).dtype
    raise FileNotFoundError(f"{folder} must hold .safetensors files with weights")
