"""The pictures of a raw set by their paths: members of its tars, and files."""

from __future__ import annotations

import posixpath
from functools import lru_cache
from pathlib import Path

from ladder.data.sources.record import Rejected, printable
from ladder.data.sources.tar import Extent, index_tar


class Pictures:
    """Finds the pictures that lists and tables name; `faults` is what is wrong with the tars."""

    def __init__(self, folder: Path, tars: tuple[Path, ...], files: tuple[Path, ...]) -> None:
        self.folder = folder
        self.faults: list[Rejected] = []
        self._members: dict[str, Extent] = {}
        self._within: set[str] = set()
        for path in tars:
            self._collect(path)
        self._files: dict[str, Path | None] = {}
        for path in files:
            self._files[path.name] = None if path.name in self._files else path

    def find(self, path: str) -> Extent | None:
        """The picture at `path` of the set's folder, or None.

        A tar may stand in for its folder, or for the folder of its name. A name without a folder
        may lie in any, if there is one such file only (COCO names no folders).
        """
        if path in self._members:
            return self._members[path]
        for folder in self._within:
            if path.startswith(folder) and path[len(folder) :] in self._members:
                return self._members[path[len(folder) :]]
        try:
            file = self.folder / path
            if not file.is_file():
                file = self._files.get(path)
            return file and Extent(file, 0, file.stat().st_size)
        except OSError:  # a name that is too long for the disk, a folder that may not be read
            return None

    def _collect(self, path: Path) -> None:
        shard = path.relative_to(self.folder).as_posix()
        stem = shard.partition(".")[0]
        self._within |= {stem + "/", *([f"{posixpath.dirname(shard)}/"] if "/" in shard else [])}
        index = index_tar(path)
        if index.fault:
            self.faults.append(Rejected("", shard, index.fault))
        for member in index.members:
            name = posixpath.normpath(member.name)
            if member.extent is None:
                self.faults.append(Rejected(printable(member.name), shard, "unsafe_member"))
            elif name in self._members:
                self.faults.append(Rejected(printable(name), shard, "duplicate_key"))
            else:
                self._members[name] = member.extent


def pictures_of(folder: Path, tars: tuple[Path, ...], files: tuple[Path, ...]) -> Pictures:
    """The pictures of a set; they are listed once in a process while the tars stay."""
    state = tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in tars)
    return _pictures(folder, state, files)


@lru_cache(maxsize=2)
def _pictures(folder: Path, state: tuple, files: tuple[Path, ...]) -> Pictures:
    return Pictures(folder, tuple(path for path, *_ in state), files)
