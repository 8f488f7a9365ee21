"""Pictures to the sizes that a model works at, by scaling and cropping alone.

Encoding, training and drawing all bring pictures to a size here. So what a person gives to be
edited is seen as the pictures of training were. Nothing is squashed, but for one case: the source
of an edit takes the crop of its target, so that a point of both stays at the same place.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from ladder.data.images import FORMATS

Size = tuple[int, int]
"""Width and height in pixels."""
SAME_FRAME = 1.25
"""Of several sources, one whose aspect ratio differs from its target's by at most this factor shows
the same frame; any other is a picture of its own. `curation.edit_aspect` is this factor too."""


@dataclass(frozen=True)
class Crop:
    """A part of a picture, as shares of its width and height from its upper left corner."""

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def of(cls, size: Size, wanted: Size) -> Crop:
        """The largest part around the centre that has the aspect ratio of `wanted`."""
        width, height = size
        across = min(1.0, wanted[0] * height / (wanted[1] * width))
        down = min(1.0, wanted[1] * width / (wanted[0] * height))
        return cls((1 - across) / 2, (1 - down) / 2, (1 + across) / 2, (1 + down) / 2)

    def box(self, size: Size) -> tuple[float, float, float, float]:
        """The part in pixels of a picture of `size`."""
        width, height = size
        return self.left * width, self.top * height, self.right * width, self.bottom * height


WHOLE = Crop(0.0, 0.0, 1.0, 1.0)


def buckets(side: int, aspects: Sequence[float], unit: int) -> tuple[Size, ...]:
    """A size for each of the `aspects` (width to height), of about `side` x `side` pixels.

    Widths and heights are multiples of `unit` pixels. Raises ValueError for a side of less than
    a unit.
    """
    if side < unit:
        raise ValueError(f"the side of pictures must be at least {unit} pixels, got {side}")

    def rounded(pixels: float) -> int:
        return max(1, round(pixels / unit)) * unit

    sizes = [(rounded(side * math.sqrt(x)), rounded(side / math.sqrt(x))) for x in aspects]
    return tuple(dict.fromkeys(sizes))


def nearest(size: Size, sizes: Sequence[Size]) -> Size:
    """The one of `sizes` whose aspect ratio is most like that of `size`."""
    return min(sizes, key=lambda wanted: abs(_aspect(size) - _aspect(wanted)))


def similar(one: Size, other: Size) -> bool:
    """Whether pictures of these sizes may show the same frame."""
    return abs(_aspect(one) - _aspect(other)) <= math.log(SAME_FRAME)


def fit(picture: Image.Image, size: Size, crop: Crop | None = None) -> Image.Image:
    """`picture` at `size`: the part `crop` of it, by default as much as has its aspect ratio.

    A picture of that size already is returned as it is.
    """
    crop = crop or Crop.of(picture.size, size)
    if picture.size == size and crop == WHOLE:
        return picture
    return picture.resize(size, Image.Resampling.BICUBIC, crop.box(picture.size))


def bring(picture: Image.Image, size: Size, crop: Crop | None = None) -> Image.Image:
    """`fit` for a picture that was opened but not decoded: a JPEG is decoded at 1/2, 1/4 or 1/8 of
    its side where that is enough, which takes a fraction of the time."""
    crop = crop or Crop.of(picture.size, size)
    width = math.ceil(size[0] / (crop.right - crop.left))
    height = math.ceil(size[1] / (crop.bottom - crop.top))
    picture.draft("RGB", (width, height))
    picture.load()
    picture = fit(picture, size, crop)
    picture.info.clear()  # colour profiles and comments would be written into our files
    return picture


def open_stored(data: bytes) -> Image.Image:
    """The picture in an image file of our own shards; no pixel is decoded yet."""
    return Image.open(io.BytesIO(data), formats=FORMATS)


def framed(target: Size, sources: Sequence[Size], sizes: Sequence[Size]) -> list[tuple[Size, Crop]]:
    """To which of `sizes`, and by which crop, a target and its sources are brought, in this order.

    An only source, and each whose aspect ratio is near the target's, takes the crop of the target:
    a point at the same place before is at the same place after. Other sources take their own.
    """
    size = nearest(target, sizes)
    crop = Crop.of(target, size)
    places = [(size, crop)]
    for source in sources:
        if similar(source, target) or len(sources) == 1:
            places.append((size, crop))
        else:
            own = nearest(source, sizes)
            places.append((own, Crop.of(source, own)))
    return places


def _aspect(size: Size) -> float:
    """The logarithm, so that wide and tall are alike."""
    return math.log(size[0] / size[1])
