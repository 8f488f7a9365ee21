"""The monitor inside Lightning: a skip is a true skip, and what follows when it does not help."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import FSDPStrategy
from tests.training.running import NO_FAULTS
from torch import nn
from torch.utils.data import DataLoader

from ladder.config.load import Monitor
from ladder.training.checkpoints import Checkpoints
from ladder.training.monitor import DivergedError, GradientMonitor

SETTINGS = Monitor(
    rule="robust",
    threshold=8.0,
    decay=0.9,
    window=21,
    warmup=4,
    patience=5,
    rollbacks=1,
    faults=NO_FAULTS,
)
NAN, SPIKE = float("nan"), 1e5


class Micro:
    """A micro-batch: its number, and what its loss is multiplied by."""

    def __init__(self, number: int, factor: float = 1.0) -> None:
        self.keys = [f"set/{number}"]
        self.x = torch.randn(8, 3, generator=torch.Generator().manual_seed(number))
        self.factor = factor

    def to(self, device: torch.device) -> Micro:
        return self


class Tiny(LightningModule):
    """A regression with one hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))

    def training_step(self, batch: Micro) -> torch.Tensor:
        return (self.net(batch.x) - batch.x.sum(1, keepdim=True)).square().mean() * batch.factor

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-2, weight_decay=0.1)

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        pass


def micros(count: int, faults: dict[int, float] | None = None) -> list[Micro]:
    return [Micro(number, (faults or {}).get(number, 1.0)) for number in range(count)]


def fit(
    batches: list[Micro], folder: Path, config: Monitor = SETTINGS, accumulate: int = 1, **options
) -> tuple[Tiny, GradientMonitor, Trainer]:
    """Train a fresh module on `batches`, with checkpoints in `folder` every two steps."""
    module = Tiny()
    checkpoints = Checkpoints(folder / "last.ckpt", every=2, config={})
    monitor = GradientMonitor(config, folder / "events.jsonl", checkpoints.go_back)
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        accumulate_grad_batches=accumulate,
        gradient_clip_val=0.5,
        callbacks=[monitor, checkpoints],
        logger=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
        **{"devices": 1} | options,
    )
    trainer.fit(module, DataLoader(batches, batch_size=None), weights_only=True)
    return module, monitor, trainer


def state_of(module: Tiny, trainer: Trainer) -> list[torch.Tensor]:
    """Weights, moments and the optimizer's own step count."""
    moments = trainer.optimizers[0].state_dict()["state"].values()
    return [*module.parameters(), *(value for entry in moments for value in entry.values())]


def assert_equal(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    assert len(ours) == len(theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def events(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("factor", [NAN, SPIKE])
@pytest.mark.parametrize("place", [0, 1])
def test_a_skipped_step_is_as_if_it_had_not_been(tmp_path, factor, place):
    """With the fault in either micro-batch of step 8: weights, moments and decay are untouched."""
    batches = micros(40)
    bad = [Micro(100 + k, factor if k == place else 1.0) for k in range(2)]
    module, monitor, trainer = fit(
        [*batches[:16], *bad, *batches[16:]], tmp_path / "a", accumulate=2
    )
    other, _, other_trainer = fit(batches, tmp_path / "b", accumulate=2)
    assert_equal(state_of(module, trainer), state_of(other, other_trainer))
    assert monitor.skipped == 1
    (event,) = events(tmp_path / "a")
    assert event["step"] == 8
    assert event["keys"] == ["set/100", "set/101"]
    assert event["verdict"] == "skip"


def test_without_the_monitor_that_fault_ruins_the_weights(tmp_path):
    off = replace(SETTINGS, rule="off")
    module, _, _ = fit(micros(20, {10: NAN}), tmp_path, off)
    assert not all(value.isfinite().all() for value in module.parameters())


def test_the_monitor_changes_nothing_where_nothing_is_wrong(tmp_path):
    ours, _, trainer = fit(micros(20), tmp_path / "a")
    theirs, _, other = fit(micros(20), tmp_path / "b", replace(SETTINGS, rule="off"))
    assert_equal(state_of(ours, trainer), state_of(theirs, other))


def test_the_checked_norm_is_that_of_the_whole_step_before_clipping(tmp_path):
    """The first step's gradient over two micro-batches, as autograd has it."""
    batches = micros(2)
    _, _, trainer = fit(batches, tmp_path, accumulate=2)
    reference = Tiny()
    sum(reference.training_step(batch) / 2 for batch in batches).backward()
    norm = torch.nn.utils.get_total_norm([value.grad for value in reference.parameters()])
    assert norm > 0.5
    assert trainer.callback_metrics["norm"].item() == pytest.approx(norm.item())
    loss = sum(reference.training_step(batch).item() for batch in batches) / 2
    assert trainer.callback_metrics["loss"].item() == pytest.approx(loss)


def test_published_is_poisoned_by_nan_and_takes_the_spike_after_it(tmp_path):
    faults = {10: NAN, 20: SPIKE}
    published = replace(SETTINGS, rule="published", threshold=25.0)
    fit(micros(24, faults), tmp_path / "published", published)
    fit(micros(24, faults), tmp_path / "ema", replace(published, rule="ema"))
    assert [event["step"] for event in events(tmp_path / "published")] == [10]
    assert [event["step"] for event in events(tmp_path / "ema")] == [10, 20]


def test_when_patience_ends_the_last_good_step_comes_back_and_the_data_goes_on(tmp_path):
    """Batches 11 to 15 are bad; the checkpoint after step 10 is the last good one."""
    faults = dict.fromkeys(range(11, 16), NAN)
    module, monitor, trainer = fit(micros(30, faults), tmp_path / "a")
    kept = [batch for batch in micros(30) if not 10 <= int(batch.keys[0][4:]) < 16]
    other, _, other_trainer = fit(kept, tmp_path / "b")
    assert monitor.rollbacks == 1
    assert [event["verdict"] for event in events(tmp_path / "a")] == ["skip"] * 4 + ["go back"]
    assert_equal(state_of(module, trainer), state_of(other, other_trainer))


def test_no_checkpoint_is_written_amid_skips(tmp_path):
    faults = dict.fromkeys(range(9, 13), NAN)
    fit(micros(13, faults), tmp_path)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 8


def test_training_that_stays_bad_ends_with_an_error(tmp_path):
    with pytest.raises(
        DivergedError, match=r"5 skips in a row, and going back 1 times .* not finite"
    ):
        fit(micros(40, dict.fromkeys(range(8, 40), NAN)), tmp_path)
    verdicts = [event["verdict"] for event in events(tmp_path)]
    assert verdicts == ["skip"] * 4 + ["go back"] + ["skip"] * 4 + ["stop"]


def test_events_are_strict_json_and_say_why(tmp_path):
    fit(micros(16, {12: NAN, 14: SPIKE}), tmp_path)
    first, second = events(tmp_path)
    assert first["loss"] is None
    assert "not finite" in first["reason"]
    assert second["norm"] > 1e3
    assert "limit" in second["reason"]
    assert set(first) == {"step", "loss", "norm", "verdict", "reason", "keys"}


@pytest.mark.slow
def test_all_ranks_skip_when_one_is_bad(tmp_path):
    """Two processes; the fault is on the second only."""

    class Ranked(Tiny):
        def training_step(self, batch: Micro) -> torch.Tensor:
            loss = super().training_step(batch)
            return loss * SPIKE if self.global_rank == 1 and self.global_step == 8 else loss

        def on_train_end(self) -> None:
            weights = torch.cat([value.flatten() for value in self.parameters()])
            torch.save(weights, tmp_path / f"{self.global_rank}.pt")

    globals()["Tiny"], plain = Ranked, Tiny
    try:
        fit(micros(16), tmp_path, devices=2, strategy="ddp_fork")
    finally:
        globals()["Tiny"] = plain
    (event,) = events(tmp_path)
    assert event["step"] == 8
    assert event["keys"] == ["set/8", "set/8"]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert torch.equal(first, second)


def test_a_strategy_under_which_it_would_do_nothing_is_refused(tmp_path):
    monitor = GradientMonitor(SETTINGS, tmp_path / "events.jsonl", lambda trainer: None)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer._accelerator_connector.strategy = FSDPStrategy()
    with pytest.raises(ValueError, match="must be off"):
        monitor.setup(trainer, Tiny(), "fit")
