"""Files that libraries don't write: pictures of odd kinds, tars that were changed."""

from __future__ import annotations

import struct
import zlib

from PIL import ImageCms


def png(
    depth: int,
    colour: int,
    rows: list[bytes],
    clear: bytes | None = None,
    palette: bytes | None = None,
) -> bytes:
    """A PNG of the given bit depth and colour type, written by hand: `rows` without filter bytes,
    `clear` the transparent colour in samples of that depth, each in two bytes; with a `palette`,
    the alpha of its colours."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    width = len(rows[0]) * 8 // (depth * samples)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    colours = b"" if palette is None else chunk(b"PLTE", palette)
    transparent = b"" if clear is None else chunk(b"tRNS", clear)
    return b"\x89PNG\r\n\x1a\n" + header + colours + transparent + pixels + chunk(b"IEND", b"")


def swapped_profile() -> bytes:
    """sRGB's profile with red and blue exchanged: whoever applies it sees the other colour."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    places = {}
    for number in range(struct.unpack(">I", profile[128:132])[0]):
        start = 132 + 12 * number
        places[bytes(profile[start : start + 4])] = struct.unpack(
            ">I", profile[start + 4 : start + 8]
        )[0]
    red, blue = places[b"rXYZ"], places[b"bXYZ"]
    profile[red : red + 20], profile[blue : blue + 20] = (
        profile[blue : blue + 20], profile[red : red + 20],
    )  # fmt: skip
    return bytes(profile)


def with_sums_of_tar(data: bytes) -> bytes:
    """`data` with the checksums of all that looks like a header in a tar put right."""
    held = bytearray(data)
    for place in range(0, len(held) - 511, 512):
        if held[place + 257 : place + 262] == b"ustar":
            held[place + 148 : place + 156] = b" " * 8
            total = sum(held[place : place + 512])
            held[place + 148 : place + 156] = b"%06o\0 " % total
    return bytes(held)
