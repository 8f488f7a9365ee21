"""Parquet tables of edits that hold the image files themselves, as Hugging Face stores them.

OmniEdit-Filtered, HQ-Edit and MetaQuery-Instruct (`tables.py` knows their columns). Listing reads
the columns of words and scores only; a `Cell` reads its picture when it is asked to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ladder.data.images import BadSampleError
from ladder.data.sources.record import Record, Rejected, encodable, printable
from ladder.data.sources.tables import Edit, Layout, find_layout

UNREADABLE = (pa.ArrowInvalid, OSError)
"""What pyarrow raises on damaged files."""
BINARY = {"text": pa.binary(), "list of text": pa.list_(pa.binary())}
"""Texts before they are known to be UTF-8."""


@dataclass(frozen=True)
class Cell:
    """The image file in a row of a row group, or at `item` of the list that lies there."""

    path: Path
    row_group: int
    row: int
    column: str
    item: int | None = None

    def read(self) -> bytes:
        """Raises BadSampleError: `no_image` (a null), `undecodable` (the table is damaged)."""
        image = _images(self.path, self.row_group, self.column)[self.row]
        if self.item is not None:
            image = image.values[self.item]
        if not image.is_valid or not image["bytes"].is_valid:
            raise BadSampleError("no_image")
        return image["bytes"].as_py()


@dataclass(frozen=True)
class ParquetShard:
    """A table somewhere below `folder`."""

    folder: Path
    path: Path

    @property
    def name(self) -> str:
        return self.path.relative_to(self.folder).as_posix()

    def records(self) -> list[Record | Rejected]:
        """One entry for every edit in the table, or one for a file that is none.

        Errors: a table whose columns are those of no layout.
        """
        with pa.OSFile(str(self.path)) as file:
            try:
                return self._list(pq.ParquetFile(file))
            except UNREADABLE:
                return [Rejected("", self.name, "not_a_parquet")]

    def _list(self, table: pq.ParquetFile) -> list[Record | Rejected]:
        layout = find_layout(self.path, table.schema_arrow)
        found: list[Record | Rejected] = []
        seen: set[str] = set()
        number = 0
        for row_group in range(table.num_row_groups):
            for row, values in enumerate(_rows(table, row_group, layout)):
                for edit in layout.edits(values, f"{number:07d}"):
                    found.append(self._entry(edit, row_group, row, edit.key in seen))
                    seen.add(edit.key)
                number += 1
        return found

    def _entry(self, edit: Edit, row_group: int, row: int, repeated: bool) -> Record | Rejected:
        if not encodable(edit.key):
            return Rejected(printable(edit.key), self.name, "bad_encoding")
        if repeated:
            return Rejected(edit.key, self.name, "duplicate_key")
        if not edit.sources:
            return Rejected(edit.key, self.name, "no_image")
        if not edit.prompts or None in edit.prompts:
            return Rejected(edit.key, self.name, "no_caption")
        first, *further = edit.prompts
        facts = {"input_prompt": first, "captions": further, "truth": edit.truth}
        sources = tuple(Cell(self.path, row_group, row, *place) for place in edit.sources)
        target = Cell(self.path, row_group, row, edit.target)
        return Record(edit.key, self.name, target, sources, row=facts)


def parquet_shards(folder: Path) -> list[ParquetShard]:
    """The tables in `folder` and the folders in it, in the order of their names."""
    paths = sorted(folder.rglob("*.parquet"))
    return [ParquetShard(folder, path) for path in paths if not path.is_dir()]


def _rows(table: pq.ParquetFile, row_group: int, layout: Layout) -> Iterator[dict]:
    """The values of each row but for images; a list of images keeps their names instead."""
    kinds = {name: kind for name, kind in layout.columns.items() if kind != "image"}
    leaves = [table.schema.column(place).path for place in range(len(table.schema.names))]
    wanted = [
        leaf
        for leaf in leaves
        for kind in [kinds.get(leaf.partition(".")[0])]
        if kind is not None and (kind != "list of image" or leaf.endswith(".path"))
    ]
    read = table.read_row_group(row_group, columns=wanted)
    columns = [read[name].cast(BINARY.get(kind, read[name].type)) for name, kind in kinds.items()]
    for values in zip(*(column.to_pylist() for column in columns), strict=True):
        yield dict(zip(kinds, map(_decoded, values), strict=True))


def _decoded(value: object) -> object:
    """Bytes as text, with halves of letters left broken: `Record` refuses them by name."""
    if isinstance(value, list):
        return [_decoded(part) for part in value]
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


# A record reads its sources and its target by turns, and they are two columns at most.
@lru_cache(maxsize=2)
def _images(path: Path, row_group: int, column: str) -> pa.ChunkedArray:
    """A column of a row group, which is what can be read at once: each is read once in a pass."""
    with pa.OSFile(str(path)) as file:
        try:
            return pq.ParquetFile(file).read_row_group(row_group, columns=[column])[column]
        except UNREADABLE as error:
            raise BadSampleError("undecodable") from error
