"""A strange picture is edited as its plain equivalent, or refused by name."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from tests.tiny import tiny_picture

from ladder.cli import main
from ladder.inference.pipeline import LadderPipeline

PLAIN = tiny_picture(0)
GREY = PLAIN.convert("L")
TURNED = Image.Exif()
TURNED[0x0112] = 6  # to be turned by a quarter, clockwise


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def half_clear() -> tuple[bytes, Image.Image]:
    """A palette picture with alpha of 0 in its left half, and how it looks on white paper."""
    flat = PLAIN.quantize(200)
    flat.info.clear()
    pixels = np.asarray(flat).copy()
    pixels[:, :16] = 255
    clear = Image.fromarray(pixels, "P")
    clear.putpalette((flat.getpalette() + [0] * 768)[:768])
    seen = flat.convert("RGB")
    seen.paste("white", (0, 0, 16, 32))
    return saved(clear, transparency=255), seen


def bomb(side: int) -> bytes:
    """A PNG of side x side black pixels, of one bit each, in some kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = zlib.compress(bytes((side // 8 + 1) * side), 1)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def comment_bomb() -> bytes:
    """A small picture with a comment that unpacks to 80 MB."""
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * 80_000_000, zip=True)
    return saved(PLAIN, pnginfo=info)


def equals() -> dict[str, tuple[bytes, Image.Image]]:
    """Files, and the plain picture that each must be taken for."""
    cmyk = PLAIN.convert("CMYK")
    return {
        "one pixel": (saved(PLAIN.crop((0, 0, 1, 1))), PLAIN.crop((0, 0, 1, 1))),
        "CMYK": (saved(cmyk, "JPEG"), Image.open(io.BytesIO(saved(cmyk, "JPEG"))).convert("RGB")),
        "16 bits": (
            saved(Image.fromarray(np.asarray(GREY).astype(np.uint16) * 257)),
            GREY.convert("RGB"),
        ),
        "palette with alpha": half_clear(),
        "on its side": (
            saved(PLAIN.transpose(Image.Transpose.ROTATE_90), exif=TURNED), PLAIN,
        ),
        "profile and comments": (saved(PLAIN, icc_profile=b"none", dpi=(1, 1)), PLAIN),
        "another format than it is named for": (saved(PLAIN, "WEBP", lossless=True), PLAIN),
        "trailing rubbish": (saved(PLAIN) + b"<?php ?>", PLAIN),
    }  # fmt: skip


REFUSED = {
    "20,000 x 1": (lambda: saved(PLAIN.resize((20_000, 1))), "aspect ratio must be smaller than"),
    "animated": (
        lambda: saved(PLAIN, save_all=True, append_images=[tiny_picture(1)]),
        "(animated)",
    ),
    "truncated": (lambda: saved(PLAIN)[:-40], "(undecodable)"),
    "a bomb": (lambda: bomb(20_000), "(too_large)"),
    "a bomb of a size that Pillow allows": (lambda: bomb(9_000), "(too_large)"),
    "a comment that is a bomb": (comment_bomb, "(undecodable)"),
    "SVG": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>', "(undecodable)"),
    "PostScript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "(undecodable)"),
    "GIF": (lambda: saved(PLAIN, "GIF"), "(undecodable)"),
}
"""What makes each file, and the reason it is refused for."""


@pytest.fixture(autouse=True)
def _opened(pipeline: LadderPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ladder is opened once for all."""
    monkeypatch.setattr("ladder.inference.open.open_ladder", lambda *_: pipeline)


@pytest.mark.parametrize("name", equals())
def test_it_is_edited_as_its_plain_equivalent(name: str, tmp_path: Path):
    data, plain = equals()[name]
    (tmp_path / "strange.png").write_bytes(data)
    plain.save(tmp_path / "plain.png")
    for source in ("strange", "plain"):
        files = [str(tmp_path / f"{source}{end}.png") for end in ("", "-edited")]
        assert main.main(["edit", files[0], "make it red", "--steps", "1", "-o", files[1]]) == 0
    strange, plain = (Image.open(tmp_path / f"{x}-edited.png") for x in ("strange", "plain"))
    assert strange.tobytes() == plain.tobytes()


@pytest.mark.parametrize("verb", ["edit", "ask"])
@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_by_name(name: str, verb: str, tmp_path: Path, refused: Callable[..., str]):
    make, reason = REFUSED[name]
    (tmp_path / "strange.png").write_bytes(make())
    assert reason in refused(verb, "strange.png", "make it red")
