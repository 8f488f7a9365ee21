"""The loggers of a stage by name: those of Lightning, each in a folder of its own.

dvclive      for `ladder watch` and DVC's plots
tensorboard  to watch
csv          metrics.csv, a row a step
wandb        Weights & Biases, a package of its own; WANDB_MODE=offline keeps all on this machine

All get every step. The files of the first three are cut back to the checkpoint when a stage goes on
after an interruption, so that a curve has each step once; a run of wandb goes on under its id.
"""

from __future__ import annotations

import csv
import math
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from dvclive.lightning import DVCLiveLogger
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from ladder.config.files import write_text

ROW = re.compile(r"\d+\t[^\t\n]+\n")
"""Of a curve of DVCLive: step and value."""
PROJECT = "ladder"
"""In which wandb keeps runs, unless WANDB_PROJECT names another."""


def loggers(names: Sequence[str], folder: Path, start: int) -> list[Logger]:
    """The loggers of these names, in `folder`/NAME, going on at step `start`.

    Raises ValueError where a package is missing.
    """
    return [MAKERS[name](folder, start) for name in names]


def dvclive_logger(folder: Path, start: int) -> Logger:
    cut(folder / "dvclive", start)
    return StepLogger(folder / "dvclive", start)


def tensorboard_logger(folder: Path, start: int) -> Logger:
    return TensorBoardLogger(folder, name="", version="tensorboard", purge_step=start)


def csv_logger(folder: Path, start: int) -> Logger:
    """Lightning's begins a new file; the rows of the steps before `start` are written again."""
    kept = rows_taken(folder / "csv" / "metrics.csv", start) or []
    logger = CSVLogger(folder, name="", version="csv", flush_logs_every_n_steps=1)
    for row in kept:
        logger.experiment.log_metrics(row, int(row.pop("step")))
    logger.save()
    return logger


def wandb_logger(folder: Path, start: int) -> Logger:
    """A run named by its arm, seed and stage."""
    if find_spec("wandb") is None:
        raise ValueError(
            "training.loggers wandb needs a package that isn't installed: pip install wandb"
        )
    run = run_id(folder / "wandb" / "id", start)
    name, project = "-".join(folder.parts[-2:]), os.environ.get("WANDB_PROJECT", PROJECT)
    return WandbRun(name, folder, version=run, project=project)


MAKERS = {
    "dvclive": dvclive_logger,
    "tensorboard": tensorboard_logger,
    "csv": csv_logger,
    "wandb": wandb_logger,
}


class StepLogger(DVCLiveLogger):
    """DVCLive at 0.4 ms a step.

    The original inspects the whole call stack and rewrites its summary at each step (8 ms), and
    counts the first step as the second.
    """

    def __init__(self, folder: Path, start: int) -> None:
        super().__init__(
            dir=str(folder), resume=start > 0, save_dvc_exp=False, dvcyaml=None, report=None
        )

    @rank_zero_only
    def log_metrics(
        self,
        metrics: Mapping[str, int | float | str],
        step: int | None = None,
        sync: bool | None = None,
    ) -> None:
        """Append a row to the curve of each metric."""
        self.experiment.step = step
        for name, value in metrics.items():
            self.experiment.log_metric(name, value)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the last row of each curve to metrics.json, whichever run has logged it."""
        summary, steps = {}, [0]
        for curve in sorted(Path(self.experiment.plots_dir).glob("metrics/*.tsv")):
            step, value = curve.read_text().splitlines()[-1].split("\t")
            # JSON knows no NaN; as a word it shows in DVC's tables what the run ended with.
            summary[curve.stem] = float(value) if math.isfinite(float(value)) else value
            steps.append(int(step))
        self.experiment.summary = summary | {"step": max(steps)}
        super().finalize(status)


class WandbRun(WandbLogger):
    """A run that ends with its stage; Lightning's would go on in the next one."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        super().finalize(status)
        self.experiment.finish(int(status != "success"))


@rank_zero_only
def run_id(path: Path, start: int) -> str:
    """The id of a run of wandb, kept in a file; a run that begins at step 0 is a new one."""
    if not start or not path.is_file():
        write_text(path, uuid.uuid4().hex[:8])
    return path.read_text()


@rank_zero_only
def rows_taken(path: Path, start: int) -> list[dict[str, float]]:
    """The rows of a table for steps before `start`; the file is gone afterwards."""
    if not path.is_file():
        return []
    text = path.read_text()
    # A kill or a full disk may have left half a row at the end.
    lines = text[: text.rfind("\n") + 1].splitlines()
    rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(lines)]
    path.unlink()
    return [row for row in rows if row["step"] < start]


def log_image(logger: Logger, name: str, step: int, image: Image.Image) -> None:
    """Hand a picture to a logger of `loggers`, if it takes any."""
    if isinstance(logger, StepLogger):
        logger.experiment.log_image(f"{name}/{step:06d}.png", image)
    elif isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(name, np.asarray(image), step, dataformats="HWC")
    elif isinstance(logger, WandbLogger):
        logger.log_image(name, [image], step)


@rank_zero_only
def cut(folder: Path, start: int) -> None:
    """Drop the rows (step, value) of DVCLive's curves from step `start` on, and their summary."""
    (folder / "metrics.json").unlink(missing_ok=True)
    for curve in folder.glob("plots/metrics/*.tsv"):
        lines = curve.read_text().splitlines(keepends=True)
        kept: list[str] = []
        for row in lines[1:]:
            # A machine that stopped may have left half a row; each whole one comes once.
            if ROW.fullmatch(row) and step_of(row) < start:
                while kept and step_of(kept[-1]) >= step_of(row):
                    kept.pop()
                kept.append(row)
        write_text(curve, "".join([lines[0], *kept])) if kept else curve.unlink()


def step_of(row: str) -> int:
    """The step that a row of a curve is of."""
    return int(row.partition("\t")[0])
