"""Folders whose settings can't be used are refused by the setting's name, before any is built.

The ladder's own settings, its weights and its adapter are in test_checkpoints.py.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    PixArtTransformer2DModel,
    SanaTransformer2DModel,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from tests.tiny import tiny_picture

from ladder.inference.open import open_ladder
from ladder.models.part_settings import MODEL_RULES, SOLVER_RULES, leaves, require_settings

SOLVER = "scheduler/scheduler_config.json"
VAE = "vae/config.json"
GENERATOR = "ladder/generator/config.json"
LADDER = "ladder/config.json"
MLLM = "../mllm/config.json"
EYES = "../mllm/preprocessor_config.json"
NAN, INFINITE = math.nan, math.inf

HOSTILE: list[tuple[str, str, Any]] = [
    (SOLVER, "flow_shift", 0), (SOLVER, "flow_shift", -3), (SOLVER, "flow_shift", NAN),
    (SOLVER, "flow_shift", INFINITE), (SOLVER, "flow_shift", "3"), (SOLVER, "flow_shift", None),
    (SOLVER, "num_train_timesteps", 0), (SOLVER, "num_train_timesteps", 10**12),
    (SOLVER, "num_train_timesteps", 500), (SOLVER, "num_train_timesteps", 1000.5),
    (SOLVER, "prediction_type", "epsilon"), (SOLVER, "prediction_type", "sample"),
    (SOLVER, "solver_order", 0), (SOLVER, "solver_order", 9), (SOLVER, "beta_end", NAN),
    (SOLVER, "beta_start", "0"), (SOLVER, "thresholding", True), (SOLVER, "trained_betas", [0.1]),
    (SOLVER, "use_karras_sigmas", True), (SOLVER, "use_beta_sigmas", True),
    (SOLVER, "use_dynamic_shifting", True), (SOLVER, "variance_type", "learned"),
    (SOLVER, "lambda_min_clipped", NAN), (SOLVER, "sample_max_value", 0),
    (SOLVER, "steps_offset", 10**9),
    (VAE, "scaling_factor", 0), (VAE, "scaling_factor", NAN), (VAE, "scaling_factor", INFINITE),
    (VAE, "scaling_factor", -1), (VAE, "scaling_factor", "1"), (VAE, "scaling_factor", None),
    (VAE, "scaling_factor", True), (VAE, "scaling_factor", [1.0]),
    (VAE, "scaling_factor", {"x": 1}),
    (VAE, "latent_channels", 10**9), (VAE, "attention_head_dim", 0), (VAE, "in_channels", -3),
    (VAE, "encoder_block_out_channels", [8, 10**9]),
    (VAE, "decoder_layers_per_block", [1, 10**9]), (VAE, "decoder_layers_per_block", [1, -1]),
    (VAE, "encoder_qkv_multiscales", [[0], [0]]),
    (GENERATOR, "num_layers", 10**9), (GENERATOR, "num_layers", 0), (GENERATOR, "num_layers", 2.5),
    (GENERATOR, "interpolation_scale", NAN), (GENERATOR, "interpolation_scale", 0),
    (GENERATOR, "sample_size", 10**9), (GENERATOR, "sample_size", 0), (GENERATOR, "patch_size", 0),
    (GENERATOR, "timestep_scale", NAN), (GENERATOR, "timestep_scale", 0),
    (GENERATOR, "norm_eps", -1), (GENERATOR, "norm_eps", NAN), (GENERATOR, "mlp_ratio", 10**9),
    (GENERATOR, "dropout", 2), (GENERATOR, "attention_head_dim", 10**9),
    (GENERATOR, "num_attention_heads", -1), (GENERATOR, "caption_channels", 0),
    (GENERATOR, "guidance_embeds", True), (GENERATOR, "guidance_embeds_scale", INFINITE),
    (LADDER, "queries", 10**9), (LADDER, "connector_width", 10**9), (LADDER, "connector_width", 0),
    (LADDER, "visual_tokens", 0), (LADDER, "visual_tokens", NAN), (LADDER, "visual_tokens", 10**9),
    (MLLM, "num_hidden_layers", 10**9), (MLLM, "vocab_size", 10**12), (MLLM, "rms_norm_eps", NAN),
    (MLLM, "rope_theta", 0), (MLLM, "hidden_size", -1),
    (EYES, "patch_size", 0), (EYES, "merge_size", 0), (EYES, "image_std", [0, 0, 0]),
    (EYES, "rescale_factor", INFINITE),
]  # fmt: skip
"""A file of a ladder's folder, the setting that is changed in it, and what to."""


def change(value: Any, name: str, to: Any) -> None:
    """Set every setting of a name, however deep it stands; where there is none, at the top."""
    found = False
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            found |= name in one
            one |= {name: to} if name in one else {}
            waiting += one.values()
    if not found:
        value[name] = to


@pytest.mark.parametrize(
    ("file", "name", "value"),
    HOSTILE,
    ids=[f"{Path(file).parts[-2]}-{name}-{value}" for file, name, value in HOSTILE],
)
def test_it_is_refused_by_the_name_of_the_setting(
    file: str, name: str, value: Any, folder: Path, unusable: Callable[[], str], monkeypatch
):
    settings = json.loads((folder / file).read_text())
    change(settings, name, value)
    (folder / file).write_text(json.dumps(settings))
    if file.startswith(".."):  # whoever makes up an MLLM makes up its hash, too
        monkeypatch.setattr("ladder.models.reference.content_hash", lambda folder: hashed(file))
        ladder = json.loads((folder / LADDER).read_text())
        ladder["mllm"]["sha256"] = hashed(file)
        (folder / LADDER).write_text(json.dumps(ladder))
    said = unusable()
    assert f"{name} must be" in said
    assert any(f"got {one!r}" in said for one in (value, *flat(value)))


def flat(value: Any) -> list[Any]:
    """The values of a list within lists."""
    return [one for part in value for one in flat(part)] if isinstance(value, list) else [value]


def hashed(text: str) -> str:
    return f"{len(text):064}"


def test_what_is_right_is_used(folder: Path):
    open_ladder(folder)


@pytest.mark.parametrize(
    "part",
    [
        AutoencoderDC, AutoencoderKL, SanaTransformer2DModel, PixArtTransformer2DModel,
        UNet2DConditionModel, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler,
    ],
)  # fmt: skip
def test_every_number_of_a_part_is_bounded(part: type):
    """One that a library adds is bounded too, if only by the rule of what no rule is about."""
    rules = SOLVER_RULES if part.__name__.endswith("Scheduler") else MODEL_RULES
    defaults = {
        name: parameter.default for name, parameter in inspect.signature(part).parameters.items()
    }
    numbers = {
        name
        for name, value in leaves(defaults, rules)
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    assert numbers
    for name in numbers:
        for wrong in (NAN, INFINITE, 10**15):
            with pytest.raises(ValueError, match=f"{name} must be .*, got {wrong}"):
                require_settings({name: wrong}, "made up", rules)


@pytest.mark.parametrize("part", ["vae", "ladder", "ladder/generator"])
@pytest.mark.parametrize("kind", [torch.bool, torch.int64, torch.uint8])
def test_weights_of_another_type(
    part: str, kind: torch.dtype, folder: Path, unusable: Callable[[], str]
):
    (path,) = (folder / part).glob("*.safetensors")
    weights = load_file(path)
    name = max(weights)
    save_file(weights | {name: torch.ones_like(weights[name], dtype=kind)}, path, {"format": "pt"})
    assert f"weights must be F64, F32, F16, BF16, {name} is " in unusable()


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("ladder", "what the MLLM and the connector make of a prompt must be finite"),
        ("ladder/generator", "the latents that the generator draws must be finite"),
        ("vae", "the pictures that the autoencoder decodes must be finite"),
    ],
)
def test_what_overflows_is_named(
    part: str, said: str, folder: Path, refused: Callable[..., str], monkeypatch
):
    """Every weight is finite, and what is computed from them isn't."""
    (path,) = (folder / part).glob("*.safetensors")
    large = {
        name: value.sign() * 3e38 if value.dtype == torch.float32 and value.ndim > 1 else value
        for name, value in load_file(path).items()
    }
    save_file(large, path, {"format": "pt"})
    assert said in refused("generate", "a star", "--model", "ladder", "--steps", "2")


def test_parts_that_do_not_fit_one_another(folder: Path, unusable: Callable[[], str]):
    """An autoencoder of fewer channels, with weights of its own."""
    settings = json.loads((folder / VAE).read_text())
    small = AutoencoderDC.from_config(settings | {"latent_channels": 4})
    small.save_pretrained(folder / "vae")
    assert "the autoencoder must decode 8 channels, as the generator draws, got 4" in unusable()


def test_a_source_that_cannot_be_seen_is_refused_too(folder: Path, refused: Callable[..., str]):
    tiny_picture(0).save(folder.parent / "source.png")
    settings = json.loads((folder / SOLVER).read_text())
    (folder / SOLVER).write_text(json.dumps(settings | {"flow_shift": 0}))
    said = refused("edit", "source.png", "make it red", "--model", "ladder")
    assert "flow_shift must be a number from 0.001 to 1000.0, got 0" in said
