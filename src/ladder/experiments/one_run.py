"""A run: one arm with one seed, trained through all stages, then scored.

A notebook calls `train`, `score` and `record` one after the other, and shows what they return. The
folder of the run then holds what a study collects:

training/            what training leaves, with the finished ladder in <arm>-<seed>/finetune/ladder
results/, pictures/  what `ladder evaluate` would write
outcomes.parquet, steps.parquet, scores.parquet, ceilings.json, picture.webp
run.json             configuration, provenance and cost; written last
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from ladder.config.files import read_json, replacing, write_text
from ladder.config.load import Config, require_same
from ladder.evaluation.cost import Cost
from ladder.evaluation.outcomes import read
from ladder.evaluation.provenance import provenance
from ladder.evaluation.run import evaluate
from ladder.evaluation.toy.geneval import STRIP
from ladder.experiments.heldout_loss import as_outcomes, losses_of
from ladder.experiments.prepare import data_of
from ladder.experiments.results import RECORD
from ladder.models.ladder import Ladder
from ladder.models.lora import is_adapter
from ladder.training.stages import run_stage
from ladder.training.start import CHECKPOINT, SETTINGS, STAGES, StageName, settings

BOUNDS = ("floor", "ceiling")
CURVES = ("skipped", "loss", "norm", "validation_t2i", "validation_ti2i")
"""What is kept of every step; the last two are losses on held-out samples."""
QUALITY = 85
"""Of the row of pictures."""


@dataclass(frozen=True)
class Trained:
    """What training gave."""

    config: Config
    folder: Path
    """That of the run."""
    ladder: Ladder
    steps: pd.DataFrame
    """A row for each step: stage, step, CURVES, fault."""
    heldout: dict[str, pd.DataFrame]
    """The loss on held-out samples of each set: a row a sample, a column a time."""
    cost: dict[str, Any]
    """Seconds, memory, and what the ladder consists of."""

    @property
    def losses(self) -> pd.DataFrame:
        """Those on held-out samples of text to image."""
        return self.heldout["t2i"]

    @property
    def loss(self) -> float:
        """Their mean over samples and times."""
        return float(self.losses.to_numpy().mean())

    @property
    def heldout_loss(self) -> dict[str, float | None]:
        """The mean of each set, by the name of its outcome; None where it is not finite."""
        means = {name: float(table.to_numpy().mean()) for name, table in self.heldout.items()}
        return {
            f"heldout_loss.{name}": round(mean, 6) if math.isfinite(mean) else None
            for name, mean in means.items()
        }

    @property
    def pictures(self) -> Path:
        """The folder with the grids that scoring draws."""
        return self.folder / "pictures" / f"{self.config.arm}-{self.config.seed}"


@dataclass(frozen=True)
class Scored:
    """What evaluation gave."""

    metrics: dict[str, Any]
    """Intervals by metric and group; those of the floor and of the ceiling in it."""
    outcomes: pd.DataFrame
    """The score of everything that was asked."""

    def of(self, *names: str) -> pd.DataFrame:
        """The overall scores of some metrics, by dotted name, as a table."""
        flat = dict(_flattened(self.metrics))
        keys = [name if name in flat else f"{name}.overall" for name in names]
        return pd.DataFrame([flat[key] for key in keys], index=[*names]).rename_axis("score")


def train(config: Config, folder: Path) -> Trained:
    """Train all stages in `folder`, and take the loss on held-out samples.

    A run that was interrupted goes on; one that was recorded is begun anew. Raises ValueError if it
    was begun under other settings, DivergedError when the monitor gives up, BusyError if another
    process trains here.
    """
    _, encoded = data_of(config)
    runs, cost = folder / "training", Cost()
    if (folder / RECORD).is_file():
        shutil.rmtree(runs)
        (folder / RECORD).unlink()
    trained = runs / f"{config.arm}-{config.seed}"
    finished = [stage for stage in STAGES if _is_finished(trained / stage, config, stage)]
    waiting = STAGES[STAGES.index(finished[-1]) + 1 :] if finished else STAGES
    for stage in waiting:
        with cost.of(stage):
            run_stage(config, stage, encoded, runs)
    ladder = Ladder.from_pretrained(trained / STAGES[-1] / "ladder").eval()
    steps = pd.concat([steps_of(trained / stage, stage) for stage in STAGES], ignore_index=True)
    heldout = losses_of(ladder, encoded, config.seed)
    return Trained(config, folder, ladder, steps, heldout, cost.as_json() | size_of(ladder))


def _is_finished(folder: Path, config: Config, stage: StageName) -> bool:
    """Whether a stage left its ladder, and no checkpoint to go on from.

    Raises ValueError if it was trained under other settings.
    """
    path = folder / "ladder" / SETTINGS
    if not path.is_file() or (folder / CHECKPOINT).is_file():
        return False
    require_same(settings(config, stage), read_json(path), str(folder))
    return True


def score(trained: Trained) -> Scored:
    """Draw, observe and score, as `ladder evaluate` does."""
    config, folder = trained.config, trained.folder
    curated, _ = data_of(config)
    path = evaluate(config, folder / "training", curated, folder)
    return Scored(read_json(path)["metrics"], read(path))


def record(trained: Trained, scored: Scored | None = None) -> None:
    """Write what a study collects into the folder of the run."""
    folder, config = trained.folder, trained.config
    curated, _ = data_of(config)
    tables = [as_outcomes(trained.heldout)]
    if scored is not None:
        tables.append(scored.outcomes)
        own = {name: value for name, value in scored.metrics.items() if name not in BOUNDS}
        rows = [
            {"of": of, "score": name, **interval}
            for of, metrics in (("ladder", own), ("floor", scored.metrics["floor"]))
            for name, interval in _flattened(metrics)
        ]
        write_table(pd.DataFrame(rows), folder / "scores.parquet")
        write_text(folder / "ceilings.json", json.dumps(scored.metrics["ceiling"]))
        strip = Image.open(trained.pictures / STRIP).convert("RGB")
        with replacing(folder / "picture.webp") as part:
            strip.save(part, "WEBP", quality=QUALITY, method=6)
    write_table(pd.concat(tables, ignore_index=True), folder / "outcomes.parquet")
    write_table(trained.steps, folder / "steps.parquet")
    known = {"config": config.as_dict(), "provenance": provenance(curated), "cost": trained.cost}
    write_text(folder / RECORD, json.dumps(known))
    for stage in STAGES[:-1]:
        ladder = folder / "training" / f"{config.arm}-{config.seed}" / stage / "ladder"
        shutil.rmtree(ladder, ignore_errors=True)  # not there if this was done before


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet."""
    with replacing(path) as part:
        table.to_parquet(part, index=False)


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
    """A row for every step of a stage: CURVES, whether it was skipped, and its fault, if any.

    Loss and norm are empty where they weren't finite, and the loss on held-out samples where it
    wasn't taken (`training.validation.every`).
    """
    table = pd.DataFrame({"stage": pd.Series(dtype=str), "step": pd.Series(dtype=int)})
    for name in CURVES:
        path = folder / f"dvclive/plots/metrics/{name}.tsv"
        if path.is_file():
            table = table.merge(pd.read_csv(path, sep="\t"), how="outer", on="step")
    # A curve without a finite value isn't written at all.
    table = table.reindex(columns=["stage", "step", *CURVES]).assign(stage=stage)
    faults = folder / "faults.jsonl"
    lines = faults.read_text().splitlines() if faults.is_file() else []
    kinds = {record["step"]: record["kind"] for record in map(json.loads, lines)}
    return table.assign(fault=[kinds.get(step) for step in table["step"]]).astype(
        {"step": int, **dict.fromkeys(CURVES, float), "fault": object}
    )


def _flattened(metrics: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, float]]]:
    """Every interval of nested metrics, with its dotted name."""
    if {*metrics} == {"mean", "low", "high", "n"}:
        yield path, metrics
        return
    for name, value in metrics.items():
        yield from _flattened(value, f"{path}.{name}" if path else name)
