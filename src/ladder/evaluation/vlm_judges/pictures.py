"""Pictures for judges: known by the bytes of their files, opened when they are looked at."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import xxhash
from PIL import Image

from ladder.data.images import read_picture

QUARTERS = 4
"""Pictures in a 2 x 2 grid, row by row."""


@dataclass(frozen=True)
class JudgePicture:
    """A picture file, a quarter of one, or one that is brought to the size of another."""

    source: Path | Image.Image
    quarter: int | None = None
    """Of a 2 x 2 grid, row by row."""
    like: Path | None = None
    """The file whose size it takes."""

    @property
    def digest(self) -> str:
        """A hash of what is seen, for which nothing is decoded."""
        if isinstance(self.source, Path):
            state = self.source.stat()
            name = file_hash(self.source, state.st_size, state.st_mtime_ns)
        else:
            name = f"{xxhash.xxh3_128_hexdigest(self.source.tobytes())}-{self.source.size}"
        size = self.size if self.like else None
        return f"{name}-{self.quarter}-{size}"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, from the header of the file."""
        if self.like:
            return Image.open(self.like).size
        whole = Image.open(self.source) if isinstance(self.source, Path) else self.source
        width, height = whole.size
        return (width, height) if self.quarter is None else (width // 2, height // 2)

    def open(self) -> Image.Image:
        """The picture in RGB. Raises ValueError for an unusable file, or a grid of odd sides."""
        if isinstance(self.source, Path):
            picture = read_picture(self.source)
        else:
            picture = self.source.convert("RGB")
        if self.quarter is not None:
            picture = quarter_of(picture, self.quarter)
        if self.like and picture.size != self.size:
            picture = picture.resize(self.size)
        return picture


@lru_cache(maxsize=4096)
def file_hash(path: Path, size: int, changed: int) -> str:
    """A hash of a file's bytes, read once as long as its size and time stay."""
    return xxhash.xxh3_128_hexdigest(path.read_bytes())


def quarters(file: Path) -> list[JudgePicture]:
    """The four pictures of a grid."""
    return [JudgePicture(file, quarter) for quarter in range(QUARTERS)]


def quarter_of(grid: Image.Image, number: int) -> Image.Image:
    """Raises ValueError for a grid that has no two equal halves."""
    if grid.width % 2 or grid.height % 2:
        raise ValueError(f"a 2 x 2 grid has even sides, got {grid.width} x {grid.height}")
    width, height = grid.width // 2, grid.height // 2
    x, y = number % 2 * width, number // 2 * height
    return grid.crop((x, y, x + width, y + height))


@dataclass(frozen=True)
class PictureEncoding:
    """How pictures travel to a server."""

    format: Literal["jpeg", "png"] = "jpeg"
    quality: int = 90
    """Of JPEG, from 1 to 100."""
    longest: int = 2048
    """Pixels of the longer side; larger pictures are made smaller."""

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise ValueError(f"the quality of JPEG is from 1 to 100, got {self.quality}")
        if self.longest < 1:
            raise ValueError(f"a picture's longer side must have a pixel, got {self.longest}")

    def size(self, picture: JudgePicture) -> tuple[int, int]:
        """Width and height of the picture as it is sent."""
        width, height = picture.size
        scale = min(1.0, self.longest / max(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))

    def url(self, picture: JudgePicture) -> str:
        """The picture as a `data:` address; equal pixels give equal text."""
        image = picture.open()
        if max(image.size) > self.longest:
            image.thumbnail((self.longest, self.longest))
        file = io.BytesIO()
        options = {"quality": self.quality} if self.format == "jpeg" else {}
        image.save(file, format=self.format.upper(), **options)
        return f"data:image/{self.format};base64,{base64.b64encode(file.getvalue()).decode()}"
