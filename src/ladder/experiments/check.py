"""`ladder check`: is all that a run read and wrote as it was recorded?

Everything is read again, so one changed bit is found, where DVC and file systems trust times:

dvc.lock               every output of the main job and of the studies: raw, curated and encoded
                       data, foundations, ladders, curves, results (MD5, as DVC counts it)
.dvc/cache             files are named by their MD5
data/encoded           its manifest (xxh3)
config.json of ladders the MLLM that each was trained with (SHA-256)

What isn't there isn't checked. Where a folder holds other files than were recorded, it was made
anew since: it is named, and is no fault.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from tqdm import tqdm

from ladder.config.files import read_json
from ladder.data.training import encoded
from ladder.models.ladder import CONFIG
from ladder.models.reference import Reference

LOCKS = ("dvc.lock", "experiments/dvc.lock")
CACHE = Path(".dvc/cache/files/md5")
ENCODED = Path("data/encoded")
LADDERS = (f"models/*/ladder/{CONFIG}", f"runs/*/*/ladder/{CONFIG}")


@dataclass
class Checked:
    """What was found."""

    files: int = 0
    """Files that were read."""
    faults: list[str] = field(default_factory=list)
    """A sentence for each."""
    anew: list[str] = field(default_factory=list)
    """Outputs that were made anew since they were recorded."""
    absent: list[str] = field(default_factory=list)
    """Recorded outputs that aren't on this machine."""

    def __str__(self) -> str:
        lines = [
            *self.faults,
            *(f"{path}: made anew since it was recorded, so not compared" for path in self.anew),
            *(f"{path}: not here" for path in self.absent),
            f"{self.files} files were read, {len(self.faults)} faults found",
        ]
        return "\n".join(lines)


def check(root: Path) -> Checked:
    """Compare all that is in the repository `root` with its records."""
    found = Checked()
    hashes = Hashes()
    with hashes.bar:
        for path, record in outputs(root):
            _check_output(root, path, record, hashes, found)
        for path in sorted((root / CACHE).glob("*/*")):
            if hashes.of(path) != path.parent.name + path.name.removesuffix(".dir"):
                found.faults.append(f"{path.relative_to(root)} must have its name as its MD5")
        found.files = hashes.files
    if (root / ENCODED / encoded.MANIFEST).is_file():
        _noted(found, ENCODED, lambda: encoded.check(root / ENCODED))
    for path in sorted(file for pattern in LADDERS for file in root.glob(pattern)):
        _check_ladder(root, path, found)
    return found


class Hashes:
    """The MD5 of files, each read once, though several paths may lead to it."""

    def __init__(self) -> None:
        self.files = 0
        self.bar = tqdm(desc="check", unit="B", unit_scale=True, disable=None)
        self._known: dict[tuple[int, int], str] = {}

    def of(self, path: Path) -> str:
        """MD5 of a file."""
        state = path.stat()
        place = state.st_dev, state.st_ino
        if place not in self._known:
            with path.open("rb") as file:
                self._known[place] = hashlib.file_digest(file, "md5").hexdigest()
            self.files += 1
            self.bar.update(state.st_size)
        return self._known[place]


def outputs(root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The path and the record of every output in the locks of DVC.

    Raises ValueError for a lock that can't be read.
    """
    for name in LOCKS:
        if not (root / name).is_file():
            continue
        try:
            stages = YAML(typ="safe", pure=True).load(root / name)["stages"]
            outs = [out for stage in stages.values() for out in stage.get("outs", ())]
            yield from (((root / name).parent / out["path"], out) for out in outs)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{root / name} must be a lock of DVC, got {error!r}") from error


def _check_output(
    root: Path, path: Path, record: dict[str, Any], hashes: Hashes, found: Checked
) -> None:
    name, expected = str(path.relative_to(root)), record["md5"]
    if not path.exists():
        found.absent.append(name)
    elif path.is_file():
        if hashes.of(path) != expected:
            found.faults.append(f"{name} must have the MD5 {expected}, got {hashes.of(path)}")
    else:
        now = {file.relative_to(path).as_posix(): hashes.of(file) for file in files_in(path)}
        if folder_hash(now) == expected:
            return
        before = _listing(root, expected)
        same_names = now.keys() == before.keys() if before else len(now) == record["nfiles"]
        if not same_names:
            found.anew.append(name)
            return
        changed = [file for file in now if before and now[file] != before[file]]
        places = [f"{name}/{file}" for file in changed] or [f"a file of {name}"]
        found.faults += [f"{place} isn't what was recorded of it" for place in places]


def files_in(folder: Path) -> list[Path]:
    """All files below a folder."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def folder_hash(files: dict[str, str]) -> str:
    """What DVC calls the hash of a folder: that of the list of its files and their hashes."""
    listed = [{"md5": files[name], "relpath": name} for name in sorted(files)]
    text = json.dumps(listed, sort_keys=True).encode()
    return hashlib.md5(text, usedforsecurity=False).hexdigest() + ".dir"


def _listing(root: Path, expected: str) -> dict[str, str]:
    """The files of a folder with their hashes, from DVC's cache; none where that lacks them."""
    path = root / CACHE / expected[:2] / expected[2:]
    try:
        listed = json.loads(path.read_bytes())
        listing = {one["relpath"]: one["md5"] for one in listed}
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return {}
    return listing if folder_hash(listing) == expected else {}


def _check_ladder(root: Path, path: Path, found: Checked) -> None:
    """The MLLM of a ladder, where it is a folder: one of the hub isn't fetched for this."""

    def read() -> None:
        mllm = read_json(path)["mllm"]
        if mllm["revision"] is None:
            Reference.read(mllm, path.parent)

    _noted(found, path.parent.relative_to(root), read)


def _noted(found: Checked, place: Path, read: Callable[[], object]) -> None:
    """Note it as a fault where `read` refuses what is at `place`."""
    try:
        read()
    except (OSError, ValueError, KeyError, TypeError) as error:
        found.faults.append(f"{place}: {type(error).__name__}: {error}")
