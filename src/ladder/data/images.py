"""Bytes of an image file to the RGB picture a person would see, or the fault that forbids it.

Web data hold truncated, rotated, transparent, 16-bit and gigantic files. Each is either converted
right or refused by name here; nothing is ever replaced by a placeholder, because a model would be
trained on it under the real caption.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps

MAXIMUM_PIXELS = 2**26
"""Of a picture that a person gives; a larger one is refused before it is decoded."""
FORMATS = ("PNG", "JPEG", "WEBP")
"""The decoders that untrusted bytes may reach."""
EXTENSIONS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}
"""Of files in our shards; an MPO file is no JPEG here, since its first picture is not all of it."""
MAXIMUM_PROFILE = 2**22
"""Bytes; a larger colour profile is passed over."""
COLOUR_STEP = 2
"""Of 256; a colour profile that moves no colour by more is sRGB, and isn't applied."""


class BadSampleError(Exception):
    """Why a sample may not be trained on; `reason` is the name it is counted under."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@contextmanager
def refused_as(reason: str) -> Iterator[None]:
    """The edge to a library that reads what comes from outside: its errors become one verdict.

    Decoders raise whatever a damaged file leads them to, AssertionError and RecursionError among
    it, so no list of names is long enough. Raises BadSampleError with `reason`; one that is raised
    within keeps its own. MemoryError and interrupts are not the file's fault, and pass.
    """
    try:
        yield
    except (BadSampleError, MemoryError):
        raise
    except Exception as error:
        raise BadSampleError(reason) from error


def decode(data: bytes, maximum_pixels: int) -> Image.Image:
    """The picture in the image file `data`: RGB (sRGB), upright, transparency laid over white.

    Its `format` is that of the file if this holds just these pixels, so that it may be kept as it
    is, and None if they were converted.

    Raises BadSampleError: `too_large` (more than `maximum_pixels`, read from the header before any
    pixel is decoded), `animated` (more than one frame), `undecodable` (damaged, or neither PNG,
    JPEG nor WebP).
    """
    # Pillow warns of damaged EXIF and of 89 million pixels; here it is an error or right.
    with refused_as("undecodable"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        except Image.DecompressionBombError:
            raise BadSampleError("too_large") from None
        if image.width * image.height > maximum_pixels:
            raise BadSampleError("too_large")
        # The further pictures of an MPO file (a camera's JPEG) are previews of the first.
        if image.format != "MPO" and getattr(image, "is_animated", False):
            raise BadSampleError("animated")
        return _upright_rgb(image, data)


def encode_png(image: Image.Image) -> bytes:
    """`image` as a PNG file; the same picture gives the same bytes.

    Raises ValueError: a picture that is not RGB.
    """
    if image.mode != "RGB":
        raise ValueError(f"pictures are stored as RGB, this one is {image.mode}")
    file = io.BytesIO()
    # Level 1 is three times as fast as the default on photographs and 3% larger.
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def storable(data: bytes, kind: str | None) -> tuple[str, bytes]:
    """An image file that `decode` accepts, as it is kept in our shards: extension and bytes.

    `kind` is the format of the picture that `decode` made of it. A file that holds an upright sRGB
    picture is kept as it is, since a photograph takes several times the space as PNG; any other is
    converted.
    """
    if kind in EXTENSIONS:
        return EXTENSIONS[kind], data
    return "png", encode_png(decode(data, sys.maxsize))


def _upright_rgb(image: Image.Image, data: bytes) -> Image.Image:
    kind = image.format if _is_plain(image) else None
    _scale_transparent_grey(image, data)
    ImageOps.exif_transpose(image, in_place=True)
    image.load()
    alpha = None
    if image.mode.startswith("I"):
        image, alpha = _eight_bits(image)
    elif image.has_transparency_data:
        if image.mode not in ("RGBA", "LA"):
            image = image.convert("RGBA")
        alpha = image.getchannel("A")
    if image.mode not in ("L", "CMYK", "RGB"):
        image = image.convert("L" if image.mode in ("1", "LA", "La") else "RGB")
    if (transform := _to_srgb(image)) is not None:
        image = ImageCms.applyTransform(image, transform)
    image = image.convert("RGB")
    if alpha is not None:
        image = Image.composite(image, Image.new("RGB", image.size, "white"), alpha)
    image.info.clear()  # colour profiles and comments would be written into our files
    image.format = kind
    return image


def _is_plain(image: Image.Image) -> bool:
    """Whether an opened file holds the pixels that a person would see: upright, RGB, sRGB."""
    upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
    plain = image.mode == "RGB" and upright and not image.has_transparency_data
    return plain and _to_srgb(image) is None


def _scale_transparent_grey(image: Image.Image, data: bytes) -> None:
    """Bring the transparent colour of a PNG to the scale of the pixels.

    PNG gives it in samples of the file's depth (RFC 2083, 4.2.9); Pillow scales the samples of 1,
    2 and 4 bits up and those of 16-bit colours down to 8 bits, but not the transparent colour.
    """
    clear = image.info.get("transparency")
    depth = data[24] if image.format == "PNG" else 8
    if depth < 8 and image.mode in ("1", "L") and isinstance(clear, int):
        image.info["transparency"] = clear * 255 // (2**depth - 1)
    elif depth == 16 and isinstance(clear, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in clear)


def _eight_bits(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """A 16-bit grey picture in 8 bits, which Pillow would clip instead, and what is opaque."""
    pixels = np.asarray(image)
    grey = (pixels.astype(np.float32) / 257).round().clip(0, 255).astype(np.uint8)
    scaled = Image.fromarray(grey)
    scaled.info = dict(image.info)
    clear = scaled.info.pop("transparency", None)
    if clear is None:
        return scaled, None
    return scaled, Image.fromarray(np.where(pixels == clear, 0, 255).astype(np.uint8))


def _to_srgb(image: Image.Image) -> ImageCms.ImageCmsTransform | None:
    """What brings the colours of `image` to sRGB, or None where they are, or it doesn't say."""
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or len(profile) > MAXIMUM_PROFILE:
        return None
    return _transform(profile, image.mode)


@lru_cache(maxsize=64)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform of a colour profile, or None: sRGB, damaged, or of another colour space."""
    try:
        with refused_as("profile"):
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            transform = ImageCms.buildTransform(own, _srgb(), mode, "RGB")
            grid = np.stack(np.meshgrid(*[np.arange(0, 256, 51)] * 3), -1).astype(np.uint8)
            colours = Image.fromarray(grid.reshape(6, 36, 3)).convert(mode)
            moved = np.asarray(ImageCms.applyTransform(colours, transform)).astype(int)
    except BadSampleError:
        return None
    if mode == "CMYK" or np.abs(moved - np.asarray(colours.convert("RGB"))).max() > COLOUR_STEP:
        return transform
    return None


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


MAXIMUM_ASPECT = 200
"""Of a picture that a person gives: longer side to shorter, as Qwen's own processor has it."""


def read_picture(path: Path) -> Image.Image:
    """A picture in RGB, upright; raises ValueError for what is none, too large or too long."""
    try:
        picture = decode(path.read_bytes(), MAXIMUM_PIXELS)
    except BadSampleError as error:
        raise ValueError(f"{path}: not a picture that can be used ({error.reason})") from error
    aspect = max(picture.size) / min(picture.size)
    if aspect >= MAXIMUM_ASPECT:
        rule = f"aspect ratio must be smaller than {MAXIMUM_ASPECT}"
        raise ValueError(f"{path}: {rule}, got {aspect:g}")
    return picture
