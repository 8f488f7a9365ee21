"""Scenes to pictures: anti-aliased flat shapes on a plain background.

Each shape is drawn once by 8 x 8 supersampling; a picture is then a background with ready-made
patches copied into it, which makes tens of thousands of scenes a second possible.

Letters: H and W height and width in pixels, P side of a patch, N points along an axis.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from ladder.world.scenes import BACKGROUNDS, CELL, COLORS, GRID, SIZES, Scene

SIDE = GRID * CELL
SUPERSAMPLING = 8


def render(scene: Scene) -> UInt8[np.ndarray, "H W 3"]:
    """The picture of `scene` in RGB, of SIDE x SIDE pixels."""
    image = np.empty((SIDE, SIDE, 3), np.uint8)
    image[:] = BACKGROUNDS[scene.background]
    for thing in scene.things:
        patch = _patch(thing.shape, thing.size, thing.color, scene.background)
        half = len(patch) // 2
        x, y = thing.center
        image[y - half : y + half, x - half : x + half] = patch
    return image


@cache
def coverage(shape: str, radius: int) -> Float64[np.ndarray, "P P"]:
    """The share of each pixel that `shape` covers; P is 2 * radius + 2."""
    side = 2 * radius + 2
    axis = (np.arange(side * SUPERSAMPLING) + 0.5) / SUPERSAMPLING - side / 2
    inside = _inside(shape, axis[None, :] / radius, axis[:, None] / radius)
    return inside.reshape(side, SUPERSAMPLING, side, SUPERSAMPLING).mean((1, 3))


@cache
def _patch(shape: str, size: str, color: str, background: str) -> UInt8[np.ndarray, "P P 3"]:
    alpha = coverage(shape, SIZES[size])[..., None]
    mixed = alpha * np.array(COLORS[color]) + (1 - alpha) * np.array(BACKGROUNDS[background])
    return mixed.round().astype(np.uint8)


def _inside(
    shape: str, x: Float64[np.ndarray, "1 N"], y: Float64[np.ndarray, "N 1"]
) -> Bool[np.ndarray, "N N"]:
    """Which points belong to the shape of radius 1 around the origin; y points down."""
    if shape == "circle":
        return x**2 + y**2 < 0.92
    if shape == "square":
        return np.maximum(abs(x), abs(y)) < 0.84
    if shape == "cross":
        return (np.minimum(abs(x), abs(y)) < 0.32) & (np.maximum(abs(x), abs(y)) < 0.95)
    if shape == "triangle":
        return (y < 0.8) & (abs(x) < (y + 0.95) * 0.57)
    if shape == "star":
        angle = np.arctan2(x, -y)
        tips = np.pi / 5
        # Distance from the line between a tip (radius 1) and the next notch (radius 0.42).
        folded = abs((angle + tips) % (2 * tips) - tips)
        radius, notch = np.hypot(x, y), 0.42
        px, py = radius * np.cos(folded), radius * np.sin(folded)
        nx, ny = notch * np.cos(tips), notch * np.sin(tips)
        return (1 - px) * ny - py * (1 - nx) > 0
    if shape == "heart":
        u, v = x * 1.15, -y * 1.2 + 0.1
        return (u**2 + v**2 - 0.75) ** 3 - u**2 * v**3 * 1.6 < 0
    raise ValueError(f"unknown shape {shape!r}")
