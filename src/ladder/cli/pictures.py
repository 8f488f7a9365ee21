"""Where the picture of a command is written: never half, and never over what must not be lost."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

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
    target = path.resolve()
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a folder, and no picture", str(path))
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "a pipe or device, and no picture", str(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(path.parent))
    # The administrator may write everywhere, but "read-only" was said by somebody.
    readonly = target.exists() and not target.stat().st_mode & 0o222
    if readonly or not os.access(target if target.exists() else target.parent, os.W_OK):
        raise PermissionError(errno.EACCES, "read-only, and so not replaced", str(path))


def write(picture: Image.Image, path: Path) -> None:
    """Write a picture whole or not at all; where `path` is a link, to what it points at."""
    target = path.resolve()
    part = target.with_name(f".{target.name}.part")
    try:
        picture.save(part, FORMATS[path.suffix.lower()])
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
