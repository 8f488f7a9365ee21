"""Raw sets that lie elsewhere: on the Hugging Face hub, in a bucket, wherever fsspec reaches.

Adapters jump about in files, so a set is brought here first, file by file, each as a whole or not
at all. A rerun brings only what is new or has changed, and what is gone there goes here.
"""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import fsspec
import xxhash
from fsspec import AbstractFileSystem
from tqdm import tqdm

from ladder.config.files import write_text
from ladder.config.lock import locked
from ladder.data.sources.tar import safe_name

STATE = ".brought.json"
"""What each file was when it was brought; hidden, so that no adapter takes it for data."""


def is_remote(place: str) -> bool:
    """Whether `place` is a URL, such as hf://datasets/OWNER/NAME, and no path."""
    return re.match(r"[a-z][a-z0-9+.-]*://", place) is not None


def bring(url: str, folder: Path) -> Path:
    """Copy the files below `url` into `folder`; returns `folder`.

    Raises ValueError for a protocol that nothing is installed for, which names what to install, and
    for a place without files or with names that lead out of the folder.
    """
    system, root = _opened(url)
    found = system.find(root, detail=True)
    names = {path: path.removeprefix(root).lstrip("/") or Path(path).name for path in found}
    if not found:
        raise ValueError(f"{url} must be a folder with files, and has none")
    if unsafe := [name for name in names.values() if not safe_name(name)]:
        raise ValueError(f"files of {url} must stay in their folder, got {unsafe[0]}")
    folder.mkdir(parents=True, exist_ok=True)
    states = {names[path]: _state(info) for path, info in found.items()}
    state = folder / STATE
    before = json.loads(state.read_text()) if state.is_file() else {}
    for name in before.keys() - states.keys():
        (folder / name).unlink(missing_ok=True)
    known = {name: held for name, held in before.items() if states.get(name) == held}
    new = [path for path, name in names.items()
           if name not in known or not (folder / name).is_file()]  # fmt: skip
    for path in tqdm(new, desc=f"bring {url}", unit="file", disable=None):
        local = folder / names[path]
        local.parent.mkdir(parents=True, exist_ok=True)
        unfinished = local.with_name(f".{local.name}.unfinished")
        system.get_file(path, str(unfinished))
        unfinished.replace(local)
        known[names[path]] = states[names[path]]
        write_text(state, json.dumps(known))
    write_text(state, json.dumps(known))
    return folder


def near(place: str, folder: Path) -> Path:
    """The folder `place`, or, of a URL, `folder` with what lies there.

    Of several processes on a machine one brings it, the others wait. Raises what `bring` does.
    """
    if not is_remote(place):
        return Path(place)
    with locked(folder.with_name(f"{folder.name}.lock"), wait=True):
        return bring(place, folder)


def gather(places: Mapping[str, str], folder: Path) -> Path:
    """A folder with a raw set for each of `places`, paths and URLs by the names of the sets.

    Raises what `bring` does, and NotADirectoryError for a path that is no folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.is_symlink():
            path.unlink()
        elif not is_remote(places.get(path.name, "")):
            shutil.rmtree(path)
    for name, place in places.items():
        if is_remote(place):
            bring(place, folder / name)
        elif Path(place).is_dir():
            (folder / name).symlink_to(place)
        else:
            raise NotADirectoryError(errno.ENOTDIR, "a raw set must be a folder", place)
    return folder


def _opened(url: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a URL, and the path there."""
    try:
        return fsspec.url_to_fs(url)
    except ImportError as error:
        protocol = url.partition("://")[0]
        raise ValueError(
            f"{url}: what reads {protocol}:// must be installed here; {error}"
        ) from error


def _state(info: dict) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(info, sort_keys=True, default=str).encode())
