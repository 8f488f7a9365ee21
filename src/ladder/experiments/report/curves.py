"""Loss and gradient norm of a run, and how every figure looks.

Notebooks of runs draw these curves, so nothing here imports the statistics: a run's key holds the
meaning of all code that its notebook imports.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ladder.experiments.results import Run

PALETTE = sns.color_palette("colorblind").as_hex()
BLUE, ORANGE = PALETTE[:2]
GREY, DARK = "#767676", "#222222"
WIDTH = 4.7
"""Inches: what a phone shows without making letters small."""
CHARACTERS = 58
"""In a line of a title."""
SMOOTH = 9
"""Steps of the running median."""


def curve_figure(every: Sequence[Run], arms: Sequence[str]) -> Figure:
    """Loss and gradient norm of one seed of each arm, stage after stage; crosses are skips."""
    shown = [
        next((run for run in every if run.arm == arm and run.steps is not None), None)
        for arm in arms
    ]
    shown = [run for run in shown if run]
    figure, axes = narrow(3.2 * max(len(shown), 1), 2 * max(len(shown), 1))
    for place, run in enumerate(shown):
        steps = run.steps.reset_index(drop=True)
        for axis, name in zip(axes[2 * place : 2 * place + 2], ("loss", "norm"), strict=True):
            axis.plot(steps.index, steps[name], color=GREY, lw=0.5)
            smooth = steps[name].rolling(SMOOTH, min_periods=1, center=True).median()
            axis.plot(steps.index, smooth, color=BLUE, lw=1.5)
            for mark, color, label, where in (
                ("x", DARK, "skipped", steps["skipped"] > 0),
                ("|", ORANGE, "fault put in", steps["fault"].notna()),
            ):
                values = steps[name][where].fillna(steps[name].median())
                axis.plot(values.index, values, mark, color=color, ms=7, ls="", label=label)
            axis.set_yscale("log")
            axis.set_ylabel("loss (MSE)" if name == "loss" else "gradient norm", fontsize=8.5)
            axis.tick_params(labelsize=8)
            for end in np.flatnonzero(steps["stage"] != steps["stage"].shift())[1:]:
                axis.axvline(end, color=GREY, ls="--", lw=0.8)
        head = axes[2 * place]
        skips, faults = int((steps["skipped"] > 0).sum()), int(steps["fault"].notna().sum())
        said = f"{faults} faults put in, {skips} steps skipped"
        if not faults:
            said = f"{skips} of {len(steps)} steps skipped"
        title = fill(f"{run.arm}, seed {run.seed}: {said}", CHARACTERS)
        head.set_title(title, loc="left", fontsize=9.5, fontweight="bold")
        axes[2 * place + 1].set_xlabel("step, over all stages", fontsize=8.5)
        if faults or skips:
            head.legend(frameon=False, fontsize=7.5)
    return figure


def narrow(height: float, rows: int = 1, **how: object) -> tuple[Figure, list[Axes]]:
    """A figure of `rows` panels one below the other, `height` inches high in all."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = [*figure.subplots(rows, 1, squeeze=False, **how)[:, 0]]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def titled(figure: Figure, words: str) -> None:
    """Put what a figure says above it."""
    lines = fill(words, CHARACTERS)
    figure.suptitle(lines, x=0.01, ha="left", fontsize=9.5, fontweight="bold")
