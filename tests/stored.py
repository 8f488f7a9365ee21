"""Shards, raw sets and scenes as tests see them, by the functions of the product."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from ladder.data.images import FORMATS, encode_png
from ladder.data.shards import Packed, Sample, batched, read_packed, write_shard
from ladder.data.sources.open import open_raw
from ladder.data.sources.record import Rejected
from ladder.world.scenes import Scene, Thing


def packed(sample: Sample) -> Packed:
    """Every picture as PNG."""
    target, *sources = (("png", encode_png(x)) for x in (sample.target, *sample.sources))
    return Packed(sample.key, sample.captions, target, tuple(sources), sample.truth)


def decode_stored(data: bytes) -> Image.Image:
    """The picture in an image file of our own shards, equal to one without a file behind it."""
    image = Image.open(io.BytesIO(data), formats=FORMATS).copy()
    image.info.clear()
    return image


def write_shards(samples: Iterable[Sample], folder: Path, shard_samples: int) -> int:
    """Write `samples` in their order as shards into `folder`; returns how many there were."""
    return sum(
        write_shard(group, folder / f"{number:05d}.tar")
        for number, group in enumerate(batched(map(packed, samples), shard_samples))
    )


def read_shards(folder: Path) -> Iterator[Sample]:
    """The samples of the shards in `folder`, in the order they were written."""
    for path in sorted(folder.glob("*.tar")):
        for one in read_packed(path):
            target, *sources = (decode_stored(data) for _, data in one.pictures)
            yield Sample(one.key, one.captions, target, tuple(sources), one.truth)


def read_raw(folder: Path, maximum_pixels: int) -> Iterator[Sample | Rejected]:
    """Every record of the raw set in `folder`, loaded, in order."""
    for shard in open_raw(folder):
        for record in shard.records():
            yield record if isinstance(record, Rejected) else record.load(maximum_pixels)


def scene_of(record: dict[str, Any]) -> Scene:
    """The scene that `Scene.to_json` wrote."""
    return Scene(tuple(Thing(**thing) for thing in record["things"]), record["background"])
