"""What the ablations consist of, and what came of every cell.

The arms and seeds are those of experiments/params.yaml, never what happens to lie in the folder of
results: a cell that is missing or failed has its row too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pydantic.dataclasses

from ladder.config.layers import build, read_file
from ladder.config.types import RULES, Several
from ladder.experiments.runs import Run

FOLDER = Path("experiments/results/ablation")
FULL_LENGTH = Path("experiments/results/full")
"""Where the results of cells lie, and of those that are trained as long as the main job."""
NOT_RUN = "no results: not run, or killed"


@pydantic.dataclasses.dataclass(frozen=True, config=RULES)
class Study:
    """The cells: every arm with every seed, and every monitor with every one of its seeds; and
    some that are trained at full length."""

    control: str
    """The arm that the others are compared with."""
    arms: Several[str]
    seeds: Several[int]
    monitors: Several[str]
    """Arms in whose training faults are put."""
    monitor_seeds: Several[int]
    full_length: Several[str]
    """Arms that are trained as long as the main job, too."""
    full_length_seeds: Several[int]

    def __post_init__(self) -> None:
        for name in ("arms", "seeds", "monitors", "monitor_seeds", "full_length",
                     "full_length_seeds"):  # fmt: skip
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"{name} must differ from each other, got {values}")
        if self.control not in self.arms:
            raise ValueError(f"control must be one of the arms, got {self.control!r}")

    @classmethod
    def read(cls, path: Path = Path("experiments/params.yaml")) -> Study:
        """Raises ConfigError, naming file and key, for one that is unknown, missing or wrong."""
        return build(cls, read_file(path), str(path))

    def cells(self) -> list[tuple[str, int]]:
        """Arm and seed of every cell."""
        layers = [(arm, seed) for arm in self.arms for seed in self.seeds]
        return layers + [(arm, seed) for arm in self.monitors for seed in self.monitor_seeds]


@dataclass(frozen=True)
class Cell:
    """An arm with a seed, as far as it came."""

    arm: str
    seed: int
    run: Run | None
    """Its scores; None if it wasn't evaluated."""
    error: str
    """Why not: the end of its error, or that nothing is there. Empty if it was."""
    cost: dict[str, Any] | None
    steps: pd.DataFrame | None
    strip: Path | None
    """A row of its pictures."""

    @classmethod
    def read(cls, arm: str, seed: int, folder: Path = FOLDER) -> Cell:
        base = folder / f"{arm}-{seed}"
        failed, cost, steps, strip = (
            Path(f"{base}{ending}")
            for ending in (".failed.json", ".cost.json", ".steps.csv", ".png")
        )
        run, error = None, ""
        if failed.is_file():
            record = json.loads(failed.read_text())
            error = "\n".join([f"{record['part']} failed:", *record["error"]])
        elif Path(f"{base}.json").is_file():
            run = Run.read(arm, seed, folder)
        else:
            error = NOT_RUN
        return cls(
            arm,
            seed,
            run,
            error,
            json.loads(cost.read_text()) if cost.is_file() else None,
            _read_steps(steps) if steps.is_file() else None,
            strip if strip.is_file() else None,
        )


def _read_steps(path: Path) -> pd.DataFrame:
    """Only what is empty is missing: there is a fault called "nan"."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def read_cells(study: Study, folder: Path = FOLDER) -> list[Cell]:
    """Every cell of the study, in its order."""
    return [Cell.read(arm, seed, folder) for arm, seed in study.cells()]


def read_full_length(study: Study, folder: Path = FULL_LENGTH) -> list[Cell]:
    """Every cell that is trained at full length."""
    return [
        Cell.read(arm, seed, folder)
        for arm in study.full_length
        for seed in study.full_length_seeds
    ]


def runs_of(cells: Sequence[Cell], arm: str) -> list[Run]:
    """The runs of an arm that were evaluated."""
    return [cell.run for cell in cells if cell.arm == arm and cell.run is not None]
