"""Adapters: raw sets in the layouts of others, as samples or as named rejections.

`open_raw` finds the layout of a folder. A shard first lists its records from headers alone (cheap:
pairing by key, repetitions, unsafe members), then each record is loaded by itself (expensive:
reading and decoding), so that every record gets exactly one verdict: a `Sample` or a `Rejected`.

Layouts: webdataset tars (per key an image, `txt` and optionally `json` with further true "captions"
and the "truth"), and ShareGPT-4o-Image (a JSON list of edits beside image tars or folders).
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ladder.data.records import Record, Rejected, encodable, printable
from ladder.data.samples import Sample
from ladder.data.tars import Extent, TarIndex, index_tar, safe_name

IMAGES = ("png", "jpg", "jpeg", "webp")
ROLES = {**dict.fromkeys(IMAGES, "image"), "txt": "caption", "json": "facts"}
"""What a member is to its sample, by its last extension; all other members are passed over."""
EDITS = "text_and_image_to_image.json"
"""The list of edits in the layout of ShareGPT-4o-Image."""


@dataclass(frozen=True)
class WebdatasetShard:
    """One tar of text-to-image samples."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    def records(self) -> list[Record | Rejected]:
        """One entry for every sample, half sample and repetition in the tar."""
        index = index_tar(self.path)
        found = [
            entry
            for key, group in _group(index).items()
            for entry in group.entries(key, self.name, index.fault)
        ]
        if index.fault and not any(getattr(entry, "reason", "") == index.fault for entry in found):
            found.append(Rejected("", self.name, index.fault))
        return found


@dataclass(frozen=True)
class EditShard:
    """A list of edits whose pictures lie in the tars and folders beside it."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    def records(self) -> list[Record | Rejected]:
        """One entry for every row of the list, after what is wrong with the tars beside it.

        Errors: a file that is no JSON list of rows with the columns of the layout.
        """
        pictures: dict[str, Extent] = {}
        found: list[Record | Rejected] = []
        for path in sorted(self.path.parent.glob("*.tar")):
            found += _collect(path, pictures)
        seen: set[str] = set()
        for number, row in enumerate(_rows(self.path)):
            paths = _paths(self.path, number, row)
            key = _split(paths[-1])[0]
            found.append(self._entry(key, paths, row, pictures, key in seen))
            seen.add(key)
        return found

    def _entry(
        self, key: str, paths: list[str], row: dict, pictures: dict[str, Extent], repeated: bool
    ) -> Record | Rejected:
        if not all(map(encodable, paths)):
            return Rejected(printable(key), self.name, "bad_encoding")
        if not all(map(safe_name, paths)):
            return Rejected(key, self.name, "unsafe_member")
        if repeated:
            return Rejected(key, self.name, "duplicate_key")
        *sources, target = (self._find(path, pictures) for path in paths)
        if not sources or target is None or None in sources:
            return Rejected(key, self.name, "no_image")
        return Record(key, self.name, target, tuple(sources), row=row)

    def _find(self, path: str, pictures: dict[str, Extent]) -> Extent | None:
        if path in pictures:
            return pictures[path]
        file = self.path.parent / path
        return Extent(file, 0, file.stat().st_size) if file.is_file() else None


def open_raw(folder: Path) -> list[WebdatasetShard] | list[EditShard]:
    """The shards of the raw set in `folder`, in the order of their names.

    Errors: a folder in neither layout.
    """
    if (folder / EDITS).is_file():
        return [EditShard(folder / EDITS)]
    if tars := sorted(folder.glob("*.tar")):
        return [WebdatasetShard(path) for path in tars]
    found = sorted(path.name for path in folder.iterdir())[:5]
    raise ValueError(f"{folder} must hold *.tar or {EDITS}, but has {found}")


def read_raw(folder: Path, maximum_pixels: int) -> Iterator[Sample | Rejected]:
    """Every record of the raw set in `folder`, loaded, in order."""
    for shard in open_raw(folder):
        for record in shard.records():
            yield record if isinstance(record, Rejected) else record.load(maximum_pixels)


@dataclass
class _Group:
    """The members of one key, wherever in the tar they lie."""

    extents: dict[str, list[Extent]] = field(default_factory=dict)
    """By role; more than one where the key is repeated."""
    fault: str | None = None

    def entries(self, key: str, shard: str, shard_fault: str | None) -> list[Record | Rejected]:
        lacking = [f"no_{role}" for role in ("image", "caption") if role not in self.extents]
        reason = self.fault
        if reason is None and not encodable(key):
            reason = "bad_encoding"
        if reason is None and lacking:
            reason = shard_fault or lacking[0]
        first = {role: extents[0] for role, extents in self.extents.items()}
        if reason is not None:
            entry = Rejected(printable(key), shard, reason)
        else:
            image, caption = first["image"], first["caption"]
            entry = Record(key, shard, image, (), caption, first.get("facts"))
        repeated = max(map(len, self.extents.values()), default=1) - 1
        return [entry, *[Rejected(printable(key), shard, "duplicate_key")] * repeated]


def _group(index: TarIndex) -> dict[str, _Group]:
    groups: dict[str, _Group] = {}
    for member in index.members:
        key, role = _split(member.name)
        if member.extent is None:
            groups.setdefault(key, _Group()).fault = "unsafe_member"
        elif role is not None:
            groups.setdefault(key, _Group()).extents.setdefault(role, []).append(member.extent)
    if index.broken is not None and _split(index.broken)[1] is not None:
        groups.setdefault(_split(index.broken)[0], _Group()).fault = index.fault
    return groups


def _collect(path: Path, pictures: dict[str, Extent]) -> list[Rejected]:
    """Adds the pictures of the tar `path` by name; returns what is wrong with it."""
    index = index_tar(path)
    faults = [Rejected("", path.name, index.fault)] if index.fault else []
    for member in index.members:
        name = posixpath.normpath(member.name)
        if member.extent is None:
            faults.append(Rejected(printable(member.name), path.name, "unsafe_member"))
        elif name in pictures:
            faults.append(Rejected(printable(name), path.name, "duplicate_key"))
        else:
            pictures[name] = member.extent
    return faults


def _rows(path: Path) -> list[dict]:
    try:
        rows = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} must be JSON: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path} must be a list of objects")
    return rows


def _paths(path: Path, number: int, row: dict) -> list[str]:
    """The paths of a row's sources and, last, of its target."""
    for column, kind in {"input_prompt": str, "input_image": list, "output_image": str}.items():
        if not isinstance(row.get(column), kind):
            found = {name: type(value).__name__ for name, value in row.items()}
            rule = f"column {column} must be a {kind.__name__}"
            raise ValueError(f"{path}, row {number}: {rule}, the row has {found}")
    return [posixpath.normpath(str(part)) for part in (*row["input_image"], row["output_image"])]


def _split(name: str) -> tuple[str, str | None]:
    """The key (the name up to its last extension, dots and folders included) and the role."""
    stem, _, extension = name.removeprefix("./").rpartition(".")
    role = ROLES.get(extension.lower())
    return (stem, role) if role else (name, None)
