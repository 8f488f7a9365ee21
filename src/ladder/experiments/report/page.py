"""`ladder study report`: tables, figures and one HTML page of all that the ablations found.

experiments/report/table.md, table.csv    scores, differences to the control, verdicts
                   verdicts.json          the same by metric and arm, to be read by programs
                   figures/*.png
                   report.html            everything in one file that needs no network

A run that failed, or is missing, is a row with the end of its error, and keeps nothing else out.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, select_autoescape
from matplotlib.figure import Figure

from ladder.config.files import replacing, write_text
from ladder.config.layers import ConfigError
from ladder.experiments.report import figures, tables
from ladder.experiments.results import LEGACY, RESULTS, Run, read_runs
from ladder.experiments.study import Study

CURVES = ("ladder", "last")
ANOTHER_WORLD = "The paper's scores, and those of the same scorers in another world"
DPI = 110


@dataclass(frozen=True)
class Reported:
    """The studies that a report is about, and their runs."""

    layers: Study
    full: Study
    """Some of these arms, trained as long as the main job."""
    monitors: Study
    runs: list[Run]
    """Of layers and of monitors."""
    full_runs: list[Run]

    @classmethod
    def read(cls, root: Path = Path(), results: Path = RESULTS) -> Reported:
        """The studies in `root` with the runs in `results`. Raises ConfigError for a wrong one."""
        layers, monitors = (Study.read(name, root=root) for name in ("layers", "monitors"))
        full = Study.read("layers", "full", root)
        runs = read_runs(layers, results) + read_runs(monitors, results)
        return cls(layers, full, monitors, runs, read_runs(full, results))


def report(known: Reported, folder: Path = Path("experiments/report")) -> Path:
    """Write the report into `folder`; returns the HTML page.

    Raises ValueError if no run has any scores, or if runs were not asked the same.
    """
    table = tables.scores(known.layers, known.runs)
    if table.empty:
        raise ValueError("a report needs at least one run with scores, got none")
    numbers = table.to_csv(index=False, float_format="%.5f", lineterminator="\n")
    write_text(folder / "table.csv", numbers)
    write_text(folder / "verdicts.json", json.dumps(verdicts_of(table), indent=1) + "\n")
    sections = dict(sections_of(known, table))
    pictures = {}
    for name, (title, figure) in figures_of(known, table).items():
        path = folder / "figures" / f"{name}.png"
        with replacing(path) as part:
            figure.savefig(part, dpi=DPI, format="png", metadata={"Software": None})
        pictures[title] = base64.b64encode(path.read_bytes()).decode()
    text = "\n\n".join(f"## {title}\n\n{markdown(rows)}" for title, rows in sections.items())
    write_text(folder / "table.md", f"{text}\n")
    page = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=select_autoescape(default=True)
    ).get_template("report.html.j2")
    scored = [run for run in known.runs if run.outcomes is not None]
    html = page.render(
        layers=known.layers,
        monitors=known.monitors,
        runs=len(known.runs),
        evaluated=len(scored),
        earlier=sum(run.code == LEGACY for run in scored),
        codes=len({run.code for run in scored}),
        sections=sections,
        pictures=pictures,
        number=number,
    )
    write_text(folder / "report.html", html + "\n")
    return folder / "report.html"


def tables_of(known: Reported, name: str) -> str:
    """What the report says of one study, as text.

    Raises ConfigError for a study that it is not about.
    """
    if name == known.layers.name:
        table = tables.scores(known.layers, known.runs)
        found = {metric: tables.readable(table, metric) for metric in known.layers.outcomes}
    elif name == known.monitors.name:
        found = {"monitors under faults": tables.monitors(known.monitors, known.runs)}
    else:
        about = f"{known.layers.name}, {known.monitors.name}"
        raise ConfigError(f"the report is about the studies {about}, got {name!r}")
    return "\n\n".join(f"{title}\n{rows.to_string(index=False)}" for title, rows in found.items())


def verdicts_of(table: pd.DataFrame) -> dict[str, dict[str, dict]]:
    """For each metric and arm its row, without what is unknown."""
    found: dict[str, dict[str, dict]] = {}
    for row in table.to_dict("records"):
        values = {key: value for key, value in row.items() if value == value}
        found.setdefault(values.pop("metric"), {})[values.pop("arm")] = values
    return found


def sections_of(known: Reported, table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Titles and tables for people, in their order; empty ones are left out."""
    layers, runs = known.layers, known.runs
    for metric in layers.outcomes:
        yield f"{metric}, compared with {layers.control}", tables.readable(table, metric)
    shown = [*dict.fromkeys((*CURVES, layers.control))]
    yield ANOTHER_WORLD, tables.published(runs, shown)
    caught = tables.caught_by_kind(known.monitors, runs)
    for title, rows in (
        ("Trained as long as the main job", tables.full_length(known.full, runs, known.full_runs)),
        ("Cost of an arm", tables.cost(arms_of(known), runs)),
        ("Monitors under faults", tables.monitors(known.monitors, runs)),
        ("Share of each kind of fault that was caught", caught.rename_axis("arm").reset_index()),
        ("Runs without scores", tables.failures(runs)),
    ):
        if len(rows):
            yield title, rows


def arms_of(known: Reported) -> list[str]:
    """Those of layers, then those of monitors."""
    return [*known.layers.arms, *known.monitors.arms]


def figures_of(known: Reported, table: pd.DataFrame) -> dict[str, tuple[str, Figure]]:
    """File name, title and figure; those of which nothing is known are left out."""
    runs, arms, seed = known.runs, known.layers.arms, known.layers.seeds[0]
    found = {
        "scores": ("Score of every arm, with 95% intervals", figures.score_figure(table)),
        "tasks": (
            "GenEval-toy by task",
            figures.task_figure(tables.by_task(runs, arms, "geneval_toy"), "GenEval-toy"),
        ),
        "edits": (
            "Exact edits by kind",
            figures.task_figure(tables.by_task(runs, arms, "edit.exact"), "exact edits"),
        ),
        "pictures": (
            f"The same prompts and the same noise, seed {seed}",
            figures.strip_figure(runs, arms, seed),
        ),
    }
    costs, watched = tables.cost(arms_of(known), runs), tables.monitors(known.monitors, runs)
    if len(costs):
        title = "Which layer feeds which block"
        found["assignment"] = (title, figures.assignment_figure(arms, runs))
        found["cost"] = ("Cost of every arm", figures.cost_figure(costs))
        found["curves"] = ("Training", figures.curve_figure(runs, CURVES))
    if len(watched):
        found["monitors"] = ("Faults caught and good steps lost", figures.roc_figure(watched))
        first, last = known.monitors.arms[:1], known.monitors.arms[-3:]
        title = "Training with faults put in"
        found["faults"] = (title, figures.curve_figure(runs, [*dict.fromkeys(first + last)]))
    return found


def number(value: float) -> str:
    """To three digits; empty for what is unknown."""
    return "" if np.isnan(value) else f"{value:.3g}"


def markdown(table: pd.DataFrame) -> str:
    """A table in Markdown."""
    head = "| " + " | ".join(map(str, table.columns)) + " |"
    lines = [head, "|" + "---|" * len(table.columns)]
    for row in table.itertuples(index=False):
        texts = [number(x) if isinstance(x, float) else str(x) for x in row]
        lines.append(
            "| " + " | ".join(t.replace("\n", "<br>").replace("|", "\\|") for t in texts) + " |"
        )
    return "\n".join(lines)
