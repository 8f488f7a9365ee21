"""Sources of edits at the sizes that training would have given them, and the size that is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from PIL import Image

from ladder.data.resize import Size, fit, nearest, similar


def one_size(sizes: Iterable[Size]) -> Size:
    """The size of all pictures of a call; raises ValueError where there are several."""
    found = sorted({*sizes})
    if len(found) > 1:
        raise ValueError(
            "pictures of a call must be of one size, which are these by their sources: "
            f"{', '.join(f'{width}x{height}' for width, height in found)}; "
            "give height and width, or call once for each"
        )
    return found[0]


def fitted(
    sources: Sequence[Sequence[Image.Image]], drawn: Size, sizes: Sequence[Size]
) -> list[list[Image.Image]]:
    """The sources of each prompt, scaled and cropped: the first one, and those of about its shape,
    to what is drawn, others to the nearest of `sizes`.

    A picture that occurs several times stays one, and its prompt is read once.
    """
    known: dict[tuple[int, Size], Image.Image] = {}

    def brought(picture: Image.Image, first: Image.Image) -> Image.Image:
        size = drawn if similar(picture.size, first.size) else nearest(picture.size, sizes)
        return known.setdefault((id(picture), size), fit(picture, size))

    return [[brought(picture, group[0]) for picture in group] for group in sources]
