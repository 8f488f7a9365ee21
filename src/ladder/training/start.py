"""What a stage begins with: the foundations, the ladder of the stage before, or given weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors.torch import load_file

from ladder.config.files import read_json
from ladder.config.load import Config, Stage, require_same
from ladder.models.ladder import CONFIG, GENERATOR, MLLM_ADAPTER, WEIGHTS, Ladder
from ladder.models.load_errors import reading, require_finite, require_weights
from ladder.models.lora import adapted, fill_mllm_adapter, is_adapter
from ladder.training.checkpoints import FREE

StageName = Literal["t2i", "ti2i", "finetune"]

STAGES: tuple[StageName, ...] = ("t2i", "ti2i", "finetune")
"""In their order."""
CHECKPOINT = "last.ckpt"
SETTINGS = "training.json"
"""In the folder of a trained ladder: the settings that it depends on."""
INDEPENDENT = ("threads", "cluster", "training", "sampling", "evaluation")
"""Sections of the configuration in which a checkpoint may differ from the run that goes on."""


def starting_ladder(config: Config, stage: StageName, run: Path) -> Ladder:
    """What `stage` begins with: given weights (its `init`), the ladder of the stage before it in
    `run`, or, where there is none before, the foundations.

    The MLLM is loaded in its own type, what is trained in float32. Raises ValueError where the
    stage before left no ladder, isn't finished, or has one of other settings, and for given weights
    that don't fit.
    """
    given = stage_of(config, stage).init
    if given is not None or stage == STAGES[0]:
        ladder = Ladder.from_foundations(
            config.model, config.foundations, config.seed, config.encoding.aspects
        )
        if given is not None:
            begin_with(ladder, Path(given), f"stages.{stage}.init")
        return ladder
    before = STAGES[STAGES.index(stage) - 1]
    folder = run / before / "ladder"
    if not (folder / SETTINGS).is_file():
        raise ValueError(f"{folder} must hold a ladder; `ladder train {before}` writes it")
    if (run / before / CHECKPOINT).is_file():
        raise ValueError(
            f"{run / before} must be finished before {stage} begins, and it has a {CHECKPOINT}; "
            f"`ladder train {before}` goes on from it"
        )
    found = read_json(folder / SETTINGS)
    require_same(settings(config, before), found, str(folder), FREE)
    return Ladder.from_pretrained(folder, mllm_dtype=getattr(torch, config.foundations.dtype))


def begin_with(ladder: Ladder, given: Path, setting: str) -> None:
    """Let `ladder` take over the weights in a folder: of a ladder, or of a pipeline with one.

    An adapter of the MLLM that `given` lacks stays as it is. Raises ValueError, which names the
    `setting`, for a folder without a ladder, for tensors that are missing, left over, of another
    shape or not finite, for a ladder that reads with another MLLM, and for one with an adapter
    where `ladder` has none.
    """
    folder = given / "ladder" if (given / "ladder" / CONFIG).is_file() else given
    if not (folder / WEIGHTS).is_file():
        raise ValueError(f"{setting} must be the folder of a ladder, got {given}")
    with reading(folder, f"a ladder for {setting}"):
        written = read_json(folder / CONFIG)
        found = load_file(folder / WEIGHTS)
        generator = load_file(folder / GENERATOR / SAFETENSORS_WEIGHTS_NAME)
        found |= {f"generator.{name}": value for name, value in generator.items()}
        theirs, ours = written["mllm"], ladder.understanding.reference
    if theirs["sha256"] != ours.digest:
        raise ValueError(
            f"{setting}: the ladder reads with the MLLM {theirs['source']} (from {folder}) of "
            f"SHA-256 {theirs['sha256']}, and foundations.mllm, {ours.source}, has {ours.digest}; "
            "both must be one"
        )
    if written.get(MLLM_ADAPTER):
        if not adapted(ladder.understanding.mllm):
            raise ValueError(
                f"{setting}: {folder} has an adapter of the MLLM, so model.mllm_lora_rank must be "
                "its rank, got null"
            )
        fill_mllm_adapter(ladder.understanding.mllm, folder / MLLM_ADAPTER)
    own = ladder.trainable_state()
    found |= {name: value for name, value in own.items() if is_adapter(name)}
    require_weights(own, found, folder)
    ladder.load_trainable_state(found)
    require_finite({"ladder": ladder}, folder)


def settings(config: Config, stage: StageName) -> dict[str, Any]:
    """The part of the configuration on which the ladder of `stage` depends."""
    values = config.as_dict()
    later = STAGES[STAGES.index(stage) + 1 :]
    values["stages"] = {name: values["stages"][name] for name in STAGES if name not in later}
    return {name: value for name, value in values.items() if name not in INDEPENDENT}


def stage_of(config: Config, stage: StageName) -> Stage:
    """The settings of one stage."""
    return getattr(config.stages, stage)
