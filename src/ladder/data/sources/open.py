"""Adapters: raw sets in the layouts of others, as samples or as named rejections.

`open_raw` finds the layout of a folder. A shard first lists its records from headers alone (cheap:
pairing by key, repetitions, unsafe members), then each record is loaded by itself (expensive:
reading and decoding), so that every record gets exactly one verdict: a `Sample` or a `Rejected`.

Layouts: webdataset tars (`webdatasets.py`), JSON lists beside image files or image tars
(`lists.py`: ShareGPT-4o-Image, GPT-Image-Edit, ImageFolder) and parquet tables that hold the images
(`parquets.py`: OmniEdit, HQ-Edit, MetaQuery-Instruct).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from ladder.data.shards import Sample
from ladder.data.sources.json_lists import EDITS, FOLDER, IMAGES, TRAINING, list_shards
from ladder.data.sources.parquet import parquet_shards
from ladder.data.sources.record import Record, Rejected
from ladder.data.sources.webdataset import webdataset_shards


@runtime_checkable
class Shard(Protocol):
    """A file of a raw set."""

    @property
    def name(self) -> str:
        """Unique in the set: the file's path in the folder of the set, or its last part."""
        ...

    def records(self) -> list[Record | Rejected]:
        """One entry for every record, half record and repetition, without reading an image."""
        ...


def open_raw(folder: Path) -> list[Shard]:
    """The shards of the raw set in `folder`: all its lists and tables, or else all its tars.

    Tars beside a list hold the list's images. Errors: a folder in none of the layouts.
    """
    if shards := [*list_shards(folder), *parquet_shards(folder)]:
        return shards
    if tars := webdataset_shards(folder):
        return tars
    layouts = f"*.tar or *.parquet or {EDITS} or {IMAGES} or {TRAINING} or {FOLDER}"
    found = sorted(path.name for path in folder.iterdir())[:5]
    raise ValueError(f"{folder} must hold {layouts}, but has {found}")


def read_raw(folder: Path, maximum_pixels: int) -> Iterator[Sample | Rejected]:
    """Every record of the raw set in `folder`, loaded, in order."""
    for shard in open_raw(folder):
        for record in shard.records():
            yield record if isinstance(record, Rejected) else record.load(maximum_pixels)
