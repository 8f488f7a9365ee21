"""What is true in the toy world: coloured shapes on a 3 x 3 grid.

A scene is the ground truth behind a picture. Captions, questions, edits and the evaluation are all
derived from it, so every number of the toy world can be checked. The grid is chosen so that one
cell (32 px) is exactly one visual token of the MLLM and one latent of the autoencoder.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

GRID = 3
CELL = 32
"""Side of a grid cell in pixels; a picture is GRID * CELL = 96 pixels wide and high."""
JITTER = 2
"""An object's centre lies within +-JITTER pixels of its cell's centre, in x and in y."""

SHAPES = ("circle", "square", "triangle", "star", "cross", "heart")
COLORS = {
    "red": (214, 39, 40),
    "orange": (255, 127, 14),
    "yellow": (250, 215, 40),
    "green": (44, 160, 44),
    "blue": (31, 90, 200),
    "purple": (128, 60, 190),
    "pink": (255, 140, 190),
    "brown": (125, 75, 45),
    "black": (25, 25, 25),
    "white": (252, 252, 252),
}
"""GenEval's ten colours as RGB."""
SIZES = {"small": 8, "large": 13}
"""Radius of an object in pixels."""
BACKGROUNDS = {
    "slate": (176, 188, 202),
    "sand": (216, 203, 175),
    "mint": (176, 208, 186),
    "lilac": (200, 186, 216),
}
CELL_NAMES = (
    "northwest", "north", "northeast", "west", "center", "east", "southwest", "south", "southeast",
)  # fmt: skip
"""Names of the cells in reading order (row by row)."""


@dataclass(frozen=True, order=True)
class Thing:
    """One object: `cell` 0..8 in reading order, shape, colour, size, and offset in pixels."""

    cell: int
    shape: str
    color: str
    size: str
    dx: int = 0
    dy: int = 0

    @property
    def row(self) -> int:
        return self.cell // GRID

    @property
    def column(self) -> int:
        return self.cell % GRID

    @property
    def center(self) -> tuple[int, int]:
        """Centre (x, y) in pixels."""
        half = CELL // 2
        return self.column * CELL + half + self.dx, self.row * CELL + half + self.dy

    @property
    def what(self) -> tuple[str, str, str]:
        return self.size, self.color, self.shape


@dataclass(frozen=True)
class Scene:
    """Objects in reading order, at most one a cell, on a background style."""

    things: tuple[Thing, ...]
    background: str = "slate"

    def __post_init__(self) -> None:
        cells = [thing.cell for thing in self.things]
        if len(set(cells)) != len(cells):
            raise ValueError(f"a cell holds at most one object; cells are {sorted(cells)}")
        object.__setattr__(self, "things", tuple(sorted(self.things)))

    def at(self, cell: int) -> Thing | None:
        return next((thing for thing in self.things if thing.cell == cell), None)

    def to_json(self) -> dict:
        return dataclasses.asdict(self)


def draw_thing(rng: np.random.Generator, cell: int | np.integer, **fixed: str) -> Thing:
    """A thing with random attributes, but for those in `fixed` (shape, color, size)."""
    attributes = {
        "shape": SHAPES[rng.integers(len(SHAPES))],
        "color": list(COLORS)[rng.integers(len(COLORS))],
        "size": list(SIZES)[rng.integers(len(SIZES))],
    } | fixed
    dx, dy = (int(v) for v in rng.integers(-JITTER, JITTER + 1, 2))
    return Thing(cell=int(cell), dx=dx, dy=dy, **attributes)


def draw_background(rng: np.random.Generator) -> str:
    return list(BACKGROUNDS)[rng.integers(len(BACKGROUNDS))]


def draw_scene(rng: np.random.Generator, objects: int) -> Scene:
    """A scene of `objects` independent random things in random cells."""
    cells = rng.permutation(GRID * GRID)[:objects]
    return Scene(tuple(draw_thing(rng, cell) for cell in cells), draw_background(rng))
