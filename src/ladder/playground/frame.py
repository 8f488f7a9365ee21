"""The frame that an upload is cropped to: where a user moved it, and what it looks like.

A ladder draws pictures of the shapes that it was trained on. An upload of another shape is never
squashed: a frame of the nearest shape lies on it, which a user sees, moves and makes smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageEnhance

from ladder.data.resize import Crop, Size, nearest

SMALLEST = 0.2
"""Of a frame: its side as a share of that of the largest one."""
PREVIEW = 360
"""Longer side of the picture that shows a frame, in pixels."""
OUTSIDE = 0.35
"""Brightness of what is outside of the frame."""
EDGE = (255, 140, 0)


@dataclass(frozen=True)
class Frame:
    """Where a frame lies, whatever the size of the picture."""

    across: float = 0.5
    """0 at the left edge, 1 at the right one."""
    down: float = 0.5
    """0 at the upper edge, 1 at the lower one."""
    side: float = 1.0
    """As a share of the largest frame that the picture holds."""

    def __post_init__(self) -> None:
        for name, low in (("across", 0.0), ("down", 0.0), ("side", SMALLEST)):
            if not low <= (value := getattr(self, name)) <= 1:
                raise ValueError(f"{name} of a frame must be {low:g} to 1, got {value}")

    def crop(self, size: Size, sizes: Sequence[Size]) -> Crop:
        """The part of a picture of `size` that is in the frame, which has the shape of the one of
        `sizes` that is nearest."""
        largest = Crop.of(size, nearest(size, sizes))
        width = (largest.right - largest.left) * self.side
        height = (largest.bottom - largest.top) * self.side
        left, top = self.across * (1 - width), self.down * (1 - height)
        return Crop(left, top, left + width, top + height)


def cropped(picture: Image.Image, frame: Frame, sizes: Sequence[Size]) -> Image.Image:
    """What is in the frame, at the picture's own resolution."""
    return picture.crop(_pixels(picture, frame, sizes))


def preview(picture: Image.Image, frame: Frame, sizes: Sequence[Size]) -> Image.Image:
    """The whole picture, small, dark outside of the frame."""
    small = picture.copy()
    small.thumbnail((PREVIEW, PREVIEW))
    left, top, right, bottom = _pixels(small, frame, sizes)
    shown = ImageEnhance.Brightness(small).enhance(OUTSIDE)
    shown.paste(small.crop((left, top, right, bottom)), (left, top))
    ImageDraw.Draw(shown).rectangle((left, top, right - 1, bottom - 1), outline=EDGE, width=2)
    return shown


def _pixels(picture: Image.Image, frame: Frame, sizes: Sequence[Size]) -> tuple[int, int, int, int]:
    """The frame in whole pixels, at least one each way."""
    left, top, right, bottom = map(round, frame.crop(picture.size, sizes).box(picture.size))
    return left, top, max(right, left + 1), max(bottom, top + 1)
