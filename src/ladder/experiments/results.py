"""The results of a study: a few files in git, whatever the number of runs.

experiments/results/<study>/runs.jsonl        a line a run: settings, provenance, cost, status
                            outcomes.parquet  the score of everything that was asked
                            steps.parquet     loss, norm, skip and fault of every training step
                            scores.parquet    scores with their intervals, and those of the floor
                            ceilings.json     the best that the generator's autoencoder allows
                            pictures/         a row of pictures of each run

A run is a result once its line is in runs.jsonl. Its rows are in the tables before that, so that a
killed process leaves no result without its rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from ladder.config.files import read_json
from ladder.evaluation.outcomes import OF_A_PROMPT, by_prompt, read
from ladder.experiments.study import MAIN, Study

RESULTS = Path("experiments/results")
RECORD = "run.json"
"""What a run leaves last in its folder: configuration, provenance and cost."""
RUNS, CEILINGS, PICTURES = "runs.jsonl", "ceilings.json", "pictures"
TABLES = ("outcomes", "steps", "scores")
MUST_AGREE = ("evaluation", "sampling")
"""Sections of the configuration in which runs that are compared must be equal."""
HARMLESS = ("sampling.batch", "evaluation.resamples")
"""Settings in them that change no score."""
NOT_RUN = "no results: not run, or killed"
LEGACY = "legacy"
"""The code of results from before runs had keys."""


@dataclass(frozen=True)
class Run:
    """One arm with one seed, as far as it came."""

    arm: str
    seed: int
    config: dict[str, Any]
    """The whole configuration; empty if the run failed before there was one."""
    outcomes: pd.DataFrame | None
    """A row for everything that was asked: OF_A_PROMPT, picture, score. None without scores."""
    error: str = ""
    """Why there are no scores: the end of the error, or that nothing is there."""
    cost: dict[str, Any] | None = None
    steps: pd.DataFrame | None = None
    """A row for every training step: stage, step, skipped, loss, norm, fault."""
    picture: Path | None = None
    """A row of its pictures."""
    code: str = ""
    """The meaning of the code that it was made with, or LEGACY."""

    @cached_property
    def _by_metric(self) -> dict[str, pd.DataFrame]:
        if self.outcomes is None:
            return {}
        return dict(tuple(by_prompt(self.outcomes).groupby("metric", sort=False)))

    def has(self, metric: str) -> bool:
        """Whether the run was asked for a metric."""
        return metric in self._by_metric

    def of_metric(self, metric: str) -> pd.DataFrame:
        """A row for each prompt of a metric, in their order, with its mean over the pictures.

        Raises ValueError for a metric that the run doesn't have.
        """
        if not self.has(metric):
            known = ", ".join(self._by_metric)
            raise ValueError(f"a metric is one of {known}, got {metric!r}")
        return self._by_metric[metric].sort_values("number", kind="stable")


def runs_of(runs: Sequence[Run], arm: str) -> list[Run]:
    """The runs of an arm that have scores."""
    return [run for run in runs if run.arm == arm and run.outcomes is not None]


def read_runs(study: Study, results: Path = RESULTS) -> list[Run]:
    """Every run of a study in its order, those that failed or are missing too."""
    folder = results / study.name
    rows = {
        (row["arm"], row["seed"]): row
        for row in read_rows(folder)
        if row.get("preset", MAIN) == study.preset
    }
    tables = {
        name: dict(tuple(read_table(folder, name).groupby("run", sort=False)))
        for name in ("outcomes", "steps")
    }
    found = []
    for arm in study.arms:
        for seed in study.seeds:
            row = rows.get((arm, seed), {"run": None, "error": NOT_RUN})
            picture = folder / PICTURES / f"{picture_name(study.preset, arm, seed)}.webp"
            found.append(
                Run(
                    arm,
                    seed,
                    row.get("config") or {},
                    tables["outcomes"].get(row["run"]),
                    row.get("error", ""),
                    row.get("cost"),
                    tables["steps"].get(row["run"]),
                    picture if picture.is_file() else None,
                    row.get("code", ""),
                )
            )
    return found


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The lines of runs.jsonl; none if there is no such file."""
    path = folder / RUNS
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return [json.loads(line) for line in text.split("\n") if line]


def read_table(folder: Path, name: str) -> pd.DataFrame:
    """One of TABLES, without rows if nothing was written yet."""
    path = folder / f"{name}.parquet"
    return pd.read_parquet(path) if path.is_file() else pd.DataFrame({"run": []})


def read_evaluated(arm: str, seed: int, folder: Path = RESULTS) -> Run:
    """What `ladder evaluate` wrote of a run.

    Raises FileNotFoundError for a run that was not evaluated.
    """
    path = folder / f"{arm}-{seed}.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} must hold the results of a run, there is no such file")
    return Run(arm, seed, read_json(path)["config"], read(path))


def picture_name(preset: str, arm: str, seed: int) -> str:
    return f"{arm}-{seed}" if preset == MAIN else f"{preset}-{arm}-{seed}"


def require_comparable(runs: Sequence[Run], metric: str) -> None:
    """Raises ValueError, naming the field, unless all runs were asked and drawn alike."""
    first, *others = runs
    expected = _settings(first)
    asked = first.of_metric(metric)[OF_A_PROMPT].reset_index(drop=True)
    for other in others:
        found = _settings(other)
        for name in expected.keys() | found.keys():
            if expected.get(name) != found.get(name):
                raise ValueError(
                    f"{name} must be equal in runs that are compared: {expected.get(name)} in "
                    f"{first.arm}-{first.seed}, {found.get(name)} in {other.arm}-{other.seed}"
                )
        if not other.of_metric(metric)[OF_A_PROMPT].reset_index(drop=True).equals(asked):
            raise ValueError(
                f"the prompts of {metric} must be equal in runs that are compared; those of "
                f"{first.arm}-{first.seed} and {other.arm}-{other.seed} aren't"
            )


def _settings(run: Run) -> dict[str, object]:
    """The settings that must agree, by dotted name."""
    named = {
        f"{section}.{name}": value
        for section in MUST_AGREE
        for name, value in run.config[section].items()
    }
    return {name: value for name, value in named.items() if name not in HARMLESS}
