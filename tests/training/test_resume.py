"""Checkpoints of a stage: resuming bit for bit, refusals, going back to the last good one."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import random
import time
from pathlib import Path

import pytest
import torch
from dvclive import Live
from lightning.pytorch import Trainer
from tests.training import ranks
from tests.training.running import (
    CURVES,
    WATCHFUL,
    curve,
    equal,
    events,
    losses,
    outage,
    spikes,
    train,
    weights,
    with_stage,
)

from ladder.models.ladder import Ladder
from ladder.training.checkpoints import Checkpoints
from ladder.training.module import LadderModule
from ladder.training.monitor import DivergedError
from ladder.training.stages import run_stage


def logged(folder: Path) -> dict[str, str]:
    """What DVCLive left of a stage, by the names of its files."""
    files = [*folder.glob("dvclive/plots/metrics/*"), folder / "dvclive/metrics.json"]
    return {file.name: file.read_text() for file in files}


@pytest.mark.parametrize("step", [3, 5, 9])
def test_an_interrupted_stage_goes_on_bit_for_bit(short, encoded, tmp_path, monkeypatch, step):
    """Before its first checkpoint, after the first or the second; two micro-batches, amid an epoch.

    The spike at step 8 is checked by norms from before and after the interruption, and the outcome
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
    assert logged(whole) == logged(parts)
    assert events(whole) == events(parts)
    assert [event["step"] for event in events(whole)] == [8]
    assert not (parts / "last.ckpt").exists()


def test_a_stage_interrupted_after_its_last_step_only_saves(short, encoded, tmp_path, monkeypatch):
    config = with_stage(short, "ti2i", steps=8)
    whole = train(config, encoded, tmp_path / "whole")
    run_stage(config, "t2i", encoded, tmp_path / "parts")
    with monkeypatch.context() as patch:
        patch.setattr(Ladder, "save_pretrained", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(config, encoded, tmp_path / "parts")
    losses(monkeypatch, outage(8))
    parts = train(config, encoded, tmp_path / "parts")
    assert equal(weights(whole / "ladder"), weights(parts / "ladder"))
    assert logged(whole) == logged(parts)


@pytest.mark.parametrize("killed", ["at a checkpoint", "in the summary"])
def test_what_is_logged_is_whole_wherever_a_stage_ends(
    short, encoded, tmp_path, monkeypatch, killed
):
    """Killed right after its last checkpoint, or while it writes its last file."""
    config = with_stage(short, "ti2i", steps=8)
    whole = train(config, encoded, tmp_path / "whole")

    def write(self: Checkpoints, trainer: Trainer) -> None:
        written(self, trainer)
        if trainer.global_step == 8:
            raise ConnectionError

    def summarise(live: Live) -> None:
        Path(live.metrics_file).write_text('{"lo')
        raise ConnectionError

    run_stage(config, "t2i", encoded, tmp_path / "parts")
    written = Checkpoints.write
    with monkeypatch.context() as patch:
        if killed == "at a checkpoint":
            patch.setattr(Checkpoints, "write", write)
        else:
            patch.setattr(Live, "make_summary", summarise)
        with pytest.raises(ConnectionError):
            train(config, encoded, tmp_path / "parts")
    assert logged(whole) == logged(train(config, encoded, tmp_path / "parts"))


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
            found["average"] = [value.clone() for value in module.ema.values]
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


@pytest.mark.slow
@pytest.mark.parametrize("stops", [(5,), (3, 6)])
def test_ten_steps_are_five_and_five_are_three_three_and_four(
    short, encoded, tmp_path, monkeypatch, stops
):
    """Bit for bit, with the same samples at every micro-batch, which two workers assemble."""
    cluster = dataclasses.replace(short.cluster, workers=2)
    config = dataclasses.replace(with_stage(short, "ti2i", checkpoint_every=1), cluster=cluster)
    original = LadderModule.training_step
    seen: list[tuple[int, list[str]]] = []
    ends = iter([None, *stops, None])

    def once(folder: str):
        stop = next(ends)

        def step(module, batch, index):
            if module.global_step == stop:
                raise ConnectionError("power lost")
            seen.append((module.global_step, batch.keys))
            return original(module, batch, index)

        monkeypatch.setattr(LadderModule, "training_step", step)
        return train(config, encoded, tmp_path / folder)

    whole = once("whole")
    expected, seen = seen, []
    for _ in stops:
        with pytest.raises(ConnectionError):
            once("parts")
    parts = once("parts")
    assert seen == expected
    assert [step for step, _ in seen] == [step for step in range(10) for _ in range(2)]
    assert equal(weights(whole / "ladder"), weights(parts / "ladder"))
    assert [curve(whole, name) for name in CURVES] == [curve(parts, name) for name in CURVES]


def test_a_checkpoint_half_written_is_none(short, encoded, tmp_path, monkeypatch):
    """The one before it stays, and training goes on from there."""
    whole = train(short, encoded, tmp_path / "whole")
    save = Trainer.save_checkpoint

    def cut(trainer: Trainer, path, *options) -> None:
        save(trainer, path, *options)
        if trainer.global_step == 8:
            path.write_bytes(path.read_bytes()[:1000])
            raise ConnectionError("power lost")

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save_checkpoint", cut)
        with pytest.raises(ConnectionError):
            train(short, encoded, tmp_path / "parts")
    saved = torch.load(tmp_path / "parts/ladder-0/ti2i/last.ckpt", weights_only=True)
    assert saved["global_step"] == 4
    parts = train(short, encoded, tmp_path / "parts")
    assert equal(weights(whole / "ladder"), weights(parts / "ladder"))
    assert not (parts / "last.part").exists()


@pytest.mark.slow
def test_a_process_killed_at_any_moment_leaves_a_checkpoint(short, encoded, tmp_path):
    """Twenty times, of a run that writes one after every step and goes on from the last."""
    changes = {"steps": 100_000, "batch": 2, "accumulate": 1, "sample_every": 100_000}
    config = with_stage(short, "t2i", **changes, checkpoint_every=1)
    plan = {"faults": {}, "outage": None, "alike": False, "double": False}
    plan |= {"config": config.as_dict(), "encoded": str(encoded), "runs": str(tmp_path)}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    path = tmp_path / "t2i/last.ckpt"
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.training.ranks"])
    steps, rng = [0], random.Random(0)
    for _ in range(20):
        process = processes.Process(target=ranks.main, args=(tmp_path / "plan.json",))
        process.start()
        while not path.exists():
            time.sleep(0.05)
            assert process.is_alive()
        time.sleep(rng.uniform(0.0, 4.0))
        process.kill()
        process.join()
        steps.append(torch.load(path, map_location="cpu", weights_only=True)["global_step"])
    assert steps == sorted(steps)
    assert steps[-1] > 5
