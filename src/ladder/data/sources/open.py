"""Adapters: raw sets in the layouts of others, as samples or as named rejections.

`survey` finds what the files of a folder are. A shard first lists its records from headers alone
(cheap: pairing by key, repetitions, unsafe members), then each record is loaded by itself
(expensive: reading and decoding), so that every record gets exactly one verdict: a `Sample` or a
`Rejected`. A file that is neither a shard nor a part of one is unread, and is named in the report.

Layouts: tables (`parquet.py`), lists beside pictures (`json_lists.py`), webdataset tars and folders
of pictures beside texts (`webdataset.py`); a set's own mapping.yaml names columns (`columns.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from ladder.data.sources.columns import MAPPING, read_mapping
from ladder.data.sources.json_lists import EDITS, KINDS, METADATA, ListShard
from ladder.data.sources.parquet import TableShard
from ladder.data.sources.record import Record, Rejected
from ladder.data.sources.tar import index_tar
from ladder.data.sources.webdataset import ROLES, FolderShard, WebdatasetShard, split_name

TARS = (".tar", ".tar.gz", ".tgz")
TABLES = (".parquet", ".arrow")
DESCRIPTIONS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
"""What `datasets` writes beside its tables."""
PEEKED = 20
"""Members of a tar from which is told whether it has captions, or pictures for a list only."""


@runtime_checkable
class Shard(Protocol):
    """A file of a raw set, or a folder of files that belong together."""

    @property
    def name(self) -> str:
        """Unique in the set: the path in the folder of the set."""
        ...

    @property
    def depends(self) -> tuple[Path, ...]:
        """The files that its records are made of."""
        ...

    def records(self) -> list[Record | Rejected]:
        """One entry for every record, half record and repetition, without reading an image.

        Raises UnknownLayoutError: the file is something else than a shard.
        """
        ...


@dataclass(frozen=True)
class RawSet:
    """What the files of a folder are."""

    folder: Path
    shards: tuple[Shard, ...]
    rest: frozenset[Path]
    """Files that are no shard: pictures and tars that lists may name, and what nobody reads."""


def survey(folder: Path) -> RawSet:
    """The shards of the raw set in `folder`, and its other files; hidden files are passed over.

    Raises ValueError: a mapping.yaml that is none.
    """
    files = sorted(_files(folder))
    tars = [path for path in files if path.name.lower().endswith(TARS)]
    mapping = read_mapping(folder)
    mapped = set(folder.glob(mapping[0])) if mapping else set()
    side = _beside(files, tars) - mapped
    lists = [path for path in files if path.suffix.lower() in (*KINDS, *TABLES)]
    lists = [path for path in _by_folder(lists) if path not in side and path.name != MAPPING]
    pictures = tuple(path for path in files if ROLES.get(path.suffix.lower()[1:]) == "image")
    stores = tuple(path for path in tars if lists and _has_pictures_only(path))
    captioned = [path for path in tars if path not in stores]
    shards: list[Shard] = []
    for path in lists:
        kind = TableShard if path.suffix.lower() in TABLES else ListShard
        columns = (mapping[1],) if mapping and path in mapped else None
        shards.append(kind(folder, path, stores, pictures, columns, answers_for_tars=not shards))
    shards += [WebdatasetShard(path, folder) for path in captioned]
    if not shards:
        shards += _folders(folder, files)
    used = {path for shard in shards for path in _own(shard)}
    return RawSet(folder, tuple(shards), frozenset(files) - used - side)


def open_raw(folder: Path) -> list[Shard]:
    """The shards of the raw set in `folder`.

    Raises ValueError: a folder in none of the layouts.
    """
    shards = survey(folder).shards
    if not shards:
        layouts = f"*.tar, *.parquet, *.arrow, {EDITS} or other lists, or pictures beside texts"
        found = sorted(path.name for path in folder.iterdir())[:5]
        raise ValueError(f"{folder} must hold {layouts}, but has {found}")
    return list(shards)


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in names if not name.startswith("."))


def _beside(files: list[Path], tars: list[Path]) -> set[Path]:
    """Files that only describe others: img2dataset's tables and counts, JSON beside a picture."""
    stems = {path.parent / path.name.partition(".")[0] for path in tars}
    keys = {path.with_suffix("") for path in files if split_name(path.name)[1] == "image"}
    described = {path.parent / path.name.removesuffix("_stats.json") for path in files}
    tables = {path for path in described if path in stems}
    return {
        path
        for path in files
        if path.name in DESCRIPTIONS
        or (path.suffix in (".parquet", ".json") and path.with_suffix("") in stems | keys)
        or (path.name.endswith("_stats.json") and path.with_name(path.name[:-11]) in tables)
        or (path.suffix == ".arrow" and path.name.startswith("cache-"))
    }


def _by_folder(lists: list[Path]) -> list[Path]:
    """Lists in their order, and for the files of a folder `metadata` that folder once."""
    return list(dict.fromkeys(
        path.parent
        if path.parent.name == METADATA and path.suffix == ".json"
        and (path.parents[1] / "output").is_dir()
        else path
        for path in lists
    ))  # fmt: skip


def _has_pictures_only(path: Path) -> bool:
    members = index_tar(path).members[:PEEKED]
    return {split_name(member.name)[1] for member in members} - {None} == {"image"}


def _folders(folder: Path, files: Iterable[Path]) -> list[FolderShard]:
    """The folders that hold pictures, each with its pictures and the texts beside them."""
    groups: dict[Path, list[Path]] = {}
    for path in files:
        if split_name(path.name)[1] is not None:
            groups.setdefault(path.parent, []).append(path)
    return [
        FolderShard(folder, place, tuple(paths))
        for place, paths in sorted(groups.items())
        if any(split_name(path.name)[1] == "image" for path in paths)
    ]


def _own(shard: Shard) -> tuple[Path, ...]:
    return getattr(shard, "own", None) or (
        (shard.path,) if isinstance(shard, TableShard) else shard.depends
    )
