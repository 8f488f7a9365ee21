"""The second half of a cell of the ablations: its ladder, trained by `cells`, is evaluated."""

from __future__ import annotations

import shutil
from pathlib import Path

from ladder.config.load import Config
from ladder.evaluation.run import evaluate
from ladder.evaluation.toy.geneval import STRIP
from ladder.experiments.train_cell import failure_noted, note_of


def evaluate_cell(
    config: Config,
    study: str,
    runs: Path = Path("runs"),
    curated: Path = Path("data/curated"),
    experiments: Path = Path("experiments"),
) -> Path:
    """Score the ladder of a cell; returns the file with the results."""
    with failure_noted(config, "evaluate", note_of(config, study, experiments)):
        path = evaluate(config, runs, curated, experiments, study)
        strip = experiments / "pictures" / study / path.stem / STRIP
        shutil.copy(strip, path.with_suffix(".png"))
        return path
