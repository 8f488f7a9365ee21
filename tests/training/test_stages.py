"""Whole stages with tiny models: what they need and leave, frozen parts, chaining."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tests.training.running import (
    CURVES,
    curve,
    equal,
    losses,
    spikes,
    train,
    weights,
    with_stage,
)

from ladder.inference.pipeline import LadderPipeline
from ladder.models.ladder import Ladder
from ladder.models.mllm.families import load_mllm
from ladder.training.ema import WeightEMA
from ladder.training.stages import run_stage
from ladder.training.start import STAGES, starting_ladder


def test_a_stage_leaves_all_that_it_promises(short, encoded, tmp_path):
    folder = train(short, encoded, tmp_path / "runs")
    assert folder == tmp_path / "runs/ladder-0/ti2i"
    assert {path.name for path in folder.iterdir()} == {
        "ladder", "dvclive", "tensorboard", "samples", "events.jsonl", "lock",
    }  # fmt: skip
    for name in CURVES:
        assert [step for step, _ in curve(folder, name)] == list(range(10))
    assert {path.name for path in (folder / "samples").iterdir()} == {
        "000004.png", "000008.png", "prompts.json",
    }  # fmt: skip
    assert len(json.loads((folder / "samples/prompts.json").read_text())) == 4
    board = EventAccumulator(str(folder / "tensorboard"), {"images": 0, "scalars": 0}).Reload()
    assert [event.step for event in board.Images("samples")] == [4, 8]
    assert [event.step for event in board.Scalars("loss")] == list(range(10))
    assert (folder / "dvclive/plots/images/samples/000008.png").is_file()


def test_watching_changes_nothing(short, encoded, tmp_path):
    """Neither sample grids nor checkpoints nor a monitor that finds nothing."""
    watched = train(short, encoded, tmp_path / "a")
    unwatched = dataclasses.replace(
        with_stage(short, "ti2i", sample_every=1000, checkpoint_every=1000),
        monitor=dataclasses.replace(short.monitor, rule="off"),
    )
    assert equal(
        weights(watched / "ladder"), weights(train(unwatched, encoded, tmp_path / "b") / "ladder")
    )


def test_stages_need_the_one_before_under_the_same_settings(short, encoded, tmp_path):
    with pytest.raises(ValueError, match="`ladder train t2i` writes it"):
        run_stage(short, "ti2i", encoded, tmp_path / "runs")
    run_stage(short, "t2i", encoded, tmp_path / "runs")
    with pytest.raises(ValueError, match=r"stages.t2i.lr 0.001 instead of 0.1"):
        run_stage(with_stage(short, "t2i", lr=0.1), "ti2i", encoded, tmp_path / "runs")


def test_a_stage_without_steps_passes_on_its_ladder(short, encoded, tmp_path):
    config = with_stage(short, "ti2i", steps=0)
    first = run_stage(config, "t2i", encoded, tmp_path)
    second = run_stage(config, "ti2i", encoded, tmp_path)
    fresh = Ladder.from_foundations(short.model, short.foundations, short.seed)
    assert equal(weights(first), weights(second))
    assert (second.parent / "dvclive/metrics.json").is_file()
    assert equal(fresh.trainable_state(), Ladder.from_pretrained(second).trainable_state())


def test_a_ladder_knows_the_shapes_that_it_is_trained_on(short, tmp_path):
    assert starting_ladder(short, "t2i", tmp_path).aspects == short.encoding.aspects
    encoding = dataclasses.replace(short.encoding, aspects=(0.75, 1.0))
    wider = dataclasses.replace(short, encoding=encoding)
    assert starting_ladder(wider, "t2i", tmp_path).aspects == (0.75, 1.0)


def test_the_mllm_computes_in_its_type_in_every_stage(short, encoded, tmp_path, monkeypatch):
    """And is loaded in it: one of 3 billion weights takes 14 GiB in float32."""
    asked = []
    monkeypatch.setattr(
        "ladder.models.mllm.frozen.load_mllm",
        lambda folder, dtype: asked.append(dtype) or load_mllm(folder, dtype),
    )
    config = dataclasses.replace(
        short, foundations=dataclasses.replace(short.foundations, dtype="bfloat16")
    )
    run_stage(config, "t2i", encoded, tmp_path)
    for name in ("t2i", "ti2i"):
        ladder = starting_ladder(config, name, tmp_path / "ladder-0")
        assert {value.dtype for value in ladder.understanding.parameters()} == {torch.bfloat16}
        assert {value.dtype for value in ladder.trainable_parameters()} == {torch.float32}
    assert {*asked} == {torch.bfloat16}


def test_a_step_whose_loss_is_no_number_says_so_in_its_curve(short, encoded, tmp_path, monkeypatch):
    """Lightning would repeat the value of the step before."""
    losses(monkeypatch, spikes({3: float("nan")}))
    folder = train(short, encoded, tmp_path / "runs")
    found = curve(folder, "loss")
    assert [step for step, _ in found] == [*range(10)]
    assert [step for step, value in found if math.isnan(value)] == [3]
    assert [step for step, value in curve(folder, "skipped") if value] == [3]


def test_checkpointing_changes_nothing(short, encoded, tmp_path):
    for name in ("none", "all"):
        cluster = dataclasses.replace(short.cluster, checkpointing=name)
        train(dataclasses.replace(short, cluster=cluster), encoded, tmp_path / name)
    none, every = (tmp_path / name / "ladder-0/ti2i/ladder" for name in ("none", "all"))
    assert equal(weights(none), weights(every))


def test_readings_that_are_kept_change_nothing_but_rounding(short, encoded, tmp_path):
    folder = tmp_path / "readings"
    keeping = dataclasses.replace(
        short, cluster=dataclasses.replace(short.cluster, prompt_cache=str(folder))
    )
    anew = train(short, encoded, tmp_path / "a")
    read = train(keeping, encoded, tmp_path / "b")
    expected = [loss for _, loss in curve(anew, "loss")]
    assert [loss for _, loss in curve(read, "loss")] == pytest.approx(expected, rel=1e-4)
    dates = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    assert len(dates) > 1
    recalled = train(keeping, encoded, tmp_path / "c")
    assert equal(weights(recalled / "ladder"), weights(read / "ladder"))
    assert dates == {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}


def test_every_stage_reads_with_the_same_mllm_down_to_its_rotary_frequencies(
    short, encoded, tmp_path
):
    """A cast to bfloat16 would round buffers that no state dict holds."""
    foundations = dataclasses.replace(short.foundations, dtype="bfloat16")
    short = dataclasses.replace(short, foundations=foundations)
    first = starting_ladder(short, "t2i", tmp_path / "runs/ladder-0")
    run_stage(short, "t2i", encoded, tmp_path / "runs")
    second = starting_ladder(short, "ti2i", tmp_path / "runs/ladder-0")
    buffers = dict(second.understanding.named_buffers())
    for name, value in first.understanding.named_buffers():
        assert value.dtype == buffers[name].dtype, name
        assert torch.equal(value, buffers[name]), name


def test_three_stages_train_the_ladder_and_leave_the_foundations_alone(short, encoded, tmp_path):
    """Every foundation tensor is bit-identical, and the exported pipeline draws and answers."""
    config = with_stage(short, "t2i", steps=4)
    before = weights(Path(config.foundations.mllm).parent)
    ladders = [
        Ladder.from_pretrained(
            run_stage(
                config, name, encoded, tmp_path / "runs",
                export=tmp_path / "shipped" if name == "finetune" else None,
            )
        )
        for name in STAGES
    ]  # fmt: skip
    assert equal(weights(Path(config.foundations.mllm).parent), before)
    start = Ladder.from_foundations(config.model, config.foundations, config.seed)
    frozen = start.understanding.state_dict()
    for earlier, later in zip([start, *ladders], ladders, strict=False):
        assert equal(later.understanding.state_dict(), frozen)
        for name, value in later.named_trainables():
            assert not torch.equal(value, earlier.get_parameter(name)), name
    shipped = LadderPipeline.from_pretrained(tmp_path / "shipped")
    for name, value in shipped.ladder.named_trainables():
        assert torch.equal(value, ladders[-1].get_parameter(name).bfloat16().float()), name
    assert shipped("a red circle", num_inference_steps=2).images[0].size == (32, 32)
    picture = Image.new("RGB", (32, 32))
    assert shipped.ask(picture, "What is it?", 4) == start.understanding.ask(
        picture, "What is it?", 4
    )


def test_the_outcome_is_the_average(short, encoded, tmp_path, monkeypatch):
    seen: list[WeightEMA] = []
    losses(monkeypatch, lambda module, loss: seen.append(module.ema) or loss)
    ladder = Ladder.from_pretrained(train(short, encoded, tmp_path / "runs") / "ladder")
    for ours, ema in zip(ladder.trainable_parameters(), seen[-1].values, strict=True):
        assert torch.equal(ours, ema)


def test_mixed_precision_computes_in_bfloat16_and_keeps_weights_in_float32(
    short, encoded, tmp_path
):
    """The paper's mode: losses are those of float32 but for rounding, and are not equal."""
    mixed = train(with_stage(short, "ti2i", precision="bf16-mixed"), encoded, tmp_path / "a")
    exact = train(short, encoded, tmp_path / "b")
    ours, theirs = ([loss for _, loss in curve(folder, "loss")] for folder in (mixed, exact))
    assert ours != theirs
    assert ours == pytest.approx(theirs, rel=0.05)
    for name, value in weights(mixed / "ladder").items():
        assert value.dtype == torch.float32, name
    assert not equal(weights(mixed / "ladder"), weights(exact / "ladder"))
