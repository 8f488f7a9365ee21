"""Lists of samples whose pictures lie beside them: JSON, lines of JSON, CSV; the pictures loose, in
folders, or in tars.

A list is an array of rows (ShareGPT-4o-Image, GPT-Image-Edit's training_json), COCO's captions, one
row a line (ImageFolder's metadata.jsonl), a table in text (metadata.csv), or a folder `metadata` of
small files beside `input` and `output` (GPT-Image-Edit as its card lays it out). `columns.py` knows
what rows say. Paths are relative to the folder of the list.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

from ladder.data.images import BadSampleError, refused_as
from ladder.data.sources.columns import SAMPLED, Columns, RowReader, find_columns
from ladder.data.sources.pictures import pictures_of
from ladder.data.sources.record import Record, Rejected, UnknownLayoutError, json_object

EDITS = "text_and_image_to_image.json"
IMAGES = "text_to_image.json"
FOLDER = "metadata.jsonl"
TRAINING = "training_json"
METADATA = "metadata"
KINDS = (".json", ".jsonl", ".csv", ".tsv")

TREES = {
    "hqedit_gpt_edit.json": "hqedit/edit",
    "hqedit_gpt_generate.json": "hqedit/generate",
    "omniedit_gpt.json": "omniedit",
    "omniedit_gpt_rewrite.json": "omniedit",
    "complexedit_gpt.json": "omniedit/complex-edit",
    "ultraedit_gpt.json": "ultraedit",
}
"""What the paths in a list of GPT-Image-Edit-1.5M are relative to (data.txt of its repository,
github.com/wyhlovecpp/GPT-Image-Edit); those in any other list there: to the set's folder."""


@dataclass(frozen=True)
class ListShard:
    """A list of samples whose pictures lie in the tars and folders below `folder`."""

    folder: Path
    path: Path
    tars: tuple[Path, ...] = ()
    """Tars that may hold its pictures."""
    files: tuple[Path, ...] = ()
    """Loose pictures of the set."""
    columns: tuple[Columns, ...] | None = None
    """What the set's mapping.yaml says; else they are found."""
    answers_for_tars: bool = True
    """Whether what is wrong with the tars is counted here: once in a set."""

    @property
    def name(self) -> str:
        return self.path.relative_to(self.folder).as_posix()

    @property
    def depends(self) -> tuple[Path, ...]:
        """The files that its records are made of."""
        return (*self.own, *self.tars, *self.files)

    @property
    def own(self) -> tuple[Path, ...]:
        """The files of the list itself."""
        return tuple(sorted(self.path.glob("*.json"))) if self.path.is_dir() else (self.path,)

    def records(self) -> list[Record | Rejected]:
        """One entry for every row of the list, after what is wrong with the tars beside it.

        Raises UnknownLayoutError: a list of something else than samples.
        """
        pictures = pictures_of(self.folder, self.tars, self.files)
        found: list[Record | Rejected] = [*pictures.faults] if self.answers_for_tars else []
        try:
            rows = list(self._rows())
        except BadSampleError as fault:
            return [*found, Rejected("", self.name, fault.reason)]
        columns = self.columns or find_columns(islice(rows, SAMPLED))
        if columns is None and rows and not all(isinstance(x, BadSampleError) for x in rows):
            held = sorted({str(name) for row in rows[:1] if isinstance(row, dict) for name in row})
            raise UnknownLayoutError(f"{self.path} must be a list of samples, but has {held}")
        reader = RowReader(self.name, columns or (), pictures.find, self._tree())
        for number, row in enumerate(rows):
            found += reader.entries(number, row)
        return found

    def _tree(self) -> str:
        above = self.path.parent.relative_to(self.folder).as_posix()
        if above == TRAINING:
            return TREES.get(self.path.name, "")
        return "" if above == "." else above

    def _rows(self) -> Iterator[object]:
        """The rows; one that is broken for itself is the fault. Raises BadSampleError, and
        UnknownLayoutError for JSON that is no list."""
        if self.path.is_dir():
            for path in self.own:
                yield from _described(path)
            return
        with refused_as("unreadable"):
            data = self.path.read_bytes()
        if self.path.suffix == ".jsonl":
            yield from map(_line, filter(bytes.strip, data.splitlines()))
        elif self.path.suffix in (".csv", ".tsv"):
            yield from _table(data, "," if self.path.suffix == ".csv" else "\t")
        else:
            yield from _array(self.path, _parsed(data))


def _parsed(data: bytes) -> object:
    with refused_as("bad_json"):
        return json.loads(data)


def _array(path: Path, held: object) -> Iterator[object]:
    if isinstance(held, dict) and {"images", "annotations"} <= held.keys():
        with refused_as("bad_json"):
            held = _coco(held)
    if not isinstance(held, list) or (held and not any(isinstance(row, dict) for row in held)):
        raise UnknownLayoutError(f"{path} must be a list of objects, but is {type(held).__name__}")
    yield from held


def _coco(held: dict) -> list[dict] | None:
    """COCO's captions, one row a picture; None where the annotations are none of captions."""
    rows: dict[object, dict] = {
        image["id"]: {"file_name": image["file_name"], "caption": None, "captions": []}
        for image in held["images"]
    }
    if not any("caption" in said for said in held["annotations"]):
        return None
    for said in held["annotations"]:
        row = rows.setdefault(said["image_id"], {"file_name": None, "captions": []})
        if row.get("caption") is None:
            row["caption"] = said.get("caption")
        else:
            row["captions"].append(said.get("caption"))
    return list(rows.values())


def _line(line: bytes) -> dict | BadSampleError:
    try:
        return json_object(line)
    except BadSampleError as fault:
        return fault


def _table(data: bytes, delimiter: str) -> Iterator[dict]:
    # Halves of letters stay broken: the record is refused by name.
    text = data.decode("utf-8-sig", "surrogateescape")
    with refused_as("bad_csv"):
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        names = next(lines, [])
        for line in lines:
            if line:
                yield dict(zip(names, [*line, *[None] * len(names)], strict=False))


def _described(path: Path) -> Iterator[object]:
    """Rows of a file in a folder `metadata`; the picture that a row doesn't name has its name."""
    try:
        held = _parsed(path.read_bytes())
    except (BadSampleError, OSError):
        yield BadSampleError("bad_json")
        return
    for row in held if isinstance(held, list) else [held]:
        if isinstance(row, dict):
            row = dict(row)
            for folder in ("input", "output"):
                named = row.get(folder, row.get(f"{folder}_image"))
                if not isinstance(named, str) or "." not in named:
                    named = _by_stem(path.parents[1] / folder).get(path.stem)
                bare = named is not None and "/" not in named
                row[folder] = f"{folder}/{named}" if bare else named
        yield row


@lru_cache(maxsize=2)
def _by_stem(folder: Path) -> dict[str, str]:
    return {path.stem: path.name for path in folder.iterdir()} if folder.is_dir() else {}
