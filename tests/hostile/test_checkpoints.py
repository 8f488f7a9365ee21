"""A folder of weights that isn't a ladder's is refused, whatever is wrong with it."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

Change = Callable[[dict[str, Any]], None]
WEIGHTS = {
    "ladder": "ladder/ladder.safetensors",
    "generator": "ladder/generator/diffusion_pytorch_model.safetensors",
    "adapter": "ladder/mllm_adapter/adapter_model.safetensors",
    "vae": "vae/diffusion_pytorch_model.safetensors",
}


ADAPTER = "ladder/mllm_adapter/adapter_config.json"


class Trap:
    """Would make a folder when it is unpickled."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ("caught",)


def missing(weights: dict[str, Any]) -> None:
    del weights[min(weights)]


def left_over(weights: dict[str, Any]) -> None:
    weights["extra"] = torch.zeros(1)


def wrong_shape(weights: dict[str, Any]) -> None:
    name = max(weights, key=lambda name: weights[name].numel())
    weights[name] = weights[name][:-1].clone()


def not_a_number(weights: dict[str, Any]) -> None:
    weights[max(weights)].view(-1)[-1] = torch.nan


def infinite(weights: dict[str, Any]) -> None:
    weights[max(weights)].view(-1)[0] = -torch.inf


def whole_numbers(weights: dict[str, Any]) -> None:
    name = max(weights, key=lambda name: weights[name].numel())
    weights[name] = torch.zeros(3, 3, dtype=torch.int64)


def setting(*names: str, value: Any) -> Change:
    def change(settings: dict[str, Any]) -> None:
        for name in names[:-1]:
            settings = settings[name]
        settings[names[-1]] = value

    return change


CONFIGS: dict[str, tuple[str, Change]] = {
    "other queries": ("ladder/config.json", setting("queries", value=3)),
    "queries beyond memory": ("ladder/config.json", setting("queries", value=10**15)),
    "no queries": ("ladder/config.json", setting("queries", value=-1)),
    "no taps": ("ladder/config.json", lambda settings: settings.pop("taps")),
    "taps of another kind": ("ladder/config.json", setting("taps", value=[1])),
    "a layer that isn't there": ("ladder/config.json", setting("taps", "layers", value=[1, 2, 99])),
    "layers of another kind": ("ladder/config.json", setting("taps", "layers", value="123")),
    "other connectors": ("ladder/config.json", setting("connectors", value="per_rung")),
    "another hash": ("ladder/config.json", setting("mllm", "sha256", value="0" * 64)),
    "another MLLM": ("ladder/config.json", setting("mllm", "source", value="../../..")),
    "fewer blocks": ("ladder/generator/config.json", setting("num_layers", value=2)),
    "blocks of another kind": ("ladder/generator/config.json", setting("num_layers", value="two")),
    "an adapter of another rank": (ADAPTER, setting("r", value=3)),
    "an adapter beyond memory": (ADAPTER, lambda s: s.update(r=10**15, lora_alpha=10**15)),
    "an adapter of rank none": (ADAPTER, setting("r", value=None)),
    "an adapter of other matrices": (ADAPTER, setting("target_modules", value="(a+)+$")),
    "an adapter of all layers": (ADAPTER, setting("target_modules", value="all-linear")),
    "an adapter of another method": (ADAPTER, setting("peft_type", value="IA3")),
    "an adapter that is no DoRA": (ADAPTER, setting("use_dora", value=False)),
    "an adapter with a setting too many": (ADAPTER, setting("trust_remote_code", value=True)),
    "another autoencoder": ("vae/config.json", setting("latent_channels", value=4)),
    "another pipeline": ("model_index.json", setting("ladder", value=["os", "system"])),
    "a module that isn't ours": ("model_index.json", setting("ladder", value=["this", "s"])),
    "a part without a class": ("model_index.json", setting("scheduler", value=[None, None])),
}  # fmt: skip


@pytest.mark.parametrize(
    "change", [missing, left_over, wrong_shape, not_a_number, infinite, whole_numbers]
)
@pytest.mark.parametrize("part", WEIGHTS)
def test_weights_that_are_others(part: str, change: Change, folder: Path, unusable):
    path = folder / WEIGHTS[part]
    weights = load_file(path)
    change(weights)
    save_file(weights, path, {"format": "pt"})
    expected = "must be finite" if change in (not_a_number, infinite) else "not a ladder that can"
    assert expected in unusable()


@pytest.mark.parametrize("content", ["pickle", "trap", "html", "empty", "truncated", "header"])
@pytest.mark.parametrize("part", WEIGHTS)
def test_files_that_are_no_weights(part: str, content: str, folder: Path, unusable):
    path = folder / WEIGHTS[part]
    whole = path.read_bytes()
    path.write_bytes(
        {
            "pickle": pickle.dumps({"queries": 1}),
            "trap": pickle.dumps(Trap()),
            "html": b"<!DOCTYPE html><html>Access denied</html>",
            "empty": b"",
            "truncated": whole[:-1],
            "header": (2**63).to_bytes(8, "little") + whole[8:],
        }[content]
    )
    assert "not a ladder that can be used" in unusable()


def test_a_pickle_in_place_of_weights_runs_nothing(folder: Path, unusable):
    """Not even under the name that diffusers looks for where there are no safetensors."""
    (folder / WEIGHTS["vae"]).unlink()
    (folder / "vae/diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    assert "not a ladder that can be used" in unusable()


@pytest.mark.parametrize("name", CONFIGS)
def test_configurations_that_are_others(name: str, folder: Path, unusable):
    file, change = CONFIGS[name]
    settings = json.loads((folder / file).read_text())
    change(settings)
    (folder / file).write_text(json.dumps(settings))
    assert "not a ladder that can be used" in unusable()


@pytest.mark.parametrize("content", ["", "[]", "{", '"text"', "[" * 100_000, "\x00"])
@pytest.mark.parametrize(
    "file", ["model_index.json", "ladder/config.json", "ladder/generator/config.json", ADAPTER]
)
def test_files_that_are_no_configuration(file: str, content: str, folder: Path, unusable):
    (folder / file).write_text(content)
    assert "not a ladder that can be used" in unusable()


# ---- published checkpoints ----


@pytest.mark.parametrize("content", ["pickle", "shape", "nan", "config", "json", "base"])
def test_a_published_checkpoint_that_is_none(
    content: str, golden: Path, tmp_path: Path, refused: Callable[..., str]
):
    folder = tmp_path / "published"
    shutil.copytree(golden / "reference", folder, copy_function=shutil.copyfile)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    weights, config = folder / "checkpoint/model.safetensors", folder / "checkpoint/config.json"
    settings, values = json.loads(config.read_text()), load_file(weights)
    if content == "pickle":
        weights.write_bytes(pickle.dumps(Trap()))
    elif content in ("shape", "nan"):
        matrix = values["model.connector.0.weight"]
        matrix[0, 0] = torch.nan
        values["model.connector.0.weight"] = matrix if content == "nan" else matrix[1:].clone()
        save_file(values, weights)
    elif content == "json":
        config.write_text("{")
    else:
        settings.pop("num_metaqueries") if content == "config" else settings.update(vae_id="none")
        config.write_text(json.dumps(settings))
    assert "import-published: published: " in refused("import-published", "published", "out")
