"""`ladder compare`: one arm against another, metric by metric, as a table to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ladder.experiments.results import RESULTS, Run, read_evaluated, read_runs
from ladder.experiments.statistics import paired, verdicts
from ladder.experiments.study import MAIN, Study

METRICS = ("geneval_toy", "reasoning", "edit.followed", "edit.kept", "edit.exact", "understanding")
"""As in the tables of outcomes."""


def compare(
    arm: str,
    control: str,
    seeds: Sequence[int],
    study: str | None = None,
    preset: str = MAIN,
    folder: Path = RESULTS,
) -> str:
    """The differences of `arm` to `control` over `seeds`, in points of 100, as Markdown.

    Runs of a study, or else those that `ladder evaluate` scored. p is corrected for the number of
    metrics by Holm's method. Raises FileNotFoundError for a run that was not evaluated, ValueError
    for fewer than two seeds or other prompts.
    """
    if study is None:
        known = {(n, s): read_evaluated(n, s, folder) for n in (arm, control) for s in seeds}
    else:
        runs = read_runs(Study.read(study, preset), folder)
        known = {(run.arm, run.seed): run for run in runs if run.outcomes is not None}
    mine, theirs = ([_found(known, name, seed) for seed in seeds] for name in (arm, control))
    found = {metric: paired(mine, theirs, metric) for metric in METRICS}
    judged = verdicts(found)
    lines = [
        f"| {arm} - {control}, {len(seeds)} seeds | points of 100 [95% interval] | p (Holm) | |",
        "|---|---|---|---|",
    ]
    for metric, difference in found.items():
        mean, low, high = (100 * v for v in (difference.mean, difference.low, difference.high))
        p, verdict = judged[metric]
        lines.append(f"| {metric} | {mean:+.1f} [{low:+.1f}, {high:+.1f}] | {p:.3f} | {verdict} |")
    return "\n".join(lines)


def _found(known: Mapping[tuple[str, int], Run], arm: str, seed: int) -> Run:
    if (arm, seed) not in known:
        there = ", ".join(f"{name}-{one}" for name, one in known)
        raise FileNotFoundError(f"{arm}-{seed} has no scores; there are: {there}")
    return known[arm, seed]
