"""Our sample and the shards it is kept in: webdataset tars that any webdataset reader understands.

A sample is `KEY.target.EXT`, `KEY.source0.EXT` .. (png, jpg or webp, each RGB and upright) and
`KEY.json` (captions, truth). KEY is the sample's key with dots and slashes escaped, since
webdataset ends a key at its first dot. The same samples give the same bytes: members have no time
and no owner, and keep the order of writing.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import BinaryIO, TypeVar
from urllib.parse import quote

from PIL import Image

from ladder.config.files import replacing
from ladder.data.sources.tar import Member, index_tar

T = TypeVar("T")

EMPTY_HEADER = tarfile.TarInfo().tobuf(tarfile.PAX_FORMAT)
EMPTY_HEADER = EMPTY_HEADER[:148] + b" " * 8 + EMPTY_HEADER[156:]
"""Of a file without a name and of no size, with spaces for the checksum (POSIX.1-1988, ustar)."""
EMPTY_SUM = sum(EMPTY_HEADER)
SPLITS = ("train", "evaluation")
"""The folders of shards of a curated set."""


@dataclass(frozen=True)
class Sample:
    """A picture with what is said of it; with `sources` it is an edit of those pictures."""

    key: str
    captions: tuple[str, ...]
    """True captions (or instructions), at least one; training draws one of them at every step."""
    target: Image.Image
    sources: tuple[Image.Image, ...] = ()
    truth: dict | None = None
    """What is known of the picture, in JSON's types; the toy world keeps its scenes here."""


@dataclass(frozen=True)
class Packed:
    """A sample whose pictures are files: pairs of their extension and bytes."""

    key: str
    captions: tuple[str, ...]
    target: tuple[str, bytes]
    sources: tuple[tuple[str, bytes], ...] = ()
    truth: dict | None = None

    @property
    def pictures(self) -> tuple[tuple[str, bytes], ...]:
        """The target and the sources."""
        return self.target, *self.sources


def write_shard(samples: Iterable[Packed], path: Path) -> int:
    """Writes one shard, which is there as a whole or not at all; returns how many samples it has.

    Errors: a sample without a caption.
    """
    written = 0
    with replacing(path) as part, part.open("wb") as tar:
        for sample in samples:
            if not sample.captions:
                raise ValueError(f"sample {sample.key} needs at least one caption")
            stem = quote(sample.key, safe="").replace(".", "%2E")
            names = ["target", *(f"source{number}" for number in range(len(sample.sources)))]
            for name, (kind, data) in zip(names, (sample.target, *sample.sources), strict=True):
                _add(tar, f"{stem}.{name}.{kind}", data)
            facts = {"key": sample.key, "captions": sample.captions, "truth": sample.truth}
            _add(tar, f"{stem}.json", json.dumps(facts).encode())
            written += 1
        tar.write(bytes(2 * tarfile.BLOCKSIZE))
        tar.write(bytes(-tar.tell() % tarfile.RECORDSIZE))
    return written


def _add(tar: BinaryIO, name: str, data: bytes) -> None:
    tar.write(header(name, len(data)))
    tar.write(data)
    tar.write(bytes(-len(data) % tarfile.BLOCKSIZE))


def header(name: str, size: int) -> bytes:
    """What precedes a file in a tar: time 0, no owner, mode 644.

    A plain one is filled in here, since tarfile takes as long for it as for looking at a picture.
    """
    if len(name) > tarfile.LENGTH_NAME or not name.isascii() or size >= 8**11:
        member = tarfile.TarInfo(name)
        member.size = size
        return member.tobuf(tarfile.PAX_FORMAT)
    block = bytearray(EMPTY_HEADER)
    block[: len(name)] = named = name.encode()
    block[124:135] = digits = b"%011o" % size
    block[148:155] = b"%06o\0" % (EMPTY_SUM + sum(named) + sum(digits) - 11 * ord("0"))
    return bytes(block)


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items, the last one perhaps shorter."""
    rest = iter(items)
    return iter(lambda: list(islice(rest, size)), [])


def read_packed(path: Path) -> Iterator[Packed]:
    """The samples of one shard, in the order they were written, with their pictures as files.

    Raises ValueError for a shard that is not whole.
    """
    index = index_tar(path)
    if index.fault is not None:
        raise ValueError(f"{path} must be a whole shard, but is {index.fault}")
    for _, members in groupby(index.members, lambda member: member.name.partition(".")[0]):
        yield _packed({member.name.partition(".")[2]: member for member in members})


def _packed(members: dict[str, Member]) -> Packed:
    facts = json.loads(members.pop("json").extent.read())
    pictures = {}
    for name, member in members.items():
        part, _, kind = name.partition(".")
        pictures[part] = kind, member.extent.read()
    target = pictures.pop("target")
    sources = tuple(pictures[f"source{number}"] for number in range(len(pictures)))
    return Packed(facts["key"], tuple(facts["captions"]), target, sources, facts["truth"])
