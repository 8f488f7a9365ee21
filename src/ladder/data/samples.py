"""Our sample and the shards it is kept in: webdataset tars that any webdataset reader understands.

A sample is `KEY.target.png`, `KEY.source0.png` .. and `KEY.json` (captions, truth). KEY is the
sample's key with dots and slashes escaped, since webdataset ends a key at its first dot. The same
samples give the same bytes: members have no time and no owner, and keep the order of writing.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from PIL import Image

from ladder.data.images import decode_png, encode_png
from ladder.data.tars import Member, index_tar

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


class ShardWriter:
    """Writes samples into `folder`/00000.tar, 00001.tar.. of `shard_samples` samples each.

    A context manager: shards are complete only after it is left. Errors: a folder with shards.
    """

    def __init__(self, folder: Path, shard_samples: int) -> None:
        if shard_samples < 1:
            raise ValueError(f"a shard holds at least one sample, not {shard_samples}")
        folder.mkdir(parents=True, exist_ok=True)
        if shards := sorted(path.name for path in folder.glob("*.tar")):
            raise ValueError(f"{folder} must hold no shards yet, but has {shards[0]}")
        self.folder = folder
        self.shard_samples = shard_samples
        self.samples = 0
        self._open = ExitStack()

    def write(self, sample: Sample) -> None:
        if not sample.captions:
            raise ValueError(f"sample {sample.key} needs at least one caption")
        if self.samples % self.shard_samples == 0:
            self._next_shard()
        stem = quote(sample.key, safe="").replace(".", "%2E")
        self._add(f"{stem}.target.png", encode_png(sample.target))
        for number, source in enumerate(sample.sources):
            self._add(f"{stem}.source{number}.png", encode_png(source))
        facts = {"key": sample.key, "captions": sample.captions, "truth": sample.truth}
        self._add(f"{stem}.json", json.dumps(facts).encode())
        self.samples += 1

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def _next_shard(self) -> None:
        self._open.close()
        path = self.folder / f"{self.samples // self.shard_samples:05d}.tar"
        tar = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._tar = self._open.enter_context(tar)

    def _add(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)  # time 0, no owner, mode 644
        member.size = len(data)
        self._tar.addfile(member, io.BytesIO(data))


def write_shards(samples: Iterable[Sample], folder: Path, shard_samples: int) -> int:
    """Writes `samples` in their order as shards into `folder`; returns how many there were."""
    with ShardWriter(folder, shard_samples) as writer:
        for sample in samples:
            writer.write(sample)
    return writer.samples


def read_shards(folder: Path) -> Iterator[Sample]:
    """The samples of the shards in `folder`, in the order they were written.

    Errors: a shard that is not whole.
    """
    for path in sorted(folder.glob("*.tar")):
        index = index_tar(path)
        if index.fault is not None:
            raise ValueError(f"{path} must be a whole shard, but is {index.fault}")
        for _, members in groupby(index.members, lambda member: member.name.partition(".")[0]):
            yield _sample({member.name.partition(".")[2]: member for member in members})


def _sample(members: dict[str, Member]) -> Sample:
    parts = {name: member.extent.read() for name, member in members.items()}
    facts = json.loads(parts["json"])
    sources = tuple(decode_png(parts[f"source{number}.png"]) for number in range(len(parts) - 2))
    captions = tuple(facts["captions"])
    return Sample(facts["key"], captions, decode_png(parts["target.png"]), sources, facts["truth"])
