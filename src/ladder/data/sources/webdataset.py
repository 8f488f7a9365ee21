"""Webdataset tars: members of one name are a sample, wherever in the tar they lie.

Per key an image, `txt` and optionally `json` with further true "captions" and the "truth". So are
BLIP3o-Pretrain-Long-Caption, -Short-Caption, -JourneyDB and BLIP3o-60k laid out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ladder.data.sources.record import Record, Rejected, encodable, printable
from ladder.data.sources.tar import Extent, TarIndex, index_tar

IMAGES = ("png", "jpg", "jpeg", "webp")
ROLES = {**dict.fromkeys(IMAGES, "image"), "txt": "caption", "json": "facts"}
"""What a member is to its sample, by its last extension; all other members are passed over."""


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


def webdataset_shards(folder: Path) -> list[WebdatasetShard]:
    """The tars in `folder`, in the order of their names."""
    return [WebdatasetShard(path) for path in sorted(folder.glob("*.tar"))]


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
        key, role = split_name(member.name)
        if member.extent is None:
            groups.setdefault(key, _Group()).fault = "unsafe_member"
        elif role is not None:
            groups.setdefault(key, _Group()).extents.setdefault(role, []).append(member.extent)
    if index.broken is not None and split_name(index.broken)[1] is not None:
        groups.setdefault(split_name(index.broken)[0], _Group()).fault = index.fault
    return groups
