"""Diagrams of the lectures: boxes that say what a tensor is and its shape, joined by arrows.

The shapes are given by the notebook, which reads them from the models, so that a picture is never
older than what it shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

COLUMN, ROW = 2.05, 1.1
"""Inches from one box to the next, across and down."""
WIDTH, HEIGHT = 1.4, 0.66
"""Inches of a box."""
ROUND = 0.06
"""Inches by which corners are rounded."""
FROZEN, TRAINED, NEITHER = "#d9e6f2", "#fbe3c8", "white"


@dataclass(frozen=True)
class Box:
    """One tensor, or one model, of a diagram."""

    name: str
    at: tuple[float, float]
    """Column and row, counted from the upper left corner."""
    shape: str = ""
    """What stands below the name."""
    state: str = ""
    """`frozen` and `trained` are coloured; anything else is white."""


def diagram(boxes: Sequence[Box], arrows: Sequence[tuple[str, str, str]]) -> Figure:
    """The boxes, and an arrow from one name to another for each (from, to, label).

    Raises ValueError for two boxes of one name, and for an arrow to or from a name without a box.
    """
    places = {box.name: box for box in boxes}
    if len(places) < len(boxes):
        raise ValueError(f"each box needs a name of its own, got {[box.name for box in boxes]}")
    columns = max(box.at[0] for box in boxes) + 1
    rows = max(box.at[1] for box in boxes) + 1
    figure = Figure(figsize=(COLUMN * columns, ROW * rows))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, COLUMN * columns), ylim=(ROW * rows, 0))
    axes.set_axis_off()
    patches = {box.name: _draw(axes, box) for box in boxes}
    for start, end, label in arrows:
        if missing := {start, end} - places.keys():
            raise ValueError(f"arrows join {', '.join(places)}, got {', '.join(sorted(missing))}")
        (x0, y0), (x1, y1) = _center(places[start]), _center(places[end])
        axes.add_patch(
            FancyArrowPatch(
                (x0, y0), (x1, y1), patchA=patches[start], patchB=patches[end],
                arrowstyle="-|>", mutation_scale=10, shrinkA=1, shrinkB=1, color="#444444",
            )
        )  # fmt: skip
        across = abs(x1 - x0) > abs(y1 - y0)
        axes.annotate(
            label, ((x0 + x1) / 2, (y0 + y1) / 2), (0, 3) if across else (4, 0),
            textcoords="offset points", ha="center" if across else "left",
            va="bottom" if across else "center", fontsize=7.5,
        )  # fmt: skip
    return figure


def _center(box: Box) -> tuple[float, float]:
    return COLUMN * (box.at[0] + 0.5), ROW * (box.at[1] + 0.5)


def _draw(axes: Axes, box: Box) -> FancyBboxPatch:
    x, y = _center(box)
    corner = x - WIDTH / 2 + ROUND, y - HEIGHT / 2 + ROUND
    face = {"frozen": FROZEN, "trained": TRAINED}.get(box.state, NEITHER)
    patch = FancyBboxPatch(
        corner, WIDTH - 2 * ROUND, HEIGHT - 2 * ROUND,
        boxstyle=f"round,pad={ROUND}", facecolor=face, edgecolor="#444444",
    )  # fmt: skip
    axes.add_patch(patch)
    lines = f"{box.name}\n{box.shape}" if box.shape else box.name
    axes.text(x, y, lines, ha="center", va="center", fontsize=8.5, linespacing=1.4)
    return patch
