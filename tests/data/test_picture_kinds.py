"""Every kind of picture file that is found in the wild looks here as a person sees it.

What is expected comes from the pixels and alphas that a file was made of, never from decoding it.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin
from tests.data.making import png, swapped_profile
from tests.stored import decode_stored

from ladder.data.images import decode, storable

W, H = 24, 16
Y, X = np.mgrid[0:H, 0:W]
PIXELS = np.stack([X * 10, Y * 15, 255 - X * 5 - Y * 5], -1).astype(np.uint8)
"""A gradient in every colour: no turn or swap of it looks like another."""
GREY = (X * 8 + Y * 4).astype(np.uint8)
ALPHA = np.where(X < W // 3, 0, np.where(X < 2 * W // 3, 128, 255)).astype(np.uint8)
FEW = (X // 6 + Y // 4) % 4
"""Places in a palette of four colours."""
COLOURS = np.array([[250, 20, 30], [10, 200, 40], [20, 30, 220], [240, 240, 10]], np.uint8)

Kind = tuple[bytes, np.ndarray, int]
"""A file, what is seen in it, and by how much of 256 that may be missed."""


def on_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Pixels as they look on white paper."""
    share = alpha[..., None] / 255
    return (pixels * share + 255 * (1 - share)).round()


def rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, -1)


def file(pixels: np.ndarray | Image.Image, kind: str, **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def packed(samples: np.ndarray, depth: int) -> list[bytes]:
    """Rows of samples of 1, 2, 4, 8 or 16 bits."""
    flat = samples.reshape(len(samples), -1)
    if depth == 16:
        return [row.astype(">u2").tobytes() for row in flat]
    bits = np.unpackbits(flat.astype(np.uint8)[..., None], axis=-1)[..., 8 - depth :]
    return [np.packbits(row.reshape(-1)).tobytes() for row in bits]


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud,
    5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1), 8: np.rot90,
}  # fmt: skip
"""What is seen where EXIF says 1 .. 8 (CIPA DC-008, 4.6.4 A)."""


def kinds() -> dict[str, Kind]:
    both = np.dstack([PIXELS, ALPHA])
    swapped = {"icc_profile": swapped_profile()}
    plain = {"icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()}
    flat = Image.fromarray(FEW.astype(np.uint8), "P")
    flat.putpalette(COLOURS.tobytes())
    alphas = bytes([0, 128, 255])
    seen_flat = COLOURS[FEW]
    alpha_flat = np.array([0, 128, 255, 255], np.uint8)[FEW]
    deep = PIXELS.astype(np.uint16) * 257
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "a comment", zip=True)
    found: dict[str, Kind] = {
        "PNG": (file(PIXELS, "PNG"), PIXELS, 0),
        "PNG with a comment": (file(PIXELS, "PNG", pnginfo=text), PIXELS, 0),
        "PNG with a resolution": (file(PIXELS, "PNG", dpi=(1, 1)), PIXELS, 0),
        "PNG, transparent": (file(both, "PNG"), on_white(PIXELS, ALPHA), 1),
        "PNG, one colour clear": (
            file(PIXELS, "PNG", transparency=tuple(map(int, PIXELS[0, 0]))),
            on_white(PIXELS, np.where((PIXELS[0, 0] == PIXELS).all(-1), 0, 255)), 0,
        ),
        "PNG with sRGB profile": (file(PIXELS, "PNG", **plain), PIXELS, 2),
        "PNG with another profile": (file(PIXELS, "PNG", **swapped), PIXELS[..., ::-1], 3),
        "PNG, transparent, with another profile": (
            file(both, "PNG", **swapped), on_white(PIXELS[..., ::-1], ALPHA), 3,
        ),
        "PNG, palette": (file(flat, "PNG"), seen_flat, 0),
        "PNG, palette with another profile": (
            file(flat, "PNG", **swapped), seen_flat[..., ::-1], 3,
        ),
        "PNG, palette, one colour clear": (
            file(flat, "PNG", transparency=2), on_white(seen_flat, np.where(FEW == 2, 0, 255)), 0,
        ),
        "PNG, palette with alphas": (
            file(flat, "PNG", transparency=alphas), on_white(seen_flat, alpha_flat), 1,
        ),
        "PNG, grey": (file(GREY, "PNG"), rgb(GREY), 0),
        "PNG, grey, transparent": (
            file(Image.fromarray(np.dstack([GREY, ALPHA]), "LA"), "PNG"),
            on_white(rgb(GREY), ALPHA), 1,
        ),
        "PNG of 16 bits": (png(16, 2, packed(deep, 16)), PIXELS, 1),
        "PNG of 16 bits, transparent": (
            png(16, 6, packed(np.dstack([deep, ALPHA.astype(np.uint16) * 257]), 16)),
            on_white(PIXELS, ALPHA), 2,
        ),
        "PNG of 16 bits, one colour clear": (
            png(16, 2, packed(deep, 16), struct.pack(">3H", *map(int, deep[0, 0]))),
            on_white(PIXELS, np.where((PIXELS[0, 0] == PIXELS).all(-1), 0, 255)), 1,
        ),
        "PNG, grey of 16 bits, transparent": (
            png(16, 4, packed(np.dstack([GREY, ALPHA]).astype(np.uint16) * 257, 16)),
            on_white(rgb(GREY), ALPHA), 2,
        ),
        "PNG, grey with another profile": (file(GREY, "PNG", **swapped), rgb(GREY), 0),
        "JPEG": (file(PIXELS, "JPEG", quality=98, subsampling=0), PIXELS, 8),
        "JPEG, progressive": (
            file(PIXELS, "JPEG", quality=98, subsampling=0, progressive=True), PIXELS, 8,
        ),
        "JPEG, grey": (file(GREY, "JPEG", quality=98), rgb(GREY), 6),
        "JPEG, CMYK": (
            file(Image.fromarray(PIXELS).convert("CMYK"), "JPEG", quality=98), PIXELS, 12,
        ),
        "JPEG with another profile": (
            file(PIXELS, "JPEG", quality=98, subsampling=0, **swapped), PIXELS[..., ::-1], 14,
        ),
        "JPEG with sRGB profile": (
            file(PIXELS, "JPEG", quality=98, subsampling=0, **plain), PIXELS, 8,
        ),
        "JPEG of a camera, with a preview": (
            file(PIXELS, "MPO", quality=98, subsampling=0, save_all=True,
                 append_images=[Image.fromarray(PIXELS[:4, :4])]), PIXELS, 8,
        ),
        "WebP": (file(PIXELS, "WEBP", quality=100), PIXELS, 16),
        "WebP, lossless": (file(PIXELS, "WEBP", lossless=True), PIXELS, 0),
        "WebP, transparent": (
            file(both, "WEBP", lossless=True, exact=True), on_white(PIXELS, ALPHA), 1,
        ),
        "WebP with another profile": (
            file(PIXELS, "WEBP", lossless=True, **swapped), PIXELS[..., ::-1], 3,
        ),
    }  # fmt: skip
    for depth in (1, 2, 4, 8, 16):
        most = 2**depth - 1
        samples = (X + Y * 3) * 1009 % (most + 1)
        seen = rgb((samples * 255 / most).round())
        clear = int(samples[0, 0])
        found[f"PNG, grey of {depth} bits"] = (png(depth, 0, packed(samples, depth)), seen, 0)
        found[f"PNG, grey of {depth} bits, one value clear"] = (
            png(depth, 0, packed(samples, depth), struct.pack(">H", clear)),
            on_white(seen, np.where(samples == clear, 0, 255)), 0,
        )  # fmt: skip
    for depth in (2, 4, 8):
        found[f"PNG, palette of {depth} bits with alphas"] = (
            png(depth, 3, packed(FEW, depth), alphas, COLOURS.tobytes()),
            on_white(seen_flat, alpha_flat), 1,
        )  # fmt: skip
    for orientation, turn in TURNS.items():
        exif = turned(orientation)
        found[f"PNG, EXIF {orientation}"] = (file(PIXELS, "PNG", exif=exif), turn(PIXELS), 0)
        found[f"JPEG, EXIF {orientation}"] = (
            file(PIXELS, "JPEG", quality=98, subsampling=0, exif=exif), turn(PIXELS), 8,
        )  # fmt: skip
    return found


KINDS = kinds()


@pytest.mark.parametrize("name", KINDS)
def test_it_looks_as_a_person_sees_it(name: str):
    data, expected, tolerance = KINDS[name]
    seen = np.asarray(decode(data, 1_000_000)).astype(int)
    assert seen.shape == expected.shape
    assert np.abs(seen - expected).max() <= tolerance


@pytest.mark.parametrize("name", KINDS)
def test_it_is_stored_as_it_is_seen(name: str):
    """In shards of ours, whose readers turn nothing and know no profiles."""
    data, _, _ = KINDS[name]
    picture = decode(data, 1_000_000)
    _, stored = storable(data, picture.format)
    assert decode_stored(stored).tobytes() == picture.tobytes()


def test_there_are_enough_kinds():
    assert len(KINDS) >= 40
