"""The folder of encoded data: what `ladder encode` writes and everything else reads.

    OUT/manifest.json            which files there are, of what they were made, and their hashes
    OUT/SET/SPLIT/data-*.arrow   a Hugging Face dataset that `datasets.load_from_disk` opens
    OUT/SET/SPLIT/640x384/...    the same, one for each bucket, where there are several

A row is a sample: key, captions, sources (image files) and latents, which are shifted and scaled as
a generator sees them. Latents in bfloat16, a type that files don't know, are kept by their bits.

Letters: R rows, C H W channels, height and width of latents.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import datasets
import torch
import xxhash
from datasets import Array3D, Dataset, DatasetInfo, Features, List, Value, load_from_disk
from datasets.arrow_writer import ArrowWriter
from jaxtyping import Float
from torch import Tensor, distributed

from ladder.config.files import read_json, write_text

MANIFEST = "manifest.json"
ONLY = ""
"""Name of the bucket where there is only one."""
ROWS, BYTES = 1000, 100 * 2**20
"""Of a batch of rows in a file, at most."""
STORED: dict[str, str] = {"float32": "float32", "bfloat16": "uint16"}
"""The type in files of each type of latents."""


@dataclass(frozen=True)
class EncodedFile:
    """One file of a split: what was made, in one piece, of some curated shards."""

    key: str
    """Hash of those shards and of all that decides how they are encoded."""
    bucket: str
    rows: int
    hash: str
    """xxh3_128 of the file."""


@dataclass(frozen=True)
class Row:
    """A sample as it is kept."""

    key: str
    captions: tuple[str, ...]
    sources: tuple[bytes, ...]
    latents: Float[Tensor, "C H W"]
    """In the type in which they are kept."""


class PartWriter:
    """Writes rows, whose latents are of one shape, to the file `path`; used in a `with`."""

    def __init__(self, path: Path) -> None:
        self.path, self.written = path, 0
        self._rows: list[Row] = []
        self._bytes = 0
        self._writer: ArrowWriter | None = None

    def write(self, row: Row) -> None:
        """Add a row."""
        self._rows.append(row)
        self._bytes += row.latents.nbytes + sum(map(len, row.sources))
        if len(self._rows) == ROWS or self._bytes >= BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._writer is None:
            features = features_of(self._rows[0].latents)
            self._writer = ArrowWriter(features=features, path=str(self.path))
        columns = {
            "key": [row.key for row in self._rows],
            "captions": [[*row.captions] for row in self._rows],
            "sources": [[{"bytes": x, "path": None} for x in row.sources] for row in self._rows],
            "latents": [bits(row.latents).numpy() for row in self._rows],
        }
        self._writer.write_batch(columns)
        self.written += len(self._rows)
        self._rows, self._bytes = [], 0

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: object, __: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        if self._writer is not None:
            self._writer.finalize()
            self._writer.close()


def features_of(latents: Float[Tensor, "C H W"]) -> Features:
    """The columns of a file with such latents."""
    kind = STORED[str(latents.dtype).removeprefix("torch.")]
    return Features(
        key=Value("string"),
        captions=List(Value("string")),
        sources=List(datasets.Image()),
        latents=Array3D(tuple(latents.shape), kind),
    )


def bits(latents: Tensor) -> Tensor:
    """Latents as they lie in a file."""
    return latents.view(torch.uint16) if latents.dtype == torch.bfloat16 else latents


def values(stored: Tensor) -> Float[Tensor, "*R C H W"]:
    """Latents in float32, from how they lie in a file."""
    return (stored.view(torch.bfloat16) if stored.dtype == torch.uint16 else stored).float()


def require_alike(encoded: Path, names: Sequence[str]) -> None:
    """Make sure that all processes of a training read the same sets, wherever each has them.

    A place in a permutation means another sample to a machine that has only a part of a set: some
    would come twice, and some never. Raises ValueError, on every process, naming a machine that
    has others, and what it has more or less.
    """
    own = {
        path.relative_to(encoded).as_posix(): part.hash
        for path, part in read_manifest(encoded).items()
        if path.relative_to(encoded).parts[0] in names and path.is_file()
    }
    found: list[tuple[str, dict[str, str]]] = [("", {})] * distributed.get_world_size()
    distributed.all_gather_object(found, (f"{socket.gethostname()}:{encoded}", own))
    (first, there), *others = found
    for place, held in others:
        if odd := sorted(there.items() ^ held.items()):
            raise ValueError(
                f"all processes must read the same encoded sets, but {place} has {len(held)} files "
                f"and {first} has {len(there)}; the first that differs is {odd[0][0]}. Each "
                "machine needs all of them: `ladder train --encoded URL` brings them"
            )


def open_split(folder: Path) -> dict[str, Dataset]:
    """The datasets of one split of a set, by bucket (`ONLY` where there is one).

    Raises ValueError where there is none, and names the sets that there are.
    """
    if (folder / "state.json").is_file():
        return {ONLY: load_from_disk(folder)}
    found = sorted(path.parent for path in folder.glob("*/state.json"))
    if not found:
        there = sorted({path.parent.name for path in folder.parents[1].glob("*/train")})
        raise ValueError(
            f"{folder} must hold an encoded set, there is none; in {folder.parents[1]} are the "
            f"sets {', '.join(there) or '(none)'}; `ladder encode` writes them"
        )
    return {path.name: load_from_disk(path) for path in found}


def assemble(
    folder: Path, made: Sequence[tuple[EncodedFile, Path]], fingerprint: str, several: bool
) -> dict[Path, EncodedFile]:
    """Make the split `folder` of parts and the files they are in, by links: no byte is copied.

    Returns the new files with what they are. `several`: whether there is more than one bucket;
    `fingerprint` is that of the datasets, for caches.
    """
    files: dict[Path, EncodedFile] = {}
    for bucket in sorted({part.bucket for part, _ in made}):
        place = folder / bucket if several else folder
        place.mkdir(parents=True)
        own = [(part, path) for part, path in made if part.bucket == bucket]
        names = [f"data-{number:05d}-of-{len(own):05d}.arrow" for number in range(len(own))]
        for name, (part, path) in zip(names, own, strict=True):
            os.link(path, place / name)
            files[place / name] = part
        features = Dataset.from_file(str(place / names[0])).features
        DatasetInfo(features=features).write_to_directory(str(place), pretty_print=True)
        state = {
            "_data_files": [{"filename": name} for name in names],
            "_fingerprint": fingerprint,
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": "train",
        }
        write_text(place / "state.json", json.dumps(state, indent=2))
    return files


def write_manifest(out: Path, files: Mapping[Path, EncodedFile]) -> None:
    """Note the files of `out` with what they are."""
    noted = {str(path.relative_to(out)): asdict(part) for path, part in files.items()}
    write_text(out / MANIFEST, json.dumps(noted, indent=1) + "\n")


def read_manifest(out: Path) -> dict[Path, EncodedFile]:
    """The files of `out` with what they are; none where there is no manifest."""
    if not (out / MANIFEST).is_file():
        return {}
    noted = read_json(out / MANIFEST)
    return {out / path: EncodedFile(**part) for path, part in noted.items()}


def check(out: Path) -> int:
    """Compare every file of `out` with the hash in its manifest; returns how many there are.

    Raises ValueError for a file that isn't what was written, and where there is no manifest.
    """
    files = read_manifest(out)
    if not files:
        raise ValueError(f"{out / MANIFEST} must name the encoded files; `ladder encode` writes it")
    for path, part in files.items():
        if (found := hashed([path])) != part.hash:
            raise ValueError(
                f"{path} must have the hash {part.hash}, got {found}: it was changed after "
                "encoding; remove it with its folder and encode again"
            )
    return len(files)


def hashed(paths: Sequence[Path], before: str = "") -> str:
    """xxh3_128 of a text and the bytes of files, one after another."""
    total = xxhash.xxh3_128(before.encode())
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(2**20):
                total.update(piece)
    return total.hexdigest()
