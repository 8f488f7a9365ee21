"""The oracle: reads a picture of the toy world back into shapes, colours, sizes and places.

It plays the part that Mask2Former and CLIP play for GenEval. Nothing is learned: the background is
the style that most pixels have, what differs from it falls into connected components, and each
component is compared with every shape at both sizes. The score is the overlap with the best
template times the share of its pixels that have its colour, so blobs and mixtures score low.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from ladder.world.render import coverage
from ladder.world.scenes import BACKGROUNDS, CELL, COLORS, GRID, JITTER, SHAPES, SIZES, Scene, Thing

FOREGROUND = 45.0
"""Distance in RGB from the background from which a pixel belongs to an object."""
SMALLEST = 20
"""Pixels; smaller components are specks."""
WINDOW = 40
"""Side in pixels of the window in which a component is compared with templates."""
SURE = 0.6
"""Detections with a lower score are not believed when a whole scene is read."""


@dataclass(frozen=True)
class Detection:
    """One object: `box` is (x1, y1, x2, y2) in pixels, `center` (x, y), `score` in 0..1."""

    shape: str
    color: str
    size: str
    box: tuple[int, int, int, int]
    center: tuple[float, float]
    score: float

    @property
    def cell(self) -> int:
        column, row = (min(max(int(v // CELL), 0), GRID - 1) for v in self.center)
        return row * GRID + column


@dataclass(frozen=True)
class Detections:
    things: tuple[Detection, ...]
    background: str


def detect(image: np.ndarray) -> Detections:
    """All objects of `image`, uint8 (H, W, 3) RGB, most certain first."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"a picture is uint8 (H, W, 3), got {image.dtype} {image.shape}")
    pixels = image.astype(np.float32)
    style = _background(pixels)
    ground = np.array(BACKGROUNDS[style], np.float32)
    foreground = np.linalg.norm(pixels - ground, axis=-1) > FOREGROUND
    _, labels, stats, _ = cv2.connectedComponentsWithStats(foreground.astype(np.uint8))
    things = [
        _classify(pixels, ground, labels == label, stats[label])
        for label in range(1, len(stats))
        if stats[label][cv2.CC_STAT_AREA] >= SMALLEST
    ]
    return Detections(tuple(sorted(things, key=lambda thing: -thing.score)), style)


def read_scene(image: np.ndarray) -> Scene | None:
    """The scene that `image` shows, or None if it shows none (doubtful or colliding objects)."""
    found = detect(image)
    cells = [thing.cell for thing in found.things]
    if len(set(cells)) < len(cells) or any(thing.score < SURE for thing in found.things):
        return None
    return Scene(tuple(_thing(thing) for thing in found.things), found.background)


def same_look(a: Thing, b: Thing) -> bool:
    """Equal but for the exact offset: same cell, shape, colour and size."""
    return (a.cell, a.what) == (b.cell, b.what)


def same_scene(a: Scene | None, b: Scene) -> bool:
    """Equal but for exact offsets."""
    return (
        a is not None
        and a.background == b.background
        and len(a.things) == len(b.things)
        and all(same_look(one, other) for one, other in zip(a.things, b.things, strict=True))
    )


def _thing(found: Detection) -> Thing:
    x, y = found.center
    row, column = divmod(found.cell, GRID)
    dx = round(x - column * CELL - CELL / 2)
    dy = round(y - row * CELL - CELL / 2)
    dx, dy = (max(-JITTER, min(JITTER, offset)) for offset in (dx, dy))
    return Thing(found.cell, found.shape, found.color, found.size, dx, dy)


def _background(pixels: np.ndarray) -> str:
    """The style nearest to most of the pixels."""
    grounds = np.array([*BACKGROUNDS.values()], np.float32)
    thinned = pixels[::2, ::2].reshape(-1, 3)
    distance = np.linalg.norm(thinned[:, None] - grounds, axis=-1)
    nearest = distance.argmin(1)[distance.min(1) < FOREGROUND]
    return [*BACKGROUNDS][np.bincount(nearest, minlength=len(grounds)).argmax()]


def _classify(
    pixels: np.ndarray, ground: np.ndarray, own: np.ndarray, stats: np.ndarray
) -> Detection:
    x, y, width, height, _ = (int(value) for value in stats)
    color, purity = _color(pixels[y : y + height, x : x + width], own[y : y + height, x : x + width])
    direction = np.array(COLORS[color], np.float32) - ground
    alpha = ((pixels - ground) @ direction / (direction @ direction)).clip(0, 1)
    near = cv2.dilate(own.astype(np.uint8), np.ones((3, 3), np.uint8))
    alpha = np.where(near > 0, alpha, 0).astype(np.float32)
    left, top = x + width // 2 - WINDOW // 2, y + height // 2 - WINDOW // 2
    padded = np.pad(alpha, WINDOW)
    window = padded[top + WINDOW : top + 2 * WINDOW, left + WINDOW : left + 2 * WINDOW]
    templates, names, centers = _templates()
    overlap = np.minimum(templates, window).sum((1, 2))
    union = templates.sum((1, 2)) + window.sum() - overlap
    rest = alpha.sum() - window.sum()
    score = overlap / (union + rest)
    best = int(score.argmax())
    shape, size = names[best]
    cx, cy = centers[best]
    return Detection(
        shape, color, size, (x, y, x + width, y + height), (left + cx, top + cy),
        round(float(score[best] * purity), 4),
    )  # fmt: skip


def _color(pixels: np.ndarray, own: np.ndarray) -> tuple[str, float]:
    """The colour of most inner pixels, and their share."""
    inner = cv2.erode(own.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    chosen = pixels[inner if inner.sum() >= 4 else own]
    palette = np.array([*COLORS.values()], np.float32)
    nearest = np.linalg.norm(chosen[:, None] - palette, axis=-1).argmin(1)
    votes = np.bincount(nearest, minlength=len(palette))
    return [*COLORS][votes.argmax()], float(votes.max() / votes.sum())


@cache
def _templates() -> tuple[np.ndarray, list[tuple[str, str]], np.ndarray]:
    """Coverages (M, WINDOW, WINDOW) of all shapes and sizes, shifted by -1..1 pixel around the
    window's middle, with their names and the centres (x, y) of the shapes in the window."""
    templates, names, centers = [], [], []
    for shape in SHAPES:
        for size, radius in SIZES.items():
            patch = coverage(shape, radius)
            rows, columns = np.nonzero(patch > 0.25)
            middle_y = (rows.min() + rows.max() + 1) // 2
            middle_x = (columns.min() + columns.max() + 1) // 2
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    top, left = WINDOW // 2 - middle_y + dy, WINDOW // 2 - middle_x + dx
                    canvas = np.zeros((WINDOW, WINDOW), np.float32)
                    canvas[top : top + len(patch), left : left + len(patch)] = patch
                    templates.append(canvas)
                    names.append((shape, size))
                    centers.append((left + len(patch) / 2, top + len(patch) / 2))
    return np.stack(templates), names, np.array(centers)
