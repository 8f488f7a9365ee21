"""`ladder table`: scores of several models and benchmarks side by side, as papers print them.

A row is one model under one judge: scores by different judges never stand in one row. Beside ours
stand the rows that others published, marked as such; they were made with the official judges.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from ladder.config.files import read_json
from ladder.evaluation.scorers.score_file import SCORERS

Format = Literal["md", "latex", "csv"]
OURS, PUBLISHED = "ours", "published"
OFFICIAL_JUDGE = "the benchmark's own"


@dataclass(frozen=True)
class BenchmarkScore:
    """A number of a model on a benchmark, with its 95% interval over prompts where it is ours."""

    model: str
    judge: str
    origin: Literal["ours", "published"]
    benchmark: str
    mean: float
    low: float | None = None
    high: float | None = None
    prompts: int | None = None
    partial: bool = False


SCALES = {"geneval": 1.0, "tiif": 100.0}
"""What a stored score is multiplied by, so that it is on the scale of the published tables."""
TBAC = {
    "geneval": 0.87, "dpg": 80.97, "tiif short": 62.37, "tiif long": 61.18, "imgedit": 3.25,
}  # fmt: skip
PAPERS: Mapping[str, Mapping[str, float]] = {
    "TBAC-UniImage-3B": TBAC,
    "MetaQuery 3B": {"geneval": 0.78, "dpg": 81.10},
    "MetaQuery 7B": {"geneval": 0.80, "dpg": 82.05},
    "BLIP3-o 4B": {"geneval": 0.81, "dpg": 79.36},
    "BLIP3-o 8B": {"geneval": 0.83, "dpg": 80.73},
    "BAGEL": {"geneval": 0.82},
    "Show-o2 1.5B": {"geneval": 0.73, "dpg": 85.02},
    "Show-o2 7B": {"geneval": 0.76, "dpg": 86.14},
    "Tar 1.5B": {"geneval": 0.76, "dpg": 82.96},
    "Tar 7B": {"geneval": 0.84, "dpg": 84.65},
    "Qwen-Image": {"geneval": 0.87, "dpg": 88.32},
    "DeepGen 1.0": {"geneval": 0.87, "dpg": 87.90},
}
"""The table of TBAC-UniImage's paper (arXiv 2508.08098), and DeepGen's (arXiv 2602.12205)."""


def read_scores(paths: Sequence[Path]) -> list[BenchmarkScore]:
    """The overall scores of files that `ladder score` printed.

    A file without a `model` is named after itself. Raises ValueError for a file of another form.
    """
    return [one for path in paths for one in scores_in(path)]


def scores_in(path: Path) -> Iterable[BenchmarkScore]:
    found = read_json(path)
    benchmark = found.get("benchmark") if isinstance(found, dict) else None
    if benchmark not in [*SCORERS]:
        known = ", ".join(SCORERS)
        raise ValueError(f"{path} must be printed by `ladder score` ({known}), got {benchmark}")
    scale = SCALES.get(benchmark, 1.0)
    try:
        for run in found.get("runs", [found]):
            model, judge = str(run.get("model") or path.stem), judge_of(run)
            for name, overall in overall_of(benchmark, run):
                values = (scale * float(overall[key]) for key in ("mean", "low", "high"))
                about = int(overall["n"]), bool(found["partial"])
                yield BenchmarkScore(model, judge, OURS, name, *values, *about)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} must be printed by `ladder score`, got {what}") from error


def judge_of(run: Mapping[str, Any]) -> str:
    """The judge of a run, with its version if that says more."""
    judge = str(run.get("judge", "unknown"))
    version = run.get("judge_version", judge)
    return judge if version == judge else f"{judge} ({version})"


def overall_of(benchmark: str, run: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """The overall scores of a run: TIIF-Bench has one a length."""
    if benchmark != "tiif":
        return [(benchmark, run["overall"])] if "overall" in run else []
    return [(f"tiif {length}", interval) for length, interval in run.get("overall", {}).items()]


def published_scores() -> list[BenchmarkScore]:
    """What others published, without intervals."""
    return [
        BenchmarkScore(model, OFFICIAL_JUDGE, PUBLISHED, benchmark, value)
        for model, scores in PAPERS.items()
        for benchmark, value in scores.items()
    ]


def write_table(scores: Sequence[BenchmarkScore], form: Format) -> str:
    """The table as Markdown, LaTeX, or CSV (a line a score, for further computing).

    Published rows are for the benchmarks that ours have. Raises ValueError without a score of ours,
    and for two scores in one cell.
    """
    if not scores:
        raise ValueError("a table must have a score, got none")
    names = [*dict.fromkeys(one.benchmark for one in scores)]
    rows = [*scores, *(one for one in published_scores() if one.benchmark in names)]
    if form == "csv":
        lines = pd.DataFrame([vars(one) for one in rows]).astype({"prompts": "Int64"})
        return lines.to_csv(index=False, lineterminator="\n")
    shown: dict[tuple[str, str, str], dict[str, str]] = {}
    for one in rows:
        cells = shown.setdefault((one.model, one.judge, one.origin), {})
        if one.benchmark in cells:
            raise ValueError(
                f"a cell of a table is one score, got two of {one.model} on {one.benchmark} by "
                f"{one.judge}: give the models, or the judges, names of their own"
            )
        cells[one.benchmark] = cell(one)
    table = pd.DataFrame(
        [
            {"model": model, "judge": judge, "scores": origin}
            | {name: cells.get(name, "") for name in names}
            for (model, judge, origin), cells in shown.items()
        ]
    )
    table = table.map(lambda text: " ".join(text.split()))
    if form == "latex":
        return table.to_latex(index=False, escape=True)
    table = table.map(lambda text: text.replace("|", r"\|"))
    return table.to_markdown(index=False, disable_numparse=True) + "\n"


def cell(score: BenchmarkScore) -> str:
    """A score as it is shown: with its interval, and a star if the run is partial."""
    digits = (
        3
        if score.benchmark.startswith(("geneval", "wise", "longtext")) and abs(score.mean) <= 1
        else 2
    )
    if score.low is None or score.high is None:
        return f"{score.mean:.2f}"
    star = "*" if score.partial else ""
    return f"{score.mean:.{digits}f}{star} [{score.low:.{digits}f}, {score.high:.{digits}f}]"
