"""Files and folders that are whole or not there, whenever a process or the machine stops.

All that is kept is written here: beside its place, then to the disk, and then renamed. So nobody
ever reads half a file. `tests/test_whole_files.py` looks for what is written otherwise.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LONGEST = 200
"""Bytes of a name that are kept in the name of its unfinished file; a system allows 255."""


def read_text(path: Path) -> str:
    """The text of a UTF-8 file as it is, without a byte order mark.

    Raises ValueError, naming the file, for bytes that are no UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be UTF-8 text, got {error}") from error


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises ValueError, naming the file, for one that holds none."""
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # numbers may be too long, lists too deep
        raise ValueError(f"{path} must be JSON, got {error}") from error


def write_text(path: Path, text: str, shared: bool = False) -> None:
    """Write a text in UTF-8, with the line ends that it has, in place of what is there.

    Raises OSError, naming the file, where it can't be written; what was there stays.
    """
    try:
        with replacing(path, shared) as part:
            part.write_bytes(text.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def replacing(path: Path, shared: bool = False) -> Iterator[Path]:
    """Within it, the name of a file to write, which afterwards takes the place of `path`.

    The folder of `path` is made. An error within leaves what was there. A link is itself replaced,
    not what it points at, which may be a file of DVC's cache. With `shared`, several processes and
    threads may write the file at once, and the last one stays; the unfinished file of one that was
    killed is then left over, where it is otherwise overwritten the next time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = unfinished(path, f"{threading.get_native_id()}." if shared else "")
    try:
        yield part
        settle(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path, marker: str | None = None) -> Iterator[Path]:
    """Within it, an empty folder beside `path`, which afterwards takes the place of `path`.

    All that was there is removed; an error within leaves it. With `marker`, raises ValueError for
    a folder of others, as `require_ours` does. A link to a folder stays one.
    """
    if marker is not None:
        require_ours(path, marker)
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = unfinished(path)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        yield part
        for file in part.rglob("*"):
            if file.is_file():
                to_disk(file)
        if path.exists():
            old = part.with_suffix(".old")
            shutil.rmtree(old, ignore_errors=True)
            path.rename(old)
            part.rename(path)
            shutil.rmtree(old)
        else:
            part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def require_ours(path: Path, marker: str) -> None:
    """Raises ValueError where something is at `path` that may not be replaced.

    A folder may be if it is empty, or has the file `marker`, which ours have.
    """
    if path.is_dir() and ((path / marker).is_file() or not any(path.iterdir())):
        return
    if path.exists():
        raise ValueError(f"{path} must be new, empty or a folder with {marker}, and is none of it")


def unfinished(path: Path, writer: str = "") -> Path:
    """A name beside `path` that no pattern for the files there finds."""
    name = path.name.encode()[-LONGEST:].decode(errors="ignore")
    return path.with_name(f".{name}.{writer}part")


def settle(part: Path, path: Path) -> None:
    """Put a file that is written in the place of `path`, once it is on the disk."""
    to_disk(part)
    part.replace(path)


def to_disk(path: Path) -> None:
    """Wait until a file is on the disk: a rename may get there before what was written."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
