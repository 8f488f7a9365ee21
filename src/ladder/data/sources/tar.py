"""Where things lie in a tar file, found without unpacking it and without trusting it.

Only headers are read, so members of one sample may lie far apart, and a file may end anywhere:
what came before the break is still found. Several tars one after the other are read as one. A tar
in gzip (.tar.gz, .tgz) is unpacked into a file without a name that ends with the process, since
nothing in it can be found by its place.
"""

from __future__ import annotations

import gzip
import os
import re
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast

from ladder.data.images import BadSampleError, refused_as

RECORD = 10_240
"""Bytes to a multiple of which tars are padded with zeros (tar's blocking factor of 20)."""
PIECE = 2**20
"""Bytes that are read at once."""
PLAIN_HEADER = re.compile(
    rb"(?=(?P<name>[^\0]{1,99})\0).{100}"
    rb"(?:[0-7]{6}[0-7 ]\0){3}(?P<size>[0-7]{11})[\0 ][0-7]{11}[\0 ](?P<sum>[0-7]{6})[\0 ]{2}"
    rb"0.{172}(?:[0-7]{6}[0-7 ]\0|\0{8}){2}\0.{166}", re.DOTALL
)  # fmt: skip
"""The header of a plain file as tar, bsdtar and Python write it (POSIX.1-1988, ustar): a name of
less than 100 bytes, mode, owner, size, time, checksum, kind, owner's names and devices."""
UNPACKED_BYTES, UNPACKED_RATIO = 2**30, 100
"""A gzip file is unpacked up to the first, or up to so many times its own size if that is more."""


@dataclass(frozen=True)
class Extent:
    """`size` bytes of the file `path`, from `offset`; of a tar in gzip: of its unpacked bytes."""

    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        """Raises BadSampleError: `unreadable` (the file is gone, or its disk fails)."""
        with refused_as("unreadable"), _opened(self.path) as file:
            return os.pread(file, self.size, self.offset)


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
    """The members of the tar at `path`, in their order; whatever it holds is no error."""
    try:
        with refused_as("not_a_tar"), _opened(path) as file:
            index = _index(_File(file), path)
            if index.fault is None and is_gzip(path) and not _unpacked(path, _state(path)).whole:
                return TarIndex(index.members, "truncated_shard")
            return index
    except BadSampleError as fault:
        return TarIndex((), fault.reason)


def is_gzip(path: Path) -> bool:
    """Whether `path` is named as a tar in gzip."""
    return path.name.lower().endswith((".tar.gz", ".tgz"))


def safe_name(name: str) -> bool:
    """Whether the path `name` stays inside the folder it is relative to."""
    return not name.startswith("/") and ".." not in name.split("/") and "\0" not in name


class _File:
    """A file with a place of its own, of which no more is asked for than there is.

    tarfile asks for as many bytes as a header claims, and Python would make room for them.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        self.place = 0

    def read(self, size: int = -1) -> bytes:
        left = max(0, self.size - self.place)
        data = os.pread(self.descriptor, left if size < 0 else min(size, left), self.place)
        self.place += len(data)
        return data

    def seek(self, place: int) -> int:
        self.place = place
        return place

    def tell(self) -> int:
        return self.place


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A descriptor of the file, or of what it unpacks to."""
    if is_gzip(path):
        yield _unpacked(path, _state(path)).file.fileno()
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class _Unpacked:
    file: BinaryIO
    whole: bool


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


@lru_cache(maxsize=2)
def _unpacked(path: Path, state: tuple[int, int]) -> _Unpacked:
    """What the gzip file `path` unpacks to, as far as it goes; `state` tells a changed file."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 -- it stays open as long as it is in the cache
    left = max(UNPACKED_BYTES, UNPACKED_RATIO * state[0])
    try:
        with refused_as("truncated_shard"), gzip.open(path) as packed:
            while left > 0 and (piece := packed.read1(PIECE)):
                file.write(piece)
                left -= len(piece)
    except BadSampleError:
        left = 0
    file.flush()
    return _Unpacked(file, whole=left > 0)


def _index(file: _File, path: Path) -> TarIndex:
    """The members of all tars in `file`. Raises BadSampleError (`not_a_tar`) where the first is
    none."""
    members: list[Member] = []
    start, fault = 0, None
    while start < file.size or start == 0:
        known = len(members)
        end, name = _read(file, _read_plain(file, start, path, members), path, members)
        if end is None or (start and len(members) == known):
            return TarIndex(tuple(members), "truncated_shard", name)
        # tarfile takes anything for the end, be it garbage or nothing at all.
        start = _first_not_zero(file, end)
        padding = -(-(end + 2 * tarfile.BLOCKSIZE) // RECORD) * RECORD
        if start < min(end + tarfile.BLOCKSIZE, file.size + 1) or start > padding:
            fault = "truncated_shard"
        if start < end + tarfile.BLOCKSIZE:
            break
    return TarIndex(tuple(members), fault)


def _read_plain(file: _File, start: int, path: Path, members: list[Member]) -> int:
    """Add the members from `start` on as far as their headers are plain, as most are; returns where
    the first other one lies. tarfile takes several times as long for the same."""
    while True:
        file.seek(start)
        block = file.read(tarfile.BLOCKSIZE)
        fields = PLAIN_HEADER.fullmatch(block)
        if fields is None or sum(block) - sum(block[148:156]) + 8 * ord(" ") != int(
            fields["sum"], 8
        ):
            return start
        first, size = start + tarfile.BLOCKSIZE, int(fields["size"], 8)
        if first + size > file.size:
            return start
        name = fields["name"].decode("utf-8", "surrogateescape")
        members.append(Member(name, Extent(path, first, size) if safe_name(name) else None))
        start = first + -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _read(
    file: _File, start: int, path: Path, members: list[Member]
) -> tuple[int | None, str | None]:
    """Add the members from `start` to the end of a tar; returns where it ends. If it breaks off,
    there is no such place, but perhaps the name of what it breaks off in.

    Raises BadSampleError (`not_a_tar`) where a file begins with no header.
    """
    begun = start > 0
    file.seek(start)
    try:
        with (
            refused_as("truncated_shard"),
            tarfile.open(fileobj=cast(BinaryIO, file), mode="r:") as tar,
        ):
            begun = True
            for info in tar:
                # A negative size would send tarfile backwards, for ever (CVE-2025-8194).
                if info.size < 0 or info.offset_data + info.size > file.size:
                    return None, info.name
                if not (info.isdir() and safe_name(info.name)):
                    members.append(Member(info.name, _extent(path, info)))
            return tar.offset, None
    except BadSampleError:
        if not begun:
            raise BadSampleError("not_a_tar") from None
        return None, None


def _first_not_zero(file: _File, start: int) -> int:
    """The first block from `start` that is not all zero; the file's size where there is none."""
    file.seek(start)
    while piece := file.read(PIECE):
        if rest := piece.lstrip(b"\0"):
            place = file.tell() - len(rest)
            return place - (place - start) % tarfile.BLOCKSIZE
    return file.size


def _extent(path: Path, info: tarfile.TarInfo) -> Extent | None:
    plain = info.isreg() and not info.issparse()
    return Extent(path, info.offset_data, info.size) if plain and safe_name(info.name) else None
