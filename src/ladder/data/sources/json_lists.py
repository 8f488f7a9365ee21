"""JSON lists of samples whose pictures lie beside them: loose, in folders, or in tars.

A row names its pictures by their paths in the set's folder and holds the words. Layouts:

- ShareGPT-4o-Image: `text_to_image.json` and `text_and_image_to_image.json`; a row may also have
  further true "captions" and the "truth", as the toy world's rows do;
- GPT-Image-Edit-1.5M: `training_json/*.json`, conversations about pictures in trees of folders;
- ImageFolder of Hugging Face: `metadata.jsonl`, one row a line.

A sample's key is the path of its target up to the extension. A row without something that its
layout asks for is a rejection; a list whose rows are of another form is an error.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ladder.data.images import BadSampleError
from ladder.data.sources.record import Record, Rejected, encodable, json_object, printable
from ladder.data.sources.rows import (
    Row,
    gpt_image_edit,
    image_folder,
    sharegpt_edit,
    sharegpt_image,
)
from ladder.data.sources.tar import Extent, index_tar, safe_name
from ladder.data.sources.webdataset import split_name

EDITS = "text_and_image_to_image.json"
IMAGES = "text_to_image.json"
TRAINING = "training_json/*.json"
FOLDER = "metadata.jsonl"

TREES = {
    "hqedit_gpt_edit.json": "hqedit/edit",
    "hqedit_gpt_generate.json": "hqedit/generate",
    "omniedit_gpt.json": "omniedit",
    "omniedit_gpt_rewrite.json": "omniedit",
    "complexedit_gpt.json": "omniedit/complex-edit",
    "ultraedit_gpt.json": "ultraedit",
}
"""What the paths in a list of GPT-Image-Edit-1.5M are relative to (data.txt of its repository,
github.com/wyhlovecpp/GPT-Image-Edit); those in any other list: to the set's folder."""


@dataclass(frozen=True)
class ListShard:
    """A list of samples whose pictures lie in the tars and folders below `folder`."""

    folder: Path
    path: Path
    read: Callable[[dict], Row]
    """The layout; raises ValueError with the rule that a row breaks."""
    tree: str = ""
    """The folder in `folder` which the paths in the list are relative to."""
    answers_for_tars: bool = True
    """Whether what is wrong with the tars is counted here: once in a set."""

    @property
    def name(self) -> str:
        return self.path.relative_to(self.folder).as_posix()

    def records(self) -> list[Record | Rejected]:
        """One entry for every row of the list, after what is wrong with the tars beside it.

        Errors: a file that is no JSON list of rows with the columns of the layout.
        """
        pictures: dict[str, Extent] = {}
        faults: list[Rejected] = []
        for path in sorted(self.folder.glob("*.tar")):
            faults += _collect(path, pictures)
        found: list[Record | Rejected] = [*faults] if self.answers_for_tars else []
        seen: set[str] = set()
        for number, row in enumerate(_rows(self.path)):
            if isinstance(row, BadSampleError):
                found.append(Rejected(f"{number:07d}", self.name, row.reason))
            else:
                found.append(self._entry(number, self._read(number, row), pictures, seen))
        return found

    def _read(self, number: int, row: dict) -> Row:
        try:
            return self.read(row)
        except ValueError as error:
            found = {name: type(value).__name__ for name, value in row.items()}
            message = f"{self.path}, row {number}: {error}, the row has {found}"
            raise ValueError(message) from error

    def _entry(
        self, number: int, row: Row, pictures: dict[str, Extent], seen: set[str]
    ) -> Record | Rejected:
        paths = [path and self._inside(path) for path in (*row.sources, row.target)]
        named = [path for path in paths if path]
        key = split_name(paths[-1])[0] if paths[-1] else f"{number:07d}"
        repeated = key in seen
        seen.add(key)
        if not all(map(encodable, named)):
            return Rejected(printable(key), self.name, "bad_encoding")
        if not all(map(safe_name, named)):
            return Rejected(key, self.name, "unsafe_member")
        if repeated:
            return Rejected(key, self.name, "duplicate_key")
        *sources, target = (path and self._find(path, pictures) for path in paths)
        if not target or not all(sources):
            return Rejected(key, self.name, "no_image")
        if row.facts["input_prompt"] is None:
            return Rejected(key, self.name, "no_caption")
        return Record(key, self.name, target, tuple(sources), row=row.facts)

    def _inside(self, path: str) -> str:
        """`path` of the list as it is from the set's folder on; it may name the tree itself."""
        path = posixpath.normpath(path)
        named = path.startswith(self.tree.partition("/")[0] + "/")
        return path if named else posixpath.normpath(posixpath.join(self.tree, path))

    def _find(self, path: str, pictures: dict[str, Extent]) -> Extent | None:
        if path in pictures:
            return pictures[path]
        file = self.folder / path
        return Extent(file, 0, file.stat().st_size) if file.is_file() else None


def list_shards(folder: Path) -> list[ListShard]:
    """The lists in `folder`, in the order of their names."""
    layouts = {
        EDITS: sharegpt_edit,
        IMAGES: sharegpt_image,
        TRAINING: gpt_image_edit,
        FOLDER: image_folder,
    }
    there = [(path, read) for name, read in layouts.items() for path in folder.glob(name)]
    return [
        ListShard(folder, path, read, TREES.get(path.name, ""), answers_for_tars=number == 0)
        for number, (path, read) in enumerate(sorted(there))
    ]


def _rows(path: Path) -> Iterator[dict | BadSampleError]:
    """The rows of a list, or of lines, each of which may be broken for itself."""
    if path.suffix == ".jsonl":
        yield from map(_line, filter(bytes.strip, path.read_bytes().splitlines()))
        return
    try:
        rows = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} must be JSON: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path} must be a list of objects")
    yield from rows


def _line(line: bytes) -> dict | BadSampleError:
    try:
        return json_object(line)
    except BadSampleError as fault:
        return fault


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
