"""`ladder study report`: tables, figures and one HTML page of all that the studies found.

experiments/report/table.md, table.csv    scores, differences to the control, verdicts
                   verdicts.json          the same and the hypotheses', to be read by programs
                   figures/*.svg
                   report.html            everything in one file that needs no network

The page answers first, then shows, then tells how. A run that failed, or is missing, is a row with
the end of its error, and keeps nothing else out.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from jinja2 import Environment, FileSystemLoader, select_autoescape
from matplotlib.figure import Figure

from ladder.config.files import replacing, write_text
from ladder.config.layers import ConfigError
from ladder.experiments.hypotheses import findings
from ladder.experiments.report import answers, figures, gallery, tables, text
from ladder.experiments.report.curves import curve_figure
from ladder.experiments.report.glossary import glossary
from ladder.experiments.results import LEGACY, RESULTS, Run, read_runs
from ladder.experiments.study import Study

HERE = Path(__file__).parent
SHOWN = ("ladder", "mean", "mean_of_rungs", "penultimate", "reversed")
"""Arms whose curves of the loss are drawn, as far as there are runs."""
BY_KIND = ("geneval_toy", "edit.exact")
"""Metrics whose kinds of prompts are shown."""
EDITS = "ti2i"
"""The stage in which arms differ."""
BESIDE = ("ladder", "last", "mean")
"""Arms whose pictures are chosen when the page is opened."""


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
    root: Path = Path()
    """The repository, which holds the files of the arms."""

    @classmethod
    def read(cls, root: Path = Path(), results: Path = RESULTS) -> Reported:
        """The studies in `root` with the runs in `results`. Raises ConfigError for a wrong one."""
        layers, monitors = (Study.read(name, root=root) for name in ("layers", "monitors"))
        full = Study.read("layers", "full", root)
        runs = read_runs(layers, results) + read_runs(monitors, results)
        return cls(layers, full, monitors, runs, read_runs(full, results), root)

    @property
    def arms(self) -> list[str]:
        """Those of layers, then those of monitors."""
        return [*self.layers.arms, *self.monitors.arms]

    @property
    def scored(self) -> list[Run]:
        return [run for run in self.runs if run.outcomes is not None]


def report(known: Reported, folder: Path = Path("experiments/report")) -> Path:
    """Write the report into `folder`; returns the HTML page.

    Raises ValueError if no run has any scores, or if runs were not asked the same.
    """
    table = tables.scores(known.layers, known.runs)
    if table.empty:
        raise ValueError("a report needs at least one run with scores, got none")
    numbers = table.to_csv(index=False, float_format="%.5f", lineterminator="\n")
    write_text(folder / "table.csv", numbers)
    write_text(folder / "verdicts.json", json.dumps(verdicts_of(known, table), indent=1) + "\n")
    sections = dict(sections_of(known, table))
    lines = (f"## {title}\n\n{rows.to_markdown(index=False)}" for title, rows in sections.items())
    write_text(folder / "table.md", "\n\n".join(lines) + "\n")
    pictures = dict(figures_of(known, table))
    drawn = {name: _svg(figure) for name, figure in pictures.items()}
    for name, content in drawn.items():
        with replacing(folder / "figures" / f"{name}.svg") as part:
            part.write_bytes(content)
    page = Environment(
        loader=FileSystemLoader(HERE), autoescape=select_autoescape(default=True)
    ).get_template("report.html.j2")
    html = page.render(
        known=known,
        style=(HERE / "report.css").read_text(),
        script=(HERE / "report.js").read_text(),
        earlier=sum(run.code == LEGACY for run in known.scored),
        codes=len({run.code for run in known.scored}),
        answers=[one for study in (known.layers, known.monitors)
                 for one in answers.answers(study, known.runs)],
        overview=answers.overview(table, known.layers.control),
        monitored=_monitored(known),
        outcomes={metric: text.label(metric) for metric in table["metric"].unique()},
        chosen=_chosen(known.layers, [*table["metric"].unique()]),
        figures={name: (base64.b64encode(content).decode(), _title(pictures[name]))
                 for name, content in drawn.items()},
        sections=sections,
        glossary=glossary(known.arms, known.runs, known.root),
        rows=[asdict(row) for row in gallery.rows(known.runs, known.arms)],
        beside=BESIDE,
    )  # fmt: skip
    write_text(folder / "report.html", html + "\n")
    return folder / "report.html"


def _chosen(study: Study, metrics: list[str]) -> str:
    """The outcome that is shown first: of those of the hypotheses the first that there is."""
    asked = [name for one in study.hypotheses.values() for name in (one.outcome, *one.secondary)]
    return next((name for name in asked if name in metrics), metrics[0])


def _svg(figure: Figure) -> bytes:
    """A figure as SVG, the same bytes each time."""
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "ladder", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _title(figure: Figure) -> str:
    """What a figure says, for those who can't see it."""
    titles = [figure.get_suptitle(), *(axis.get_title(loc="left") for axis in figure.axes)]
    return "; ".join(" ".join(title.split()) for title in titles if title)


def _monitored(known: Reported) -> str:
    table = tables.monitors(known.monitors, known.runs)
    if table.empty:
        return ""
    return answers.monitors_sentence(table, known.monitors.control, tables.CLEAN, "geneval_toy")


def tables_of(known: Reported, name: str) -> str:
    """What the report says of one study, as text.

    Raises ConfigError for a study that it is not about.
    """
    if name == known.layers.name:
        table = tables.scores(known.layers, known.runs)
        found = {metric: tables.readable(table, metric) for metric in table["metric"].unique()}
    elif name == known.monitors.name:
        found = {"monitors under faults": _monitor_table(known)}
    else:
        about = f"{known.layers.name}, {known.monitors.name}"
        raise ConfigError(f"the report is about the studies {about}, got {name!r}")
    return "\n\n".join(f"{title}\n{rows.to_string(index=False)}" for title, rows in found.items())


def _monitor_table(known: Reported) -> pd.DataFrame:
    table = tables.monitors(known.monitors, known.runs)
    return tables.readable_monitors(table, known.monitors.outcomes) if len(table) else table


def verdicts_of(known: Reported, table: pd.DataFrame) -> dict[str, Any]:
    """For each metric and arm its row, the hypotheses, full length and monitors, without what is
    unknown."""
    outcomes: dict[str, dict[str, dict]] = {}
    for row in _rows(table):
        outcomes.setdefault(row.pop("metric"), {})[row.pop("arm")] = row
    judged = {
        one.name: {
            "verdict": one.verdict,
            "outcome": one.outcome,
            "p_holm": one.p,
            "differences": {
                other: {"mean": d.mean, "low": d.low, "high": d.high}
                for other, d in one.differences.items()
            },
        }
        for study in (known.layers, known.monitors)
        for one in findings(study, [run for run in known.runs if run.arm in study.arms])
    }
    return {
        "hypotheses": judged,
        "outcomes": outcomes,
        "full_length": _rows(tables.full_length(known.full, known.runs, known.full_runs)),
        "monitors": _rows(tables.monitors(known.monitors, known.runs)),
    }


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, without what is unknown."""
    return [{k: v for k, v in row.items() if v == v} for row in table.to_dict("records")]


def sections_of(known: Reported, table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Titles and tables for people, in their order; empty ones are left out."""
    layers, runs = known.layers, known.runs
    for metric in table["metric"].unique():
        title = f"{text.label(metric)} ({metric}), compared with {layers.control}"
        yield title, tables.readable(table, metric)
    shown = [*dict.fromkeys(("ladder", "last", layers.control))]
    yield (
        "The paper's scores, and those of the same scorers in another world",
        tables.published(runs, shown),
    )
    caught = tables.caught_by_kind(known.monitors, runs)
    for title, rows in (
        ("Trained as long as the main job", tables.full_length(known.full, runs, known.full_runs)),
        ("Cost of an arm", tables.cost(known.arms, runs)),
        ("Monitors under faults", _monitor_table(known)),
        ("Share of each kind of fault that was caught",
         caught.map(text.share).rename_axis("arm").reset_index()),
        ("Runs without scores", tables.failures(runs)),
    ):  # fmt: skip
        if len(rows):
            yield title, rows


def figures_of(known: Reported, table: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    """File name and figure; those of which nothing is known are left out."""
    runs, layers = known.runs, known.layers
    for metric in table["metric"].unique():
        if (table["metric"].eq(metric) & table["difference"].notna()).any():
            yield metric, figures.difference_figure(table, metric, layers.control)
    for metric in BY_KIND:
        shares = tables.by_task(runs, layers.arms, metric)
        if len(shares):
            yield f"{metric}.kinds", figures.task_figure(shares, metric)
    if figures.loss_curves(runs, SHOWN, layers.control, EDITS)[1]:
        yield "loss", figures.loss_figure(runs, SHOWN, layers.control, EDITS)
    kinds = tables.caught_by_kind(known.monitors, runs)
    if len(kinds):
        watched = tables.monitors(known.monitors, runs)
        yield "monitors", figures.caught_figure(kinds, watched)
        most = max(
            (one for one in watched.to_dict("records") if one["arm"] in known.monitors.arms),
            key=lambda one: one["caught"],
        )
        yield "faults", curve_figure(runs, [known.monitors.control, most["arm"]])
