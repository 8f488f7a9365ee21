"""`ladder report`: tables, figures and one HTML page of all that the ablations found.

experiments/report/table.md, table.csv    scores, differences to the control, verdicts
                   verdicts.json          the same by metric and arm, to be read by programs
                   figures/*.png
                   report.html            everything in one file that needs no network

A cell that failed, or is missing, is a row with the end of its error, and keeps nothing else out.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, select_autoescape
from matplotlib.figure import Figure

from ladder.experiments.report import figures, tables
from ladder.experiments.study import FOLDER, FULL_LENGTH, Cell, Study, read_cells, read_full_length

CURVES = ("ladder", "last")
ANOTHER_WORLD = "The paper's scores, and those of the same scorers in another world"
DPI = 110


def report(
    study: Study,
    results: Path = FOLDER,
    folder: Path = Path("experiments/report"),
    full_length: Path = FULL_LENGTH,
) -> Path:
    """Write the report of a study into `folder`; returns the HTML page.

    Raises ValueError if no cell has any scores, or if cells were not asked the same.
    """
    cells, full = read_cells(study, results), read_full_length(study, full_length)
    table = tables.scores(study, cells)
    if table.empty:
        raise ValueError(f"a report needs at least one evaluated cell in {results}, got none")
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "table.csv", index=False, float_format="%.5f", lineterminator="\n")
    (folder / "verdicts.json").write_text(json.dumps(verdicts_of(table), indent=1) + "\n")
    sections = dict(sections_of(study, cells, full, table))
    pictures = {}
    for name, (title, figure) in figures_of(study, cells, table).items():
        path = folder / "figures" / f"{name}.png"
        figure.savefig(path, dpi=DPI, metadata={"Software": None})
        pictures[title] = base64.b64encode(path.read_bytes()).decode()
    text = "\n\n".join(f"## {title}\n\n{markdown(rows)}" for title, rows in sections.items())
    (folder / "table.md").write_text(f"{text}\n")
    page = Environment(
        loader=PackageLoader("ladder", "ablation"), autoescape=select_autoescape(default=True)
    ).get_template("report.html.j2")
    known = {"evaluated": sum(cell.run is not None for cell in cells), "cells": len(cells)}
    html = page.render(study=study, sections=sections, pictures=pictures, number=number, **known)
    (folder / "report.html").write_text(html + "\n")
    return folder / "report.html"


def verdicts_of(table: pd.DataFrame) -> dict[str, dict[str, dict]]:
    """For each metric and arm its row, without what is unknown."""
    found: dict[str, dict[str, dict]] = {}
    for row in table.to_dict("records"):
        values = {key: value for key, value in row.items() if value == value}
        found.setdefault(values.pop("metric"), {})[values.pop("arm")] = values
    return found


def sections_of(
    study: Study, cells: list[Cell], full: list[Cell], table: pd.DataFrame
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Titles and tables for people, in their order; empty ones are left out."""
    for metric in tables.METRICS:
        yield f"{metric}, compared with {study.control}", tables.readable(table, metric)
    shown = [*dict.fromkeys((*CURVES, study.control))]
    yield ANOTHER_WORLD, tables.published(cells, shown)
    for title, rows in (
        ("Trained as long as the main job", tables.full_length(study, cells, full)),
        ("Cost of an arm", tables.cost(study, cells)),
        ("Monitors under faults", tables.monitors(study, cells)),
        ("Share of each kind of fault that was caught", tables.caught_by_kind(study, cells)
            .rename_axis("arm").reset_index()),
        ("Cells without scores", tables.failures(cells)),
    ):  # fmt: skip
        if len(rows):
            yield title, rows


def figures_of(
    study: Study, cells: list[Cell], table: pd.DataFrame
) -> dict[str, tuple[str, Figure]]:
    """File name, title and figure; those of which nothing is known are left out."""
    found = {
        "scores": ("Score of every arm, with 95% intervals", figures.score_figure(table)),
        "tasks": (
            "GenEval-toy by task",
            figures.task_figure(tables.by_task(cells, study.arms, "geneval_toy"), "GenEval-toy"),
        ),
        "edits": (
            "Exact edits by kind",
            figures.task_figure(tables.by_task(cells, study.arms, "edit.exact"), "exact edits"),
        ),
        "pictures": (
            f"The same prompts and the same noise, seed {study.seeds[0]}",
            figures.strip_figure(cells, study.arms, study.seeds[0]),
        ),
    }
    costs, watched = tables.cost(study, cells), tables.monitors(study, cells)
    if len(costs):
        title = "Which layer feeds which block"
        found["assignment"] = (title, figures.assignment_figure(study, cells))
        found["cost"] = ("Cost of every arm", figures.cost_figure(costs))
        found["curves"] = ("Training", figures.curve_figure(cells, CURVES))
    if len(watched):
        found["monitors"] = ("Faults caught and good steps lost", figures.roc_figure(watched))
        title = "Training with faults put in"
        found["faults"] = (
            title,
            figures.curve_figure(cells, study.monitors[:1] + study.monitors[-3:]),
        )
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
