"""Diagrams show every box with its shape, and refuse what can't be drawn."""

from __future__ import annotations

import pytest
from matplotlib.patches import FancyArrowPatch

from ladder.experiments.report.diagram import Box, diagram

BOXES = [Box("prompt", (0, 0), "7 tokens"), Box("MLLM", (1, 0), "3 layers", "frozen")]


def test_it_shows_names_shapes_and_labels():
    figure = diagram(BOXES, [("prompt", "MLLM", "is read")])
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == [
        "prompt\n7 tokens", "MLLM\n3 layers", "is read",
    ]  # fmt: skip
    assert sum(isinstance(patch, FancyArrowPatch) for patch in axes.patches) == 1


def test_boxes_lie_within_the_figure_and_apart():
    figure = diagram([*BOXES, Box("answer", (1, 1))], [])
    (axes,) = figure.axes
    inner = axes.get_window_extent()
    extents = [patch.get_window_extent() for patch in axes.patches]
    assert all(inner.containsx(x) for box in extents for x in (box.x0, box.x1))
    assert all(inner.containsy(y) for box in extents for y in (box.y0, box.y1))
    assert not any(a.overlaps(b) for n, a in enumerate(extents) for b in extents[:n])


def test_an_arrow_to_nowhere_is_refused():
    with pytest.raises(ValueError, match="arrows join prompt, MLLM, got MLM"):
        diagram(BOXES, [("prompt", "MLM", "")])


def test_two_boxes_of_one_name_are_refused():
    with pytest.raises(ValueError, match="name of its own"):
        diagram([BOXES[0], BOXES[0]], [])
