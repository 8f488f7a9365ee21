"""Running stages in tests, breaking them, and reading what they leave."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ladder.config.load import Config, Faults, Monitor
from ladder.training.module import LadderModule
from ladder.training.stages import run_stage

CURVES = ("loss", "norm", "skipped", "lr")
NO_FAULTS = Faults(rate=0.0, kinds=("spike",), seed=0)
WATCHFUL = Monitor(
    rule="robust",
    threshold=8.0,
    decay=0.99,
    window=9,
    warmup=6,
    patience=3,
    rollbacks=1,
    faults=NO_FAULTS,
)


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
