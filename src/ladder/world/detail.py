"""How exactly does a picture keep what an edit should leave alone?

The oracle says what stands in a cell. This measures how it stands there: offset, hue, size and
rotation, as differences from the true picture of the same object. The words of a caption tell
none of them, so they show what a model knows of a picture beyond words.

Letters: H and W height and width of a picture, C the three colours, A angles.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from ladder.world.render import render
from ladder.world.scenes import CELL, COLORS, SIZES, Scene, Thing

CHROMATIC = 0.2
"""Saturation from which on a colour has a hue."""
SOLID = 0.85
"""Opacity of pixels that are of the object's own colour."""
ANGLES = 360
SYMMETRY = {"square": 90, "triangle": 120, "star": 72, "cross": 90, "heart": 360}
"""Degrees by which a shape must be turned to look the same, or nearly so; a circle always does."""


@dataclass(frozen=True)
class Detail:
    """Errors of one object."""

    offset: float
    """Pixels between the centres of mass."""
    hue: float | None
    """Degrees, 0 to 180; None for black and white, which have no hue."""
    size: float
    """Pixels of the radius, by the area."""
    rotation: float | None
    """Degrees, at most half of the shape's symmetry; None for circles."""


def detail(image: UInt8[np.ndarray, "H W 3"], thing: Thing, background: str) -> Detail:
    """The errors of `thing`, which stands in its cell of `image`.

    Raises ValueError where that cell shows nothing but background.
    """
    found = _cell(image, thing)
    true = _cell(render(Scene((thing,), background)), thing)
    ground = true[0, 0]
    shown, wanted = _opacity(found, ground), _opacity(true, ground)
    if not shown.any():
        raise ValueError(f"an object must stand in cell {thing.cell}, got background alone")
    offset = np.hypot(*(_center(shown) - _center(wanted)))
    ratio = np.sqrt(shown.sum() / wanted.sum())
    return Detail(
        offset=float(offset),
        hue=_hue_error(found[shown > SOLID].mean(0), COLORS[thing.color]),
        size=float(abs(ratio - 1) * SIZES[thing.size]),
        rotation=_turned(shown, wanted, SYMMETRY[thing.shape]) if thing.shape in SYMMETRY else None,
    )


def _cell(image: UInt8[np.ndarray, "H W 3"], thing: Thing) -> Float32[np.ndarray, "h w 3"]:
    rows, columns = (slice(i * CELL, (i + 1) * CELL) for i in (thing.row, thing.column))
    return image[rows, columns].astype(np.float32)


def _opacity(
    cell: Float32[np.ndarray, "h w 3"], ground: Float32[np.ndarray, " 3"]
) -> Float32[np.ndarray, "h w"]:
    """How much of each pixel is object, 0..1, whatever its colour; faint traces are none."""
    strength = np.linalg.norm(cell - ground, axis=-1)
    full = np.percentile(strength[strength > strength.max() / 2], 50) if strength.max() > 0 else 1.0
    alpha = (strength / full).clip(0, 1)
    return np.where(alpha > 1 - SOLID, alpha, 0.0)


def _center(alpha: Float32[np.ndarray, "h w"]) -> Float64[np.ndarray, " 2"]:
    axis = np.arange(len(alpha))
    return np.array([np.average(axis, weights=alpha.sum(i)) for i in (0, 1)])


def _hue_error(found: Float32[np.ndarray, " 3"], true: tuple[int, int, int]) -> float | None:
    hue, saturation, _ = colorsys.rgb_to_hsv(*(value / 255 for value in true))
    if saturation < CHROMATIC:
        return None
    off = abs(colorsys.rgb_to_hsv(*(float(value) / 255 for value in found))[0] - hue) * 360
    return min(off, 360 - off)


def _turned(
    shown: Float32[np.ndarray, "h w"], wanted: Float32[np.ndarray, "h w"], symmetry: int
) -> float:
    """By how many degrees one must be turned to fit the other best."""
    a, b = _profile(shown), _profile(wanted)
    fit = np.fft.irfft(np.fft.rfft(a) * np.fft.rfft(b).conj(), ANGLES)
    folded = fit.reshape(-1, symmetry).sum(0)
    best = int(folded.argmax())
    return float(min(best, symmetry - best))


def _profile(alpha: Float32[np.ndarray, "h w"]) -> Float64[np.ndarray, " A"]:
    """How far the object reaches in each direction from its centre of mass, less the mean."""
    x, y = _center(alpha)
    flags = cv2.INTER_LINEAR | cv2.WARP_FILL_OUTLIERS
    size, center = (4 * CELL, ANGLES), (float(x), float(y))
    polar = cv2.warpPolar(alpha.astype(np.float32), size, center, CELL / 2, flags)
    reach = polar.sum(1, dtype=np.float64)
    return reach - reach.mean()
