"""The published code, recorded on tiny random weights, and ours on the same weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ladder.inference.pipeline import LadderPipeline
from ladder.inference.published_checkpoint import (
    EMBEDDING,
    export_published,
    import_published,
    read_published,
    verify_published,
)


@pytest.fixture(scope="module")
def reference(golden: Path) -> Path:
    return golden / "reference"


@pytest.fixture
def copy(reference: Path, tmp_path: Path) -> Path:
    """A checkpoint that may be broken."""
    shutil.copytree(reference, tmp_path / "copy", copy_function=shutil.copyfile)
    for path in (tmp_path / "copy").rglob("*"):
        path.chmod(0o755)
    return tmp_path / "copy"


def test_every_recorded_tensor_is_reproduced(reference: Path):
    """Tokens and pixels exactly, what is computed to 1e-5; the rows of the queries are the right
    ones, or else the rungs weren't."""
    errors = verify_published(reference)
    recorded = {
        f"{name}.{key}"
        for name in ("train_t2i", "train_edit", "sample_t2i", "sample_edit")
        for key in load_file(reference / f"{name}.safetensors")
    }
    given = {"latents", "noise", "timesteps", "target", "initial_latents"}
    assert errors.keys() == {key for key in recorded if key.split(".")[1] not in given}
    for name in ("train_t2i.input_ids", "train_edit.pixel_values", "train_edit.image_grid_thw"):
        assert errors[name] == 0.0
    assert max(errors.values()) < 1e-5, errors
    meta = json.loads((reference / "meta.json").read_text())
    layers = read_published(reference).ladder.taps.layers
    assert list(layers) == meta["layers"]["hidden_state_index_per_block"]


def test_there_and_back_is_bit_equal(reference: Path, tmp_path: Path):
    folder = import_published(reference, tmp_path / "ours")
    export_published(folder, tmp_path / "theirs")
    before = load_file(reference / "checkpoint/model.safetensors")
    after = load_file(tmp_path / "theirs/model.safetensors")
    assert after.keys() == before.keys()
    for name, value in before.items():
        assert torch.equal(after[name], value), name
    configs = [path / "config.json" for path in (reference / "checkpoint", tmp_path / "theirs")]
    assert configs[0].read_text() == configs[1].read_text()


def test_bfloat16_goes_there_and_back_and_is_never_made_wider(copy: Path, tmp_path: Path):
    """A checkpoint of the published size would take 27 GB as float32, and 14 as it is."""
    path = copy / "checkpoint/model.safetensors"
    half = {name: value.bfloat16() for name, value in load_file(path).items()}
    save_file(half, path)
    pipeline = read_published(copy)
    assert {value.dtype for value in pipeline.ladder.state_dict().values()} == {torch.bfloat16}
    export_published(import_published(copy, tmp_path / "ours"), tmp_path / "theirs")
    after = load_file(tmp_path / "theirs/model.safetensors")
    assert after.keys() == half.keys()
    for name, value in half.items():
        assert after[name].dtype == torch.bfloat16
        assert torch.equal(after[name], value), name


def test_what_is_imported_draws_what_the_published_model_draws(reference: Path, tmp_path: Path):
    folder = import_published(reference, tmp_path / "ours")
    pictures = []
    for pipeline in (read_published(reference), LadderPipeline.from_pretrained(folder)):
        pipeline.set_progress_bar_config(disable=True)
        pictures.append(
            pipeline(
                "a red apple",
                num_inference_steps=2,
                generator=torch.Generator().manual_seed(0),
                output_type="pt",
            ).images
        )
    assert torch.equal(*pictures)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", r"must fit Connector, got missing \['2\.bias'\]"),
        ("unknown", r"keys must begin with one of .*, got model\.adapter"),
        ("short", r"must hold 2048 tokens and 16 queries, got 2050"),
    ],
)
def test_weights_that_dont_fit_are_an_error(copy: Path, change: str, message: str):
    path = copy / "checkpoint/model.safetensors"
    weights = load_file(path)
    if change == "missing":
        del weights["model.connector.2.bias"]
    elif change == "unknown":
        weights["model.adapter"] = torch.zeros(1)
    else:
        weights[EMBEDDING] = weights[EMBEDDING][:2050].clone()
    save_file(weights, path)
    with pytest.raises(ValueError, match=message):
        read_published(copy)
