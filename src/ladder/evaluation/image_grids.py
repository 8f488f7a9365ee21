"""Pictures for people: what was drawn for the first prompts, with the verdicts.

The prompts are the first of each group, so nobody chose the good ones. A green frame means that
the judge found everything right, a red one that it didn't.

Letters: H and W height and width.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure

from ladder.config.files import replacing

RIGHT, WRONG, PLAIN = "#2a9d4a", "#d1332e", "#888888"
WIDTH, HEIGHT = 1.7, 2.25
"""Inches of a tile with its caption."""
CAPTION_WIDTH = 24
"""Characters in a line of a caption."""


@dataclass(frozen=True)
class Tile:
    """A picture and the text beneath it; `right` is None where nothing is judged."""

    picture: UInt8[np.ndarray, "H W 3"]
    caption: str
    right: bool | None = None


def save_grid(rows: Sequence[tuple[str, Sequence[Tile]]], path: Path) -> None:
    """Write rows of tiles, each with its name at the left, as a PNG; makes the folder."""
    columns = max(len(tiles) for _, tiles in rows)
    figure = Figure(figsize=(columns * WIDTH + 0.3, len(rows) * HEIGHT), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, (name, tiles) in zip(axes, rows, strict=True):
        for axis in row[len(tiles) :]:
            axis.axis("off")
        for axis, tile in zip(row, tiles, strict=False):
            axis.imshow(tile.picture)
            axis.set(xticks=[], yticks=[])
            caption = textwrap.fill(tile.caption, CAPTION_WIDTH)
            axis.set_xlabel(caption, fontsize=7.5, linespacing=1.1)
            color = PLAIN if tile.right is None else RIGHT if tile.right else WRONG
            for side in axis.spines.values():
                side.set(color=color, linewidth=1 if tile.right is None else 3)
        row[0].set_ylabel(name, fontsize=9, fontweight="bold")
    with replacing(path) as part:
        figure.savefig(part, dpi=110, format="png", metadata={"Software": None})
