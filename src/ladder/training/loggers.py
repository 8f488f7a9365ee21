"""The loggers of a stage: DVCLive for DVC's plots, TensorBoard to watch.

Both get every step, and both are cut back to the checkpoint when a stage goes on after an
interruption, so that a curve has each step once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from dvclive.lightning import DVCLiveLogger
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image


def loggers(folder: Path, start: int) -> list[Logger]:
    """DVCLive in `folder`/dvclive and TensorBoard in `folder`/tensorboard, going on at `start`."""
    cut(folder / "dvclive", start)
    return [
        StepLogger(folder / "dvclive", start),
        TensorBoardLogger(folder, name="", version="tensorboard", purge_step=start),
    ]


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


def log_image(logger: Logger, name: str, step: int, image: Image.Image) -> None:
    """Hand a picture to a logger of `loggers`."""
    if isinstance(logger, StepLogger):
        logger.experiment.log_image(f"{name}/{step:06d}.png", image)
    else:
        logger.experiment.add_image(name, np.asarray(image), step, dataformats="HWC")


@rank_zero_only
def cut(folder: Path, start: int) -> None:
    """Drop the rows (step, value) of DVCLive's curves from step `start` on, and their summary."""
    (folder / "metrics.json").unlink(missing_ok=True)
    for curve in folder.glob("plots/metrics/*.tsv"):
        header, *rows = curve.read_text().splitlines(keepends=True)
        kept = [row for row in rows if int(row.partition("\t")[0]) < start]
        part = curve.with_suffix(".part")
        part.write_text("".join([header, *kept]))
        part.replace(curve) if kept else curve.unlink()
