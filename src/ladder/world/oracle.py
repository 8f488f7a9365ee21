"""The oracle: reads a picture of the toy world back into shapes, colours, sizes and places.

It plays the part that Mask2Former and CLIP play for GenEval. Nothing is learned: the background is
the style that most pixels have, what differs from it falls into connected components, and each
component is compared with every shape at both sizes. A component that resembles no shape, or two
of them equally, or has several colours, or lets the background through, gets a low score, so that
blobs and mixtures are not believed.

Letters: H and W height and width, C the three colours, N pixels of a component, M templates,
P pixels of a template.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

from ladder.world.render import coverage
from ladder.world.scenes import BACKGROUNDS, CELL, COLORS, GRID, JITTER, SHAPES, SIZES, Scene, Thing

FOREGROUND = 40.0
"""Distance in RGB from the background from which a pixel belongs to an object."""
STYLE_SHARE = 0.8
"""Share of the pixels outside objects that must be nearest to one style, or there is none."""
SMALLEST = 20
"""Pixels; smaller components are specks."""
WINDOW = 36
"""Side in pixels of the window in which a component is compared with templates."""
STEPS = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""Pixels by which templates are shifted from the centre of mass, in x and in y."""
OFF_COLOR = 40.0
"""A pixel this far in RGB from any mixture of an object's colour with the background is still of
that colour; at twice the distance it is not at all."""
THIN, SOLID = 0.5, 0.85
"""Opacities at which an inner pixel of an object counts as missing, and as whole."""
SPARE = 0.1
"""Share of the inner pixels that may be missing: a strong blur costs as much."""
CLEAR = 0.025
"""A fit better than that of any other shape by this much is beyond doubt."""
WORST, BEST = 0.75, 0.875
"""Fits that score 0 and 1. Rendered objects fit by 0.99, reconstructions by 0.91 or more (99%),
half-drawn objects by less than 0.76 (90%)."""
SURE = 0.3
"""Detections of at most this score are not believed, as in GenEval."""

_PALETTE = np.array([*COLORS.values()], np.float32)
_GROUNDS = np.array([*BACKGROUNDS.values()], np.float32)
_RING = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class Detection:
    """One object: `box` is (x1, y1, x2, y2) in pixels (x2 and y2 just outside), `center` (x, y),
    `score` in 0..1."""

    shape: str
    color: str
    size: str
    box: tuple[int, int, int, int]
    center: tuple[float, float]
    score: float

    @property
    def cell(self) -> int:
        """The grid cell that holds the centre."""
        column, row = (min(max(int(v // CELL), 0), GRID - 1) for v in self.center)
        return row * GRID + column


@dataclass(frozen=True)
class Detections:
    """What is in a picture; `background` is None where no style prevails."""

    things: tuple[Detection, ...]
    background: str | None


def detect(image: UInt8[np.ndarray, "H W 3"]) -> Detections:
    """All objects of `image` (RGB), most certain first.

    Raises ValueError for another type or shape.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"a picture is uint8 (H, W, 3), got {image.dtype} {image.shape}")
    pixels = image.astype(np.float32)
    distances = np.stack([_norm(pixels - ground) for ground in _GROUNDS])
    nearest = distances.argmin(0)
    plain = nearest[distances.min(0) < FOREGROUND]
    style = int(np.bincount(plain, minlength=len(_GROUNDS)).argmax())
    foreground = (distances[style] > FOREGROUND).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(foreground)
    things = [
        _classify(pixels, _GROUNDS[style], labels == label, stats[label])
        for label in range(1, len(stats))
        if stats[label][cv2.CC_STAT_AREA] >= SMALLEST
    ]
    outside = nearest[cv2.dilate(foreground, _RING) == 0]
    prevails = len(outside) > 0 and (outside == style).mean() >= STYLE_SHARE
    return Detections(
        tuple(sorted(things, key=lambda thing: -thing.score)),
        [*BACKGROUNDS][style] if prevails else None,
    )


def read_scene(image: UInt8[np.ndarray, "H W 3"]) -> Scene | None:
    """The scene that `image` shows, or None if it shows none: objects that are not believed, two
    in one cell, no background style."""
    found = detect(image)
    cells = {thing.cell for thing in found.things}
    doubtful = any(thing.score <= SURE for thing in found.things)
    if found.background is None or doubtful or len(cells) < len(found.things):
        return None
    return Scene(tuple(_thing(thing) for thing in found.things), found.background)


def _thing(found: Detection) -> Thing:
    x, y = found.center
    row, column = divmod(found.cell, GRID)
    dx, dy = round(x - (column + 0.5) * CELL), round(y - (row + 0.5) * CELL)
    dx, dy = (max(-JITTER, min(JITTER, offset)) for offset in (dx, dy))
    return Thing(found.cell, found.shape, found.color, found.size, dx, dy)


def same_look(a: Thing, b: Thing) -> bool:
    """Equal but for the exact offset: same cell, shape, colour and size."""
    return (a.cell, a.what) == (b.cell, b.what)


def same_scene(a: Scene | None, b: Scene) -> bool:
    """Equal but for exact offsets; None equals nothing."""
    return (
        a is not None
        and a.background == b.background
        and len(a.things) == len(b.things)
        and all(same_look(one, other) for one, other in zip(a.things, b.things, strict=True))
    )


def _classify(
    pixels: Float32[np.ndarray, "H W 3"],
    ground: Float32[np.ndarray, " C"],
    own: Bool[np.ndarray, "H W"],
    stats: Int32[np.ndarray, " 5"],
) -> Detection:
    """The detection of the component `own`, whose box `stats` holds as OpenCV gives it."""
    x, y, width, height, _ = (int(value) for value in stats)
    inner = cv2.erode(own.astype(np.uint8), _RING) > 0
    inside = pixels[inner if inner.any() else own]
    color = _color(inside)
    direction = _PALETTE[color] - ground
    opacity = _opacity(inside - ground, direction)
    missing = ((SOLID - opacity) / (SOLID - THIN)).clip(0, 1).mean()
    solid = min(1.0, 1 + SPARE - missing)
    rows, columns = np.nonzero(cv2.dilate(own.astype(np.uint8), _RING))
    difference = pixels[rows, columns] - ground
    strength = _norm(difference)
    alpha = _opacity(difference, direction)
    off = _norm(difference - alpha[:, None] * direction) / OFF_COLOR
    purity = np.average((2 - off).clip(0, 1), weights=strength)

    # The window is centred on the mass, whatever its colour.
    left = round(float(np.average(columns, weights=strength)) + 0.5 - WINDOW / 2)
    top = round(float(np.average(rows, weights=strength)) + 0.5 - WINDOW / 2)
    window = np.zeros((WINDOW, WINDOW), np.float32)
    i, j = rows - top, columns - left
    held = (i >= 0) & (i < WINDOW) & (j >= 0) & (j < WINDOW)
    window[i[held], j[held]] = alpha[held]
    templates = _templates()
    # Not by `@`: BLAS would start threads, which wait for each other on a busy machine.
    common = np.einsum("mp,p->m", templates.pixels, window.ravel())
    fits = common / (templates.squares + (alpha**2).sum() - common)
    best = int(fits.argmax())
    shape, size = templates.names[best]
    other = np.delete(fits.reshape(len(SHAPES), -1).max(1), SHAPES.index(shape)).max()
    likeness = np.clip((fits[best] * purity * solid - WORST) / (BEST - WORST), 0, 1)
    clearness = min(1.0, (fits[best] - other) / CLEAR)
    return Detection(
        shape=shape,
        color=[*COLORS][color],
        size=size,
        box=(x, y, x + width, y + height),
        center=(left + float(templates.centers[best][0]), top + float(templates.centers[best][1])),
        score=round(float(likeness * clearness), 4),
    )


def _color(pixels: Float32[np.ndarray, "N C"]) -> int:
    """Index of the colour that most pixels are nearest to."""
    nearest = _norm(pixels[:, None] - _PALETTE).argmin(1)
    return int(np.bincount(nearest).argmax())


def _opacity(
    difference: Float32[np.ndarray, "N C"], direction: Float32[np.ndarray, " C"]
) -> Float32[np.ndarray, " N"]:
    """How far each pixel is on its way from the background to a colour, 0..1."""
    return (difference @ direction / (direction @ direction)).clip(0, 1)


@dataclass(frozen=True)
class _Templates:
    """All shapes, sizes and shifts, grouped by shape in the order of SHAPES."""

    pixels: Float32[np.ndarray, "M P"]
    squares: Float32[np.ndarray, " M"]
    """Sums of their squared pixels."""
    names: list[tuple[str, str]]
    centers: Float32[np.ndarray, "M 2"]
    """Where the shape's centre (x, y) lies in the window."""


@cache
def _templates() -> _Templates:
    """Each shape at both sizes, a pixel more or less, with its mass near the window's centre."""
    pixels, names, centers = [], [], []
    axis = np.arange(WINDOW) + 0.5
    for shape in SHAPES:
        for size, radius in SIZES.items():
            for side in (radius - 1, radius, radius + 1):
                patch = coverage(shape, side)
                canvas = np.pad(patch, (WINDOW - len(patch)) // 2).astype(np.float32)
                mass_x, mass_y = (np.average(axis, weights=canvas.sum(a)) for a in (0, 1))
                for dy in STEPS:
                    for dx in STEPS:
                        shift = WINDOW / 2 - mass_x + dx, WINDOW / 2 - mass_y + dy
                        matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
                        moved = cv2.warpAffine(canvas, matrix, canvas.shape)
                        pixels.append(moved.ravel())
                        names.append((shape, size))
                        centers.append([WINDOW / 2 + value for value in shift])
    stacked = np.stack(pixels)
    return _Templates(stacked, (stacked**2).sum(1), names, np.array(centers, np.float32))


def _norm(vectors: Float32[np.ndarray, "*S C"]) -> Float32[np.ndarray, "*S"]:
    """Lengths along the last axis."""
    return np.sqrt(np.einsum("...i,...i->...", vectors, vectors))
