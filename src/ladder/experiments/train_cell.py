"""A cell of the ablations: one arm with one seed, trained through all stages, then evaluated.

runs/<study>/<arm>-<seed>/finetune/ladder           the trained ladder
experiments/results/<study>/<arm>-<seed>.json       scores, in the schema of the main job
                            <arm>-<seed>.csv        the score of every prompt
                            <arm>-<seed>.steps.csv  loss, norm, fault and skip of every step
                            <arm>-<seed>.cost.json  seconds, memory, trained parameters
                            <arm>-<seed>.png        a row of pictures, to lay beside others
                            <arm>-<seed>.failed.json  if it failed: where, and the error's end

A study is named after its profile: `ablation` is short, `full` as long as the main job. Data,
encodings and foundations are those of the main job.
"""

from __future__ import annotations

import json
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from ladder.config.load import Config
from ladder.evaluation.provenance import Cost
from ladder.models.ladder import Ladder
from ladder.models.lora import is_adapter
from ladder.training.stages import STAGES, run_stage

SHOWN_LINES = 20
"""Lines of an error that are kept."""


def train_cell(
    config: Config,
    study: str,
    encoded: Path = Path("data/encoded"),
    runs: Path = Path("runs"),
    experiments: Path = Path("experiments"),
) -> Path:
    """Train all stages of a cell; returns the folder of its ladder."""
    note = note_of(config, study, experiments)
    folder = runs / study / note.stem
    note.parent.mkdir(parents=True, exist_ok=True)
    with failure_noted(config, "train", note):
        cost = Cost()
        for stage in STAGES:
            with cost.of(stage):
                run_stage(config, stage, encoded, runs / study)
        ladder = Ladder.from_pretrained(folder / "finetune/ladder")
        spent = cost.as_json() | size_of(ladder)
        note.with_suffix(".cost.json").write_text(json.dumps(spent, indent=1) + "\n")
        steps = pd.concat([steps_of(folder / stage, stage) for stage in STAGES])
        steps.to_csv(note.with_suffix(".steps.csv"), index=False, lineterminator="\n")
        for stage in STAGES[:-1]:
            shutil.rmtree(folder / stage)
    return folder / "finetune/ladder"


def note_of(config: Config, study: str, experiments: Path) -> Path:
    """The file of a cell's results."""
    return experiments / "results" / study / f"{config.arm}-{config.seed}.json"


@contextmanager
def failure_noted(config: Config, part: str, note: Path) -> Iterator[None]:
    """An error is written down beside the results, and raised all the same."""
    failed = note.with_suffix(".failed.json")
    failed.unlink(missing_ok=True)
    try:
        yield
    except Exception:
        lines = traceback.format_exc().splitlines()[-SHOWN_LINES:]
        record = {"arm": config.arm, "seed": config.seed, "part": part, "error": lines}
        failed.write_text(json.dumps(record, indent=1) + "\n")
        raise


def size_of(ladder: Ladder) -> dict[str, Any]:
    """What a ladder consists of, so that arms which differ in it can be told apart.

    `rungs` holds the states of each block: their layers ("norm" after the final norm) and shares.
    """
    trained = {"queries": 0, "connector": 0, "mixture": 0, "generator": 0}
    for name, value in ladder.named_trainables():
        part = "mllm_adapter" if is_adapter(name) else name.partition(".")[0]
        trained[part] = trained.get(part, 0) + value.numel()
    return {
        "parameters": trained,
        "mllm_layers": ladder.taps.highest,
        "rungs": [rung_of(ladder, block) for block in range(ladder.taps.blocks)],
    }


def rung_of(ladder: Ladder, block: int) -> dict[str, float]:
    """The layers that feed a block, and the share of each."""
    taps = ladder.taps
    if taps.scheme == "learned":
        shares = ladder.mixture.weights[block].softmax(-1).tolist()
    elif taps.scheme == "mean":
        shares = [1 / len(taps.layers)] * len(taps.layers)
    else:
        return {str(taps.layers[block]): 1.0}
    return {str(layer): share for layer, share in zip(taps.layers, shares, strict=True)}


def steps_of(folder: Path, stage: str) -> pd.DataFrame:
    """A row for every step of a stage: loss, norm, whether it was skipped, and its fault, if any.

    Loss and norm are empty where they weren't finite.
    """
    table = pd.DataFrame({"stage": pd.Series(dtype=str), "step": pd.Series(dtype=int)})
    for name in ("skipped", "loss", "norm"):
        path = folder / f"dvclive/plots/metrics/{name}.tsv"
        if path.is_file():
            table = table.merge(pd.read_csv(path, sep="\t"), how="outer", on="step")
    # A curve without a finite value isn't written at all.
    table = table.reindex(columns=["stage", "step", "skipped", "loss", "norm"]).assign(stage=stage)
    faults = folder / "faults.jsonl"
    lines = faults.read_text().splitlines() if faults.is_file() else []
    kinds = {record["step"]: record["kind"] for record in map(json.loads, lines)}
    return table.assign(fault=table["step"].map(kinds))
