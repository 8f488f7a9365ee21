"""`ladder compare`: one arm against another, metric by metric, as a table to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ladder.experiments.runs import RESULTS, Run
from ladder.experiments.statistics import paired, verdicts

METRICS = ("geneval_toy", "reasoning", "edit.followed", "edit.kept", "edit.exact", "understanding")
"""As in the tables of outcomes."""


def compare(arm: str, control: str, seeds: Sequence[int], folder: Path = RESULTS) -> str:
    """The differences of `arm` to `control` over `seeds`, in points of 100, as Markdown.

    p is corrected for the number of metrics by Holm's method. Raises FileNotFoundError for a run
    that was not evaluated, ValueError for fewer than two seeds or other prompts.
    """
    mine, theirs = ([Run.read(name, seed, folder) for seed in seeds] for name in (arm, control))
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
