"""`make gpu`: what a machine's GPUs make of training and drawing at the published size.

In one run, on random weights, in bfloat16: our training step and our sampling against the published
ones (`train_step`, `sampling`), with the share of the GPU's speed that the step reaches; then the
verbs as processes on small models: a few steps of each stage by as many processes as there are
GPUs, and a picture drawn. All of it takes a few minutes. On a CPU, at a small size, the same runs
to try it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal

import torch

from ladder.config.load import Config, load
from ladder.models.device import find_device
from ladder.profiling import sampling, train_step
from ladder.profiling.plan import MetaModels, flops, published_flop
from ladder.profiling.random_models import SizeName
from ladder.profiling.real_size import Runner, prepare, settings

TERA = 1e12
SPEEDS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0, "A10": 125.0}
"""TFLOP/s of bfloat16 without sparsity, by a part of a GPU's name, from NVIDIA's data sheets."""
PAIRS, STEPS = 5, 10
SMALL: SizeName = "mid"
"""Of the models that the verbs run on."""


def measure(
    size: SizeName,
    place: Path,
    repository: Path,
    device: Literal["cuda", "cpu"],
    speed: float | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Measure, say each finding, and return all of them for JSON.

    `place` is a folder to work in; `speed`, in TFLOP/s, is for a GPU that isn't in SPEEDS. Raises
    ValueError where there is no such device.
    """
    find_device(device)
    found: dict[str, Any] = {
        "date": date.today().isoformat(), "size": size, **gpus(device), "torch": torch.__version__,
    }  # fmt: skip
    speed = speed or next((v for part, v in SPEEDS.items() if part in found["machine"]), None)
    say(f"{found['gpus']} x {found['machine']}, torch {found['torch']}")
    own = settings(1, "ddp", found["gpus"])
    prepare(size if device == "cpu" else SMALL, place, repository)
    models = [f"foundations.{name}={place / 'models' / folder}" for name, folder in
              (("mllm", "mllm"), ("generator", "sana"))]  # fmt: skip
    config = load("paper", arguments=() if size == "paper" else models)
    found["step"] = train_step.step(size, PAIRS, device)
    for tokens, row in found["step"].items():
        row["mfu"] = {}
        for way, flop in step_flop(config, int(tokens)).items():
            reached = train_step.BATCH * flop / row["seconds"][way] / TERA
            row["mfu"][way] = reached / speed if speed else None
        say(f"step, captions of {tokens} tokens: {row['ratio']['median']:.2f}x as fast, "
            f"{row['memory_ratio']:.2f}x the memory, MFU {row['mfu']['ours']}")  # fmt: skip
    found["mfu"] = found["step"][str(train_step.CAPTIONS[0])]["mfu"]["ours"]
    found["sample"] = sampling.sample(size, PAIRS, STEPS, device)
    for case, row in found["sample"].items():
        say(f"sample, {case}: {row['ratio']['median']:.2f}x as fast")
    found["verbs"] = verbs(place, own, device, say)
    return found


def gpus(device: str) -> dict[str, Any]:
    """Their name and number."""
    if device == "cpu":
        return {"machine": "CPU", "gpus": 1}
    return {"machine": torch.cuda.get_device_name(), "gpus": torch.cuda.device_count()}


def step_flop(config: Config, tokens: int) -> dict[str, float]:
    """Of a sample of a checkpointed step, for both ways."""
    models = MetaModels(config)
    ours = flops(models, tokens, checkpointed=True).total
    return {"ours": ours, "published": published_flop(models, tokens)}


def verbs(place: Path, own: Sequence[str], device: str, say: Callable[[str], None]) -> dict:
    """Encode, train by one process a GPU, and draw a picture; what each took."""
    run = Runner(place, say)
    full = ["--profile", "paper", *own, f"cluster.device={device}", f"encoding.device={device}"]
    run("curate", ["curate", *full])
    run("encode", ["encode", *full])
    run("train t2i, ddp", ["train", "t2i", *full])
    run("train ti2i, ddp", ["train", "ti2i", *full])
    run("train finetune, ddp", ["train", "finetune", *full, "--export", "models/ladder"])
    words = ["a palace by a lake", "--steps", "2", "--model", "models/ladder", "-o", "drawn.png"]
    run("generate", ["generate", *words, "--device", device, "--dtype", "bfloat16"])
    return run.found
