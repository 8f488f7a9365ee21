"""Bytes of an image file to the RGB picture a person would see, or the fault that forbids it.

Web data hold truncated, rotated, transparent, 16-bit and gigantic files. Each is either converted
right or refused by name here; nothing is ever replaced by a placeholder, because a model would be
trained on it under the real caption.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

MAXIMUM_PIXELS = 2**26
"""Of a picture that a person gives; a larger one is refused before it is decoded."""
FORMATS = ("PNG", "JPEG", "WEBP")
"""The decoders that untrusted bytes may reach."""
EXTENSIONS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}
"""Of files in our shards; an MPO file is no JPEG here, since its first picture is not all of it."""
UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    IndexError,
    KeyError,
    struct.error,
    zlib.error,
)
"""What Pillow's decoders raise on damaged files."""


class BadSampleError(Exception):
    """Why a sample may not be trained on; `reason` is the name it is counted under."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def decode(data: bytes, maximum_pixels: int) -> Image.Image:
    """The picture in the image file `data`: RGB, upright, transparency laid over white.

    Raises BadSampleError: `too_large` (more than `maximum_pixels`, read from the header before any
    pixel is decoded), `animated` (more than one frame), `undecodable` (damaged, or neither PNG,
    JPEG nor WebP).
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of damaged EXIF and of 89 million pixels; here it is an error or right.
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            if image.width * image.height > maximum_pixels:
                raise BadSampleError("too_large")
            # The further pictures of an MPO file (a camera's JPEG) are previews of the first.
            if image.format != "MPO" and getattr(image, "is_animated", False):
                raise BadSampleError("animated")
            return _upright_rgb(image)
    except Image.DecompressionBombError:
        raise BadSampleError("too_large") from None
    except UNREADABLE as error:
        raise BadSampleError("undecodable") from error


def encode_png(image: Image.Image) -> bytes:
    """`image` as a PNG file; the same picture gives the same bytes. Errors: not RGB."""
    if image.mode != "RGB":
        raise ValueError(f"pictures are stored as RGB, this one is {image.mode}")
    file = io.BytesIO()
    # Level 1 is three times as fast as the default on photographs and 3% larger.
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def decode_stored(data: bytes) -> Image.Image:
    """The picture in an image file of our own shards."""
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    # A copy, since Pillow takes a picture with a file behind it for unequal to one without.
    image = image.copy()
    image.info.clear()
    return image


def storable(data: bytes) -> tuple[str, bytes]:
    """An image file that `decode` accepts, as it is kept in our shards: extension and bytes.

    A file that already holds an upright RGB picture is kept as it is, since a photograph takes
    several times the space as PNG; any other is converted.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
        plain = image.mode == "RGB" and upright and not image.has_transparency_data
        if plain and image.format in EXTENSIONS:
            return EXTENSIONS[image.format], data
    return "png", encode_png(decode(data, image.width * image.height))


def _upright_rgb(image: Image.Image) -> Image.Image:
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):
        # Pillow clips 16-bit grey to 255 instead of scaling it.
        grey = np.asarray(image).astype(np.float32) / 257
        image = Image.fromarray(grey.round().clip(0, 255).astype(np.uint8))
    elif image.has_transparency_data:
        visible = Image.new("RGBA", image.size, "white")
        visible.alpha_composite(image.convert("RGBA"))
        image = visible
    image = image.convert("RGB")
    image.info.clear()  # colour profiles and comments would be written into our files
    return image


def read_picture(path: Path) -> Image.Image:
    """A picture in RGB, upright; raises ValueError for what is none, or is too large."""
    try:
        return decode(path.read_bytes(), MAXIMUM_PIXELS)
    except BadSampleError as error:
        raise ValueError(f"{path}: not a picture that can be used ({error.reason})") from error
