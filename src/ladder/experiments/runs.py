"""Evaluated runs, read back from experiments/results, and whether they may be compared.

Two runs are compared prompt by prompt, so they must have been asked the same, drawn in the same way
and judged by the same rules. Where they weren't, there is no comparison but an error.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ladder.evaluation.outcomes import by_prompt, read

RESULTS = Path("experiments/results")
MUST_AGREE = ("evaluation", "sampling")
"""Sections of the configuration in which runs that are compared must be equal."""
HARMLESS = ("sampling.batch", "evaluation.resamples")
"""Settings in them that change no score."""


@dataclass(frozen=True)
class Run:
    """One arm with one seed, evaluated."""

    arm: str
    seed: int
    config: dict
    """The whole configuration."""
    outcomes: pd.DataFrame
    """A row for each prompt: metric, group, number, prompt, score (`evaluation.outcomes`)."""

    @classmethod
    def read(cls, arm: str, seed: int, folder: Path = RESULTS) -> Run:
        """Raises FileNotFoundError for a run that was not evaluated."""
        path = folder / f"{arm}-{seed}.json"
        if not path.is_file():
            raise FileNotFoundError(f"{path} must hold the results of a run, there is no such file")
        result = json.loads(path.read_text())
        return cls(arm, seed, result["config"], by_prompt(read(path)))

    def of_metric(self, metric: str) -> pd.DataFrame:
        """The outcomes of one metric, in their order. Raises ValueError for one it doesn't have."""
        own = self.outcomes[self.outcomes["metric"] == metric]
        if own.empty:
            known = ", ".join(self.outcomes["metric"].unique())
            raise ValueError(f"a metric is one of {known}, got {metric!r}")
        return own.sort_values("number")


def require_comparable(runs: Sequence[Run], metric: str) -> None:
    """Raises ValueError, naming the field, unless all runs were asked and drawn alike."""
    first, *others = runs
    expected = _settings(first)
    for other in others:
        found = _settings(other)
        for name in expected.keys() | found.keys():
            if expected.get(name) != found.get(name):
                raise ValueError(
                    f"{name} must be equal in runs that are compared: {expected.get(name)} in "
                    f"{first.arm}-{first.seed}, {found.get(name)} in {other.arm}-{other.seed}"
                )
        columns = ["group", "number", "prompt"]
        mine, theirs = first.of_metric(metric)[columns], other.of_metric(metric)[columns]
        if not mine.reset_index(drop=True).equals(theirs.reset_index(drop=True)):
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
