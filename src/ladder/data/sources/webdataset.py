"""Webdataset tars: members of one name are a sample, wherever in the tar they lie.

Per key an image, `txt` and optionally `json` with further true "captions" and the "truth"; without
`txt` the JSON has the "caption". So are BLIP3o-Pretrain-Long-Caption, -Short-Caption, -JourneyDB,
BLIP3o-60k and what img2dataset writes laid out; a folder of pictures beside texts is the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ladder.data.sources.record import Record, Rejected, encodable, printable
from ladder.data.sources.tar import Extent, Member, TarIndex, index_tar

IMAGES = ("png", "jpg", "jpeg", "webp")
ROLES = {**dict.fromkeys(IMAGES, "image"), "txt": "caption", "json": "facts"}
"""What a member is to its sample, by its last extension; all other members are passed over."""


@dataclass(frozen=True)
class WebdatasetShard:
    """One tar of text-to-image samples."""

    path: Path
    folder: Path | None = None
    """The set; None: the folder of the tar."""

    @property
    def name(self) -> str:
        return self.path.relative_to(self.folder or self.path.parent).as_posix()

    @property
    def depends(self) -> tuple[Path, ...]:
        """The files that its records are made of."""
        return (self.path,)

    def records(self) -> list[Record | Rejected]:
        """One entry for every sample, half sample and repetition in the tar."""
        return _entries(index_tar(self.path), self.name)


@dataclass(frozen=True)
class FolderShard:
    """Pictures of one folder with a text file, or JSON, of the same name beside each."""

    folder: Path
    """The set."""
    path: Path
    files: tuple[Path, ...]

    @property
    def name(self) -> str:
        inside = self.path.relative_to(self.folder).as_posix()
        return "files" if inside == "." else inside

    @property
    def depends(self) -> tuple[Path, ...]:
        """The files that its records are made of."""
        return self.files

    def records(self) -> list[Record | Rejected]:
        """One entry for every picture, and for every text without one."""
        members = [Member(path.name, Extent(path, 0, path.stat().st_size)) for path in self.files]
        return _entries(TarIndex(tuple(members)), self.name)


def _entries(index: TarIndex, shard: str) -> list[Record | Rejected]:
    found = [
        entry
        for key, group in _group(index).items()
        for entry in group.entries(key, shard, index.fault)
    ]
    if index.fault and not any(getattr(entry, "reason", "") == index.fault for entry in found):
        found.append(Rejected("", shard, index.fault))
    return found


def split_name(name: str) -> tuple[str, str | None]:
    """The key (the name up to its last extension, dots and folders included) and the role."""
    stem, _, extension = name.removeprefix("./").rpartition(".")
    role = ROLES.get(extension.lower())
    return (stem, role) if role else (name, None)


@dataclass
class _Group:
    """The members of one key, wherever in the tar they lie."""

    extents: dict[str, list[Extent]] = field(default_factory=dict)
    """By role; more than one where the key is repeated."""
    fault: str | None = None

    def entries(self, key: str, shard: str, shard_fault: str | None) -> list[Record | Rejected]:
        lacking = [] if "image" in self.extents else ["no_image"]
        if not {"caption", "facts"} & self.extents.keys():
            lacking.append("no_caption")
        reason = self.fault
        if reason is None and not encodable(key):
            reason = "bad_encoding"
        if reason is None and lacking:
            reason = shard_fault or lacking[0]
        first = {role: extents[0] for role, extents in self.extents.items()}
        if reason is not None:
            entry = Rejected(printable(key), shard, reason)
        else:
            entry = Record(key, shard, first["image"], (), first.get("caption"), first.get("facts"))
        repeated = max(map(len, self.extents.values()), default=1) - 1
        return [entry, *[Rejected(printable(key), shard, "duplicate_key")] * repeated]


def _group(index: TarIndex) -> dict[str, _Group]:
    groups: dict[str, _Group] = {}
    for member in index.members:
        key, role = split_name(member.name)
        if member.extent is None:
            groups.setdefault(key, _Group()).fault = "unsafe_member"
        elif role is not None:
            groups.setdefault(key, _Group()).extents.setdefault(role, []).append(member.extent)
    if index.broken is not None and split_name(index.broken)[1] is not None:
        groups.setdefault(split_name(index.broken)[0], _Group()).fault = index.fault
    return groups
