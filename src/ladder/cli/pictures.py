"""Where the picture of a command is written: never half, and never over what must not be lost."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ladder.config.files import replacing

if TYPE_CHECKING:
    from PIL import Image

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""Of the pictures that are written, by the end of their names."""


def check_output(path: Path) -> None:
    """Refuse a name under which no picture can be written, before any is drawn.

    Raises ValueError for the end of a name, and OSError for what is there already and is no
    writable file, and for a folder that is missing or can't be written to.
    """
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"a picture's name must end in {', '.join(FORMATS)}, got {path}")
    check_replaced(path)
    target = path.resolve()
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(path.parent))
    if not os.access(target.parent, os.W_OK):
        raise PermissionError(errno.EACCES, "read-only, so nothing is written", str(path.parent))


def check_replaced(path: Path) -> Path:
    """Refuse a name where something is that must not be replaced; returns what a link points at.

    Raises OSError for a folder, a pipe or device, and a read-only file.
    """
    target = path.resolve()
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a folder, and no file", str(path))
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "a pipe or device, and no file", str(path))
    # The administrator may write everywhere, but "read-only" was said by somebody.
    if target.exists() and not (target.stat().st_mode & 0o222 and os.access(target, os.W_OK)):
        raise PermissionError(errno.EACCES, "read-only, and so not replaced", str(path))
    return target


def write(picture: Image.Image, path: Path, said: Mapping[str, str]) -> None:
    """Write a picture whole or not at all; where `path` is a link, to what it points at.

    A PNG also gets what is `said` of it, as text chunks.
    """
    from PIL.PngImagePlugin import PngInfo

    kind, info = FORMATS[path.suffix.lower()], PngInfo()
    for key, text in said.items():
        info.add_text(key, text)
    with replacing(path.resolve(), shared=True) as part:
        picture.save(part, kind, **({"pnginfo": info} if kind == "PNG" else {}))
