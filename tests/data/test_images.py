"""Pictures are decoded as a person sees them, or refused by name; never anything else."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from tests.data.making import png, swapped_profile
from tests.stored import decode_stored

from ladder.data.images import BadSampleError, decode, encode_png, storable

LIMIT = 1_000_000
ORANGE = (240, 140, 20)


def reason_of(data: bytes, limit: int = LIMIT) -> str | None:
    try:
        image = decode(data, limit)
    except BadSampleError as error:
        return error.reason
    assert image.mode == "RGB"
    return None


def test_plain_png_is_unchanged(picture, image_file):
    image = picture(0, (40, 24))
    assert decode(image_file(image), LIMIT) == image


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_formats(image_file, kind):
    image = decode(image_file(Image.new("RGB", (16, 16), ORANGE), kind), LIMIT)
    assert np.abs(np.asarray(image).astype(int) - ORANGE).max() < 6


def test_cmyk_keeps_its_colours(image_file):
    data = image_file(Image.new("RGB", (16, 16), ORANGE).convert("CMYK"), "JPEG", quality=95)
    assert np.abs(np.asarray(decode(data, LIMIT)).astype(int) - ORANGE).max() < 8


def test_16_bit_grey_is_scaled_not_clipped(image_file):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    image = np.asarray(decode(image_file(Image.fromarray(ramp)), LIMIT))
    expected = np.round(ramp / 257).astype(np.uint8)
    assert np.array_equal(image, np.repeat(expected[..., None], 3, axis=2))


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "RGB"])
def test_what_is_transparent_becomes_white(image_file, mode):
    """The colour under a transparent pixel, here black, must not show through."""
    image = Image.new("RGBA", (8, 4), (0, 0, 0, 0))
    image.paste((100, 100, 100, 255), (4, 0, 8, 4))
    if mode == "RGB":
        data = image_file(image.convert("RGB"), transparency=(0, 0, 0))
    elif mode == "P":
        flat = image.convert("RGB").quantize(2)
        clear = flat.getpixel((0, 0))
        data = image_file(flat, transparency=clear)
    else:
        data = image_file(image.convert(mode))
    result = decode(data, LIMIT)
    assert result.getpixel((0, 0)) == (255, 255, 255)
    assert result.getpixel((7, 3)) == (100, 100, 100)


@pytest.mark.parametrize(
    ("depth", "row", "clear"),
    [
        (1, bytes([0b10000000]), 1),
        (2, bytes([0b10000000, 0]), 2),
        (4, bytes([0xA0, 0, 0, 0]), 10),
        (8, bytes([200, 0, 0, 0]), 200),
        (16, struct.pack(">4H", 51234, 0, 0, 0), 51234),
    ],
)
def test_transparent_grey_of_every_depth(depth, row, clear):
    image = decode(png(depth, 0, [row], struct.pack(">H", clear)), LIMIT)
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert image.getpixel((1, 0)) == (0, 0, 0)
    opaque = decode(png(depth, 0, [row]), LIMIT).getpixel((0, 0))
    assert opaque == (round(clear * 255 / (2**depth - 1)),) * 3


def test_a_transparent_colour_of_16_bits():
    row = struct.pack(">6H", 0x1234, 0x5678, 0x9ABC, 0, 0, 0)
    image = decode(png(16, 2, [row], row[:6]), LIMIT)
    assert [image.getpixel((x, 0)) for x in range(2)] == [(255, 255, 255), (0, 0, 0)]


def test_a_palette_png_without_its_palette_is_undecodable():
    """Pillow raises AssertionError."""
    data = png(8, 0, [bytes(4)])
    header = struct.pack(">IIBBBBB", 4, 1, 8, 3, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header
    chunk += struct.pack(">I", zlib.crc32(b"IHDR" + header))
    assert reason_of(data[:8] + chunk + data[8 + len(chunk) :]) == "undecodable"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_colours_are_those_of_the_profile(image_file, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    data = image_file(
        Image.new("RGB", (16, 16), ORANGE), kind, icc_profile=swapped_profile(), **options
    )
    decoded = decode(data, LIMIT)
    seen = np.asarray(decoded).astype(int)
    assert np.abs(seen - ORANGE[::-1]).max() <= 8
    extension, stored = storable(data, decoded.format)
    assert extension == "png", "a reader of our shards knows no profiles"
    assert np.array_equal(np.asarray(decode_stored(stored)), seen)


def test_what_is_transparent_keeps_the_colours_of_the_profile(image_file):
    image = Image.new("RGBA", (8, 4), (*ORANGE, 0))
    image.paste((*ORANGE, 255), (4, 0, 8, 4))
    seen = decode(image_file(image, icc_profile=swapped_profile()), LIMIT)
    assert seen.getpixel((0, 0)) == (255, 255, 255)
    assert np.abs(np.subtract(seen.getpixel((7, 3)), ORANGE[::-1])).max() <= 3


@pytest.mark.parametrize("profile", ["sRGB", b"none", b"\0" * 200])
def test_other_profiles_change_nothing(picture, image_file, profile):
    if profile == "sRGB":
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = image_file(picture(0), icc_profile=profile)
    decoded = decode(data, LIMIT)
    assert decoded == picture(0)
    assert storable(data, decoded.format) == ("png", data)


def test_memory_that_runs_out_is_no_fault_of_the_picture(picture, image_file, monkeypatch):
    def full(*_, **__) -> None:
        raise MemoryError

    monkeypatch.setattr(Image, "open", full)
    with pytest.raises(MemoryError):
        decode(image_file(picture(0)), LIMIT)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey(image_file, mode):
    image = Image.new("L", (8, 8), 255).convert(mode)
    assert decode(image_file(image), LIMIT).getpixel((3, 3)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_rotation_is_applied(image_file, kind):
    image = Image.new("RGB", (32, 16), "black")
    image.paste("white", (16, 0, 32, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side: turn by 90 degrees clockwise
    result = decode(image_file(image, kind, exif=exif), LIMIT)
    assert result.size == (16, 32)
    assert min(result.getpixel((8, 28))) > 240
    assert max(result.getpixel((8, 4))) < 15


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animations_are_refused(picture, image_file, kind):
    data = image_file(picture(0), kind, save_all=True, append_images=[picture(1)])
    assert reason_of(data) == "animated"


def test_previews_in_a_camera_file_are_no_animation(picture, image_file):
    data = image_file(picture(0), "MPO", save_all=True, append_images=[picture(1)])
    assert reason_of(data) is None


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_formats_never_reach_their_decoders(picture, image_file, kind):
    assert reason_of(image_file(picture(0), kind)) == "undecodable"


@pytest.mark.parametrize(
    ("side", "limit"), [(20_000, 67_108_864), (20_000, 10**12), (9_000, 10**6)]
)
def test_gigantic_pictures_are_refused_from_the_header(side, limit):
    """The file ends after its header: decoding it at all would end in `undecodable`."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")
    assert reason_of(data, limit) == "too_large"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_truncated_files_are_undecodable(picture, image_file, kind):
    data = image_file(picture(0), kind)
    for end in range(0, len(data) - 60, 7):
        assert reason_of(data[:end]) == "undecodable", end


@given(
    kind=st.sampled_from(["PNG", "JPEG", "WEBP"]),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8),
)
@settings(max_examples=300, deadline=None)
def test_damage_is_a_picture_or_a_named_fault(picture, image_file, kind, changes):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = bytearray(image_file(picture(0), kind, exif=exif))
    for place, value in changes:
        data[place % len(data)] = value
    assert reason_of(bytes(data)) in (None, "undecodable", "too_large", "animated")


def test_png_bytes_depend_on_the_picture_alone(picture, image_file):
    once = decode(image_file(picture(3), icc_profile=b"profile", dpi=(72, 72)), LIMIT)
    assert encode_png(once) == encode_png(picture(3))
    assert decode_stored(encode_png(once)) == picture(3)


def test_only_rgb_is_stored(picture):
    with pytest.raises(ValueError, match="RGB, this one is L"):
        encode_png(picture(0).convert("L"))
