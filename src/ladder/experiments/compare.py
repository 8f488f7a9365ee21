"""`ladder compare`: one arm against another, metric by metric, as a table to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ladder.experiments.report import text
from ladder.experiments.results import RESULTS, Run, read_evaluated, read_runs
from ladder.experiments.statistics import Analysis, verdicts
from ladder.experiments.study import MAIN, Study

METRICS = ("geneval_toy", "reasoning", "edit.followed", "edit.kept", "edit.exact", "understanding",
           "heldout_loss.t2i", "heldout_loss.ti2i")  # fmt: skip
"""As in the tables of outcomes; those that a run doesn't have are left out."""


def compare(
    arm: str,
    control: str,
    seeds: Sequence[int],
    study: str | None = None,
    preset: str = MAIN,
    folder: Path = RESULTS,
) -> str:
    """The differences of `arm` to `control` over `seeds`, in points of 100, as Markdown.

    Runs of a study, or else those that `ladder evaluate` scored. How runs vary by their seed is
    taken from all arms of the study, or from these two alone, which says little with few seeds. p
    is corrected for the number of metrics by Holm's method. Raises FileNotFoundError for a run that
    was not evaluated, ValueError for fewer than two seeds or other prompts.
    """
    if study is None:
        runs = [read_evaluated(name, seed, folder) for name in (arm, control) for seed in seeds]
    else:
        every = read_runs(Study.read(study, preset), folder)
        scored = [run for run in every if run.outcomes is not None]
        _require(scored, [(name, seed) for name in (arm, control) for seed in seeds])
        runs = [run for run in scored if run.arm not in (arm, control) or run.seed in seeds]
    mine = [run for run in runs if run.arm in (arm, control)]
    found = {
        metric: Analysis.of(runs, metric).difference(arm, control)
        for metric in METRICS
        if all(run.has(metric) for run in mine)
    }
    judged = verdicts(found)
    lines = [
        f"| {arm} - {control}, {len(seeds)} seeds | difference | 95% interval | p (Holm) | |",
        "|---|---|---|---|---|",
    ]
    for metric, one in found.items():
        p, verdict = judged[metric]
        if verdict == "not distinguishable":
            verdict += f"; {text.amount(one.detectable(len(found)), metric)} would be found"
        cells = (
            metric,
            text.amount(one.mean, metric, "+"),
            text.interval(one.low, one.high, metric),
            text.p_value(p),
            verdict,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _require(known: Sequence[Run], wanted: Sequence[tuple[str, int]]) -> None:
    """Raises FileNotFoundError, naming those that there are, unless all wanted runs are known."""
    names = [(run.arm, run.seed) for run in known]
    for arm, seed in wanted:
        if (arm, seed) not in names:
            there = ", ".join(f"{name}-{one}" for name, one in names)
            raise FileNotFoundError(f"{arm}-{seed} has no scores; there are: {there}")
