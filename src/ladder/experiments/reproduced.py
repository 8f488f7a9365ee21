"""`ladder reproduced`: is what was trained and evaluated here the committed run again?

On a processor of another kind the trained weights differ in their bytes, so the question is put to
the scores: does every main score differ from the committed one by less than MARGIN? Both runs were
asked the same from the same noise, so the differences are paired by prompt.

Three things must hold for a yes:

1. Nothing that both results name differs (settings, seed, arm, hash of the data), and the prompts
   are the same.
2. All that was asked, taken together, differs by less than MARGIN. This is an equivalence test: two
   one-sided t tests at LEVEL, so the 90% interval must lie within the margin. Every prompt, edit
   (the mean of its three scores) and question counts the same. It is one hypothesis and needs no
   correction. And no single score is other: beyond MARGIN, and different from the committed one at
   SURE, corrected by Holm over all of them. To call a score other accuses, so it is hardly ever
   said wrongly.
3. The prompts that succeed here are those that succeed there, more often than by chance, in the
   groups of the scores. Where results were given to the wrong prompts the means stay as they are,
   and only this falls.

Single scores get the same test, but most can't pass it: with the main job's 210 edits an interval
is 4 to 5 points to each side. Such a score is "undecided" and decides nothing; a drop of about 5
points in GenEval-toy, 10 in an edit score and 15 in reasoning is found with 80% power. Together the
interval is 1 point to each side: a true difference under 1 hardly ever fails, and one of 3 passes
in 5% of cases at most. Trainings with another seed are often that close too, so a seed is told by
the settings, not by the scores.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ladder.config.files import read_json
from ladder.config.old_names import RENAMED
from ladder.evaluation import outcomes
from ladder.evaluation.outcomes import by_prompt, weights
from ladder.experiments.equivalence import (
    MARGIN,
    Finding,
    PairedDifference,
    agrees,
    difference,
    finding,
    judge,
)

RESULTS = Path("experiments/results")
AGREEMENT = 3.1
"""Standard deviations over chance by which the two runs must agree on single prompts (p = .001)."""
HARMLESS = {"threads", "cluster", "sampling.batch", "evaluation.resamples"}
"""Settings that change no score, or only as much as a processor does."""
PARTS = {
    "GenEval-toy": ("geneval_toy",),
    "reasoning": ("reasoning",),
    "edits": ("edit.followed", "edit.kept", "edit.exact"),
    "questions": ("understanding",),
}
"""The main scores, by what they are about: scores of one part are of the same prompts."""


@dataclass(frozen=True)
class EvaluatedRun:
    """An evaluated run: what its JSON file says, and a row for each of its prompts."""

    facts: Mapping[str, Any]
    prompts: pd.DataFrame

    @classmethod
    def read(cls, name: str, folder: Path = RESULTS) -> EvaluatedRun:
        """The result here. Raises FileNotFoundError if the run isn't evaluated."""
        path = folder / f"{name}.json"
        return cls(read_json(path), by_prompt(outcomes.read(path)))

    @classmethod
    def committed(cls, name: str, revision: str, folder: Path = RESULTS) -> EvaluatedRun:
        """The result in a revision of git. Raises FileNotFoundError if it has none."""
        facts = _show(revision, folder / f"{name}.json")
        table = _show(revision, folder / f"{name}{outcomes.ENDING}")
        table = table or _show(revision, folder / f"{name}.csv")
        if facts is None or table is None:
            raise FileNotFoundError(
                f"{revision} must hold {folder / name}.json and its outcomes, but doesn't"
            )
        return cls(json.loads(facts), by_prompt(outcomes.parse(table)))

    def scores(self, metric: str) -> pd.DataFrame:
        """The rows of a metric, in the order of their prompts."""
        return self.prompts[self.prompts["metric"] == metric].sort_values("number")


def _show(revision: str, path: Path) -> bytes | None:
    """A file of a revision; None if it isn't there."""
    said = subprocess.run(["git", "show", f"{revision}:./{path}"], capture_output=True, check=False)
    return said.stdout if said.returncode == 0 else None


@dataclass(frozen=True)
class Comparison:
    """Two results, score by score."""

    differences: dict[str, PairedDifference]
    """Of the main scores."""
    findings: dict[str, Finding]
    together: PairedDifference | None
    """Of all that was asked; None where the two weren't asked the same."""
    reasons: list[str]
    """Why it isn't the same run again; empty if it is."""

    def __str__(self) -> str:
        """A table, and the answer in its last line."""
        lines = []
        if self.together:
            lines = [
                "| points of 100 | committed | here | difference [90%] | |",
                "|---|---|---|---|---|",
            ]
            shown = self.differences | {"all together": self.together}
            whole = finding(self.together, self.together.beyond)
            findings = self.findings | {"all together": whole}
            lines += [
                f"| {name} | {100 * found.committed:.1f} | {100 * found.here:.1f} | {found} "
                f"| {findings[name]} |"
                for name, found in shown.items()
            ]
        answer = f"no, because {'; '.join(self.reasons)}" if self.reasons else "yes"
        return "\n".join([*lines, f"reproduced within {100 * MARGIN:.0f} points: {answer}"])


def reproduced(name: str, revision: str = "HEAD", folder: Path = RESULTS) -> Comparison:
    """The run `name` here beside the committed one.

    Raises FileNotFoundError where either is missing.
    """
    return compare(EvaluatedRun.committed(name, revision, folder), EvaluatedRun.read(name, folder))


def compare(committed: EvaluatedRun, here: EvaluatedRun) -> Comparison:
    """The committed result and the one from here, score by score."""
    reasons = other_settings(committed, here)
    if asked := other_prompts(committed, here):
        return Comparison({}, {}, None, reasons + asked)
    found: dict[str, PairedDifference] = {}
    before, after, groups = [], [], []
    for part, metrics in PARTS.items():
        there, ours = ([run.scores(metric) for metric in metrics] for run in (committed, here))
        for metric, one, other in zip(metrics, there, ours, strict=True):
            counts = weights(metric, one["group"].to_numpy())
            found[metric] = difference(
                counts * one["score"].to_numpy(), counts * other["score"].to_numpy()
            )
        # What was asked once counts once, however many scores it has.
        mean_before, mean_after = (
            np.mean([rows["score"] for rows in tables], axis=0) for tables in (there, ours)
        )
        counts = weights(metrics[0], there[0]["group"].to_numpy())
        before.append(counts * mean_before)
        after.append(counts * mean_after)
        groups += [f"{part} {group}" for group in there[0]["group"]]
    together = difference(np.concatenate(before), np.concatenate(after))
    findings = judge(found)
    reasons += [
        f"{metric} differs by {found[metric]} points"
        for metric, one in findings.items()
        if one == "other"
    ]
    if not together.within:
        doubt = "" if together.beyond else ", which may be more than that"
        reasons.append(f"all together differ by {together} points{doubt}")
    agreement = agrees(np.concatenate(before), np.concatenate(after), groups)
    if agreement < AGREEMENT:
        reasons.append(
            "other prompts succeed here than there, as if results were mixed up (agreement "
            f"{agreement:.1f} standard deviations over chance, at least {AGREEMENT} is expected)"
        )
    return Comparison(found, findings, together, reasons)


def other_settings(committed: EvaluatedRun, here: EvaluatedRun) -> list[str]:
    """What two results both name and say otherwise."""
    there, ours = (_named(result.facts) for result in (committed, here))
    return [
        f"{name} is {ours[name]} here and {there[name]} there"
        for name in there
        if name in ours and there[name] != ours[name]
    ]


def other_prompts(committed: EvaluatedRun, here: EvaluatedRun) -> list[str]:
    """The main scores that are not of the same prompts."""
    found = []
    for metric in (metric for metrics in PARTS.values() for metric in metrics):
        asked = [
            run.scores(metric)[["group", "number", "prompt"]].reset_index(drop=True)
            for run in (committed, here)
        ]
        if asked[0].empty or not asked[0].equals(asked[1]):
            found.append(f"the prompts of {metric} are others")
    return found


def _named(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What must be equal, by dotted name."""
    named: dict[str, Any] = {"data": facts["provenance"]["data"]}
    waiting = {name: facts[name] for name in ("arm", "seed")} | dict(facts["config"])
    while waiting:
        name, value = waiting.popitem()
        if name in HARMLESS:
            continue
        name = _today(name)
        if isinstance(value, dict):
            waiting |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            named[name] = value
    return named


def _today(name: str) -> str:
    """The name of a setting, by which an older result calls it otherwise."""
    for old, new in RENAMED.items():
        if name == old or name.startswith(f"{old}."):
            return new + name.removeprefix(old)
    return name
