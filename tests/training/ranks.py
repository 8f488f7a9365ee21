"""One process of a distributed training, for tests: torchrun starts this file on every rank.

    torchrun --standalone --nproc-per-node 2 tests/training/ranks.py PLAN.json

PLAN.json holds: config (all settings), encoded and runs (folders; the first may have {rank} in its
path, as if each were a machine with a disk of its own), faults (factors of the loss by step, on the
last rank only), outage (a step at which power is lost, or null), alike (whether noise
and conditions belong to a sample and not to a rank, so that one process may be compared with two),
and double (whether weights are float64: sums in another order round differently, and of a rounded
gradient near 0 Adam makes a whole step). Each rank leaves RANK.safetensors, what it trained,
RANK.json, the keys it saw by step, and RANK.held.json: how many values of the checkpoint and of the
averages it held itself.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from ladder.config.layers import build
from ladder.config.load import Config
from ladder.data.training.sampler import Draw, StepBatches
from ladder.training import module as training
from ladder.training.ema import WeightEMA
from ladder.training.stages import train
from ladder.training.start import starting_ladder
from ladder.training.strategies import one_reads

STAGE = "t2i"


def main(plan: Path) -> None:
    """Train the stage as planned."""
    asked = json.loads(plan.read_text())
    config = build(Config, asked["config"], str(plan))
    runs = Path(asked["runs"])
    rank = int(os.environ.get("RANK", 0))
    last = rank == int(os.environ.get("WORLD_SIZE", 1)) - 1
    faults = {int(step): float(factor) for step, factor in asked["faults"].items()}
    seen: list[tuple[int, list[str]]] = []
    original = training.LadderModule.training_step

    def step(module: training.LadderModule, batch: object, index: int) -> Tensor:
        if module.global_step == asked["outage"]:
            raise ConnectionError("power lost")
        seen.append((module.global_step, batch.keys))
        return original(module, batch, index) * (faults.get(seen[-1][0], 1.0) if last else 1.0)

    training.LadderModule.training_step = step
    if asked["alike"]:
        share_chance()
    # The compiler's last part, which makes machine code, takes minutes.
    torch.compile = partial(torch.compile, backend="aot_eager")
    held = {"checkpoint": 0, "average": 0, "whole": 0}
    watch(held)
    torch.set_num_threads(1)
    ladder = starting_ladder(config, STAGE, runs)
    if asked["double"]:
        ladder.double()
    encoded = Path(asked["encoded"].format(rank=rank))
    try:
        ladder = train(config, STAGE, ladder, encoded, runs / STAGE)
    finally:
        (runs / f"{rank}.json").write_text(json.dumps(seen))
    save_file(ladder.trainable_state(), runs / f"{rank}.safetensors")
    (runs / f"{rank}.held.json").write_text(json.dumps(held))


def watch(held: dict[str, int]) -> None:
    """Count what this process holds of a checkpoint that it restores, and of averages."""
    read, update = one_reads.read_once, WeightEMA.update

    def read_once(path: Path) -> dict[str, Any]:
        content = read(path)
        leaves = [value for value in content["average"] if not value.is_meta]
        held["checkpoint"] = sum(value.numel() for value in leaves)
        return content

    def updated(ema: WeightEMA) -> None:
        update(ema)
        local = [v.to_local() if isinstance(v, DTensor) else v for v in ema.values]
        held["average"] = sum(value.numel() for value in local)
        held["whole"] = sum(value.numel() for value in ema.values)

    one_reads.read_once, WeightEMA.update = read_once, updated


def share_chance() -> None:
    """Micro-batch m of one process gets the noise of the first micro-batch of rank m, and a sample
    its conditions wherever it is drawn."""
    seeded, drawn = training.step_seed, StepBatches.draws

    def step_seed(seed: int, stage: str, rank: int, step: int, micro: int) -> int:
        return seeded(seed, stage, 0, step, rank + micro)

    def draws(self: StepBatches, step: int) -> list[Draw]:
        return [dataclasses.replace(draw, seed=(step, draw.index)) for draw in drawn(self, step)]

    training.step_seed, StepBatches.draws = step_seed, draws


if __name__ == "__main__":
    main(Path(sys.argv[1]))
