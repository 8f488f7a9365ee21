"""Where things lie in a tar file, found without unpacking it and without trusting it.

Only headers are read, so members of one sample may lie far apart, and a file may end anywhere:
what came before the break is still found. Nothing is ever written to disk.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

UNREADABLE = (tarfile.ReadError, ValueError)
"""What tarfile raises; the latter for an extended header whose numbers are none."""


@dataclass(frozen=True)
class Extent:
    """`size` bytes of the file `path`, from `offset` on."""

    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


@dataclass(frozen=True)
class Member:
    """A file in a tar; `extent` is None where the member is unsafe: a name that leads out of the
    folder, a link, a device."""

    name: str
    extent: Extent | None


@dataclass(frozen=True)
class TarIndex:
    """The complete members of a tar in their order, and what is wrong with the tar itself."""

    members: tuple[Member, ...]
    fault: str | None = None
    """None, `not_a_tar` or `truncated_shard`."""
    broken: str | None = None
    """Name of the member in which a truncated tar ends, where that is known."""


def index_tar(path: Path) -> TarIndex:
    """The members of the uncompressed tar at `path`, in their order."""
    try:
        with tarfile.open(path, "r:") as tar:
            return _index(tar, path)
    except UNREADABLE:
        return TarIndex((), "not_a_tar")


def safe_name(name: str) -> bool:
    """Whether the path `name` stays inside the folder it is relative to."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _index(tar: tarfile.TarFile, path: Path) -> TarIndex:
    size = path.stat().st_size
    members: list[Member] = []
    try:
        for info in tar:
            # A negative size would send tarfile backwards, for ever (CVE-2025-8194).
            if info.size < 0 or info.offset_data + info.size > size:
                return TarIndex(tuple(members), "truncated_shard", info.name)
            if not (info.isdir() and safe_name(info.name)):
                members.append(Member(info.name, _extent(path, info)))
    except UNREADABLE:
        return TarIndex(tuple(members), "truncated_shard")
    # tarfile takes anything for the end, be it garbage or nothing at all.
    mark = Extent(path, tar.offset, tarfile.BLOCKSIZE).read()
    whole = mark == bytes(tarfile.BLOCKSIZE)
    return TarIndex(tuple(members), None if whole else "truncated_shard")


def _extent(path: Path, info: tarfile.TarInfo) -> Extent | None:
    plain = info.isreg() and not info.issparse()
    return Extent(path, info.offset_data, info.size) if plain and safe_name(info.name) else None
