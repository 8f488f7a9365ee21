"""What a stage begins with: given weights, the stage before, and in which type they are loaded."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import SanaTransformer2DModel
from ruamel.yaml import YAML
from safetensors.torch import load_file
from tests.tiny import tiny_mllm
from tests.training.running import WATCHFUL, equal, losses, outage, train, weights, with_stage

from ladder.config.load import Config
from ladder.data.training.encode import encode
from ladder.inference.published_checkpoint import import_published
from ladder.models.ladder import Ladder
from ladder.models.mllm import frozen
from ladder.training.stages import run_stage
from ladder.training.start import starting_ladder


@pytest.fixture
def given(short: Config, tmp_path: Path) -> Path:
    """A ladder of the same configuration with other weights."""
    ladder = Ladder.from_foundations(short.model, short.foundations, seed=7)
    with torch.no_grad():
        for value in ladder.trainable_parameters():
            value.mul_(1.25)
    ladder.save_pretrained(tmp_path / "given")
    return tmp_path / "given"


def with_model(config: Config, **changes) -> Config:
    return dataclasses.replace(config, model=dataclasses.replace(config.model, **changes))


@pytest.mark.parametrize("stage", ["t2i", "ti2i"])
def test_a_stage_begins_with_given_weights(short, given, tmp_path, stage):
    """A later one needs no stage before it then."""
    config = with_stage(short, stage, init=str(given))
    ladder = starting_ladder(config, stage, tmp_path / "none")
    assert equal(ladder.trainable_state(), Ladder.from_pretrained(given).trainable_state())


def test_what_was_given_is_trained_and_not_warmed_up_anew(
    wordy, encoded, given, tmp_path, monkeypatch
):
    monkeypatch.setattr("ladder.training.stages.warm_up", lambda *_: pytest.fail("warmed up"))
    config = with_stage(wordy, "t2i", init=str(given), steps=1, warmup=0, lr=1e-9, final_lr=1e-9)
    ladder = Ladder.from_pretrained(run_stage(config, "t2i", encoded, tmp_path / "runs"))
    theirs = Ladder.from_pretrained(given).trainable_state()
    for name, value in ladder.trainable_state().items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-5, atol=1e-6, msg=name)


def test_shapes_that_dont_fit_are_named(short, given, tmp_path):
    config = with_stage(with_model(short, queries=5), "t2i", init=str(given))
    with pytest.raises(
        ValueError, match=r"given must fit: queries is \[4, 64\] instead of \[5, 64"
    ):
        starting_ladder(config, "t2i", tmp_path)


def test_weights_that_are_missing_are_named(short, given, tmp_path):
    config = with_stage(with_model(short, scheme="learned"), "t2i", init=str(given))
    with pytest.raises(ValueError, match=r"must fit: mixture.weights is missing"):
        starting_ladder(config, "t2i", tmp_path)


def test_a_folder_without_a_ladder_is_named(short, tmp_path):
    config = with_stage(short, "t2i", init=str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match=r"stages.t2i.init must be the folder of a ladder, got"):
        starting_ladder(config, "t2i", tmp_path)


def test_a_ladder_of_another_mllm_is_refused(short, given, tmp_path):
    other = dataclasses.replace(short.foundations, mllm=str(tiny_mllm(tmp_path / "mllm", seed=5)))
    config = with_stage(dataclasses.replace(short, foundations=other), "t2i", init=str(given))
    with pytest.raises(
        ValueError, match=r"stages.t2i.init: the ladder reads with the MLLM .* both"
    ):
        starting_ladder(config, "t2i", tmp_path)


def test_an_adapter_comes_with_the_weights_or_is_refused(short, tmp_path):
    config = with_model(short, mllm_lora_rank=2)
    ladder = Ladder.from_foundations(config.model, config.foundations, seed=7)
    with torch.no_grad():
        for value in ladder.trainable_parameters():
            value.add_(0.01)
    ladder.save_pretrained(tmp_path / "given")
    config = with_stage(config, "t2i", init=str(tmp_path / "given"))
    found = starting_ladder(config, "t2i", tmp_path)
    assert equal(found.trainable_state(), ladder.trainable_state())
    with pytest.raises(ValueError, match=r"model.mllm_lora_rank must be its rank, got null"):
        starting_ladder(with_model(config, mllm_lora_rank=None), "t2i", tmp_path)


def test_no_stage_loads_the_mllm_in_another_type_than_its_own(
    short, encoded, tmp_path, monkeypatch
):
    """A float32 copy that is cast afterwards takes 14 GiB at the paper's size."""
    loaded = []
    load = frozen.load_mllm
    monkeypatch.setattr(
        frozen, "load_mllm", lambda folder, dtype: loaded.append(dtype) or load(folder, dtype)
    )
    foundations = dataclasses.replace(short.foundations, dtype="bfloat16")
    config = dataclasses.replace(short, foundations=foundations)
    run_stage(config, "t2i", encoded, tmp_path / "runs")
    starting_ladder(config, "ti2i", tmp_path / "runs/ladder-0")
    assert loaded == [torch.bfloat16] * 2


@pytest.mark.parametrize("changed", ["watching", "monitor"])
def test_the_next_stage_may_watch_otherwise(short, encoded, tmp_path, changed, caplog):
    run_stage(short, "t2i", encoded, tmp_path)
    if changed == "monitor":
        config = dataclasses.replace(short, monitor=dataclasses.replace(WATCHFUL, patience=9))
    else:
        config = with_stage(short, "t2i", sample_every=3, checkpoint_every=3)
        shown = dataclasses.replace(config.training, keep=2, loggers=("csv", "dvclive"))
        config = dataclasses.replace(config, training=shown)
    starting_ladder(config, "ti2i", tmp_path / "ladder-0")
    assert ("monitor.patience 25 instead of 9" in caplog.text) == (changed == "monitor")


def test_a_stage_that_isnt_finished_is_not_gone_on_from(short, encoded, tmp_path, monkeypatch):
    """Not even where an earlier training of it has left its ladder, which stays meanwhile."""
    config = with_stage(short, "t2i", steps=6)
    first = run_stage(config, "t2i", encoded, tmp_path)
    before = weights(first)
    losses(monkeypatch, outage(2))
    with pytest.raises(ConnectionError):
        run_stage(config, "t2i", encoded, tmp_path)
    assert equal(weights(first), before)
    with pytest.raises(ValueError, match=r"must be finished before ti2i begins"):
        starting_ladder(config, "ti2i", tmp_path / "ladder-0")


def test_a_diverging_run_may_go_on_under_another_monitor(short, encoded, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        losses(patch, outage(6))
        with pytest.raises(ConnectionError):
            train(short, encoded, tmp_path / "runs")
    train(dataclasses.replace(short, monitor=WATCHFUL), encoded, tmp_path / "runs")


def test_an_imported_checkpoint_is_tuned_by_the_verb(
    short, curated, golden, root, tmp_path, monkeypatch
):
    """As a process: the published weights, one step, and what comes out beside what went in."""
    imported = import_published(golden / "reference", tmp_path / "ours")
    sana = tmp_path / "sana"
    shutil.copytree(imported / "vae", sana / "vae")
    shutil.copytree(imported / "scheduler", sana / "scheduler")
    settings = SanaTransformer2DModel.load_config(imported / "ladder/generator")
    SanaTransformer2DModel.from_config(settings).save_pretrained(sana / "transformer")
    index = {"_class_name": "SanaPipeline", "transformer": ["diffusers", "SanaTransformer2DModel"]}
    (sana / "model_index.json").write_text(json.dumps(index))
    here = tmp_path / "repository"
    (here / "experiments/arms").mkdir(parents=True)
    (here / "experiments/arms/ladder.yaml").write_text("{}\n")
    config = dataclasses.replace(
        with_model(short, queries=16, connector_width=None),
        foundations=dataclasses.replace(
            short.foundations, mllm=str(tmp_path / "ours/mllm"), generator=str(sana)
        ),
    )
    config = with_stage(config, "t2i", steps=1, warmup=0, lr=1e-9, final_lr=1e-9)
    encode(config, curated, here / "data/encoded")
    with (here / "params.yaml").open("w") as file:
        YAML().dump(config.as_dict(), file)
    command = [sys.executable, "-m", "ladder.cli.main", "train", "t2i"]
    ended = subprocess.run(
        [*command, f"stages.t2i.init={imported}", "monitor.rule=off"],
        cwd=here, env=os.environ | {"PYTHONPATH": str(root / "src")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    trained = here / "runs/ladder-0/t2i/ladder"
    for name in ("ladder.safetensors", "generator/diffusion_pytorch_model.safetensors"):
        ours, theirs = load_file(trained / name), load_file(imported / "ladder" / name)
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            torch.testing.assert_close(value, theirs[key], rtol=1e-5, atol=1e-6, msg=key)
    narrow = subprocess.run(
        [*command, f"stages.t2i.init={imported}", "model.queries=8", "seed=1"],
        cwd=here, env=os.environ | {"PYTHONPATH": str(root / "src")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert narrow.returncode != 0
    assert "queries is [16, " in narrow.stderr
    assert "Traceback" not in narrow.stderr
