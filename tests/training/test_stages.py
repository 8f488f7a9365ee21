"""Whole stages with tiny models: what they leave, resuming bit for bit, refusals, frozen parts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ladder.config import Config, Monitor
from ladder.model.ladder import Ladder
from ladder.pipeline import LadderPipeline
from ladder.training.average import WeightAverage
from ladder.training.module import LadderModule
from ladder.training.monitor import DivergedError
from ladder.training.stages import STAGES, run_stage

CURVES = ("loss", "norm", "skipped", "lr")
WATCHFUL = Monitor(
    judge="robust", threshold=8.0, decay=0.99, window=9, warmup=6, patience=3, rollbacks=1
)


@pytest.fixture(autouse=True)
def _outside_the_repository(monkeypatch, tmp_path):
    """DVCLive asks git and DVC about the working directory."""
    monkeypatch.chdir(tmp_path)


def with_stage(config: Config, name: str, **changes) -> Config:
    stage = dataclasses.replace(getattr(config.stages, name), **changes)
    return dataclasses.replace(config, stages=dataclasses.replace(config.stages, **{name: stage}))


def train(config: Config, encoded: Path, runs: Path) -> Path:
    """The folder of a ti2i stage that begins with the foundations."""
    if not runs.exists():
        run_stage(config, "t2i", encoded, runs)
    return run_stage(config, "ti2i", encoded, runs).parent


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a saved ladder, or of a folder of foundations."""
    return {
        f"{file.relative_to(folder)}:{name}": value
        for file in sorted(folder.rglob("*.safetensors"))
        for name, value in load_file(file).items()
    }


def equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    assert ours
    assert ours.keys() == theirs.keys()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def curve(folder: Path, name: str) -> list[tuple[int, float]]:
    _, *rows = (folder / f"dvclive/plots/metrics/{name}.tsv").read_text().splitlines()
    return [(int(step), float(value)) for step, value in (row.split("\t") for row in rows)]


def events(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def losses(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[LadderModule, torch.Tensor], torch.Tensor]
) -> None:
    """Every loss is what `change` makes of it."""
    step = LadderModule.training_step
    monkeypatch.setattr(
        LadderModule,
        "training_step",
        lambda module, batch, index: change(module, step(module, batch, index)),
    )


def spikes(factors: dict[int, float]):
    return lambda module, loss: loss * factors.get(module.global_step, 1.0)


def outage(step: int):
    def change(module: LadderModule, loss: torch.Tensor) -> torch.Tensor:
        if module.global_step == step:
            raise ConnectionError("power lost")
        return loss

    return change


def test_a_stage_leaves_all_that_it_promises(short, encoded, tmp_path):
    folder = train(short, encoded, tmp_path / "runs")
    assert folder == tmp_path / "runs/ladder-0/ti2i"
    assert {path.name for path in folder.iterdir()} == {
        "ladder", "dvclive", "tensorboard", "samples", "events.jsonl",
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


@pytest.mark.parametrize("step", [3, 5, 9])
def test_an_interrupted_stage_goes_on_bit_for_bit(short, encoded, tmp_path, monkeypatch, step):
    """Before its first checkpoint, after the first or the second; two micro-batches, amid an epoch.

    The spike at step 8 is judged by norms from before and after the interruption, and the outcome
    are the averaged weights.
    """
    config = dataclasses.replace(short, monitor=WATCHFUL)
    losses(monkeypatch, spikes({8: 1e4}))
    whole = train(config, encoded, tmp_path / "whole")
    with monkeypatch.context() as patch:
        losses(patch, outage(step))
        with pytest.raises(ConnectionError):
            train(config, encoded, tmp_path / "parts")
    assert (tmp_path / "parts/ladder-0/ti2i/last.ckpt").is_file()
    parts = train(config, encoded, tmp_path / "parts")
    assert equal(weights(whole / "ladder"), weights(parts / "ladder"))
    assert [curve(whole, name) for name in CURVES] == [curve(parts, name) for name in CURVES]
    assert events(whole) == events(parts)
    assert [event["step"] for event in events(whole)] == [8]
    assert not (parts / "last.ckpt").exists()


def test_watching_changes_nothing(short, encoded, tmp_path):
    """Neither sample grids nor checkpoints nor a monitor that finds nothing."""
    watched = train(short, encoded, tmp_path / "a")
    unwatched = dataclasses.replace(
        with_stage(short, "ti2i", sample_every=1000, checkpoint_every=1000),
        monitor=dataclasses.replace(short.monitor, judge="off"),
    )
    assert equal(
        weights(watched / "ladder"), weights(train(unwatched, encoded, tmp_path / "b") / "ladder")
    )


def test_a_checkpoint_of_other_settings_is_refused(short, encoded, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        losses(patch, outage(6))
        with pytest.raises(ConnectionError):
            train(short, encoded, tmp_path / "runs")
    changed = with_stage(short, "ti2i", lr=0.5, mixture={"ti2i": 1.0})
    with pytest.raises(
        ValueError,
        match=r"last.ckpt \(remove it .* has stages.ti2i.lr 0.001 instead of 0.5; "
        r"stages.ti2i.mixture.t2i 0.3 instead of absent; stages.ti2i.mixture.ti2i 0.7 instead",
    ):
        train(changed, encoded, tmp_path / "runs")
    # Other threads, other sampling and other later stages don't concern it.
    harmless = dataclasses.replace(
        with_stage(short, "finetune", lr=0.5),
        sampling=dataclasses.replace(short.sampling, steps=3),
        threads=1,
    )
    train(harmless, encoded, tmp_path / "runs")


def test_a_checkpoint_holds_what_is_trained_and_not_the_mllm(short, encoded, tmp_path, monkeypatch):
    losses(monkeypatch, outage(6))
    with pytest.raises(ConnectionError):
        train(short, encoded, tmp_path / "runs")
    saved = torch.load(tmp_path / "runs/ladder-0/ti2i/last.ckpt", weights_only=True)
    fresh = Ladder.from_foundations(short.model, short.foundations, 0)
    names = [name for name, _ in fresh.named_trainables()]
    assert sorted(saved["state_dict"]) == sorted(names)
    assert len(saved["average"]) == len(names)


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
    assert equal(fresh.trainable_state(), Ladder.from_pretrained(second).trainable_state())


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
    seen: list[WeightAverage] = []
    losses(monkeypatch, lambda module, loss: seen.append(module.average) or loss)
    ladder = Ladder.from_pretrained(train(short, encoded, tmp_path / "runs") / "ladder")
    for ours, average in zip(ladder.trainable_parameters(), seen[-1].values, strict=True):
        assert torch.equal(ours, average)


def test_going_back_restores_weights_averages_and_moments(short, encoded, tmp_path, monkeypatch):
    """Steps 5 to 7 are bad, the checkpoint is from after step 3."""
    config = dataclasses.replace(short, monitor=WATCHFUL)
    found: dict[str, object] = {}
    saved: dict[str, object] = {}

    def look(module: LadderModule, loss: torch.Tensor) -> torch.Tensor:
        if module.global_step == 8 and not found:
            path = tmp_path / "runs/ladder-0/ti2i/last.ckpt"
            saved.update(torch.load(path, weights_only=True))
            found["weights"] = {name: v.clone() for name, v in module.state_dict().items()}
            found["average"] = [value.clone() for value in module.average.values]
            found["lr"] = module.trainer.optimizers[0].param_groups[0]["lr"]
            found["moments"] = module.trainer.optimizers[0].state_dict()["state"]
            found["moments"] = {k: {n: t.clone() for n, t in v.items()}
                                for k, v in found["moments"].items()}  # fmt: skip
        return loss * (float("nan") if 5 <= module.global_step <= 7 else 1.0)

    losses(monkeypatch, look)
    folder = train(config, encoded, tmp_path / "runs")
    assert [event["verdict"] for event in events(folder)] == ["skip", "skip", "go back"]
    assert saved["global_step"] == 4
    assert equal(found["weights"], saved["state_dict"])
    assert all(
        torch.equal(ours, theirs)
        for ours, theirs in zip(found["average"], saved["average"], strict=True)
    )
    moments = saved["optimizer_states"][0]["state"]
    assert all(equal(found["moments"][key], moments[key]) for key in moments)
    # The schedule went on: step 8 has the rate of step 8.
    assert found["lr"] == pytest.approx(dict(curve(folder, "lr"))[8])
    assert found["lr"] < saved["optimizer_states"][0]["param_groups"][0]["lr"]


def test_a_stage_that_cannot_be_saved_ends_with_an_error(short, encoded, tmp_path, monkeypatch):
    config = dataclasses.replace(short, monitor=WATCHFUL)
    losses(monkeypatch, lambda module, loss: loss * float("nan"))
    with pytest.raises(DivergedError):
        train(config, encoded, tmp_path / "runs")
    folder = tmp_path / "runs/ladder-0/ti2i"
    assert [event["verdict"] for event in events(folder)][-1] == "stop"
    assert not (folder / "ladder").exists()
