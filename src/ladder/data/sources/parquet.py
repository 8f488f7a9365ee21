"""Tables that hold the image files themselves, or their paths: parquet, and Arrow as `datasets`
saves it.

`columns.py` knows what rows say. Listing reads words and scores only; a `Cell` reads its picture
when it is asked to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ladder.data.images import BadSampleError, refused_as
from ladder.data.sources.columns import SAMPLED, Columns, Embedded, RowReader, find_columns
from ladder.data.sources.pictures import pictures_of
from ladder.data.sources.record import Record, Rejected, UnknownLayoutError


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
        with _edge("undecodable"):
            image = _images(self.path, self.row_group, self.column)[self.row]
            if self.item is not None:
                image = image.values[self.item]
            if image.is_valid and isinstance(image, pa.StructScalar):
                image = image["bytes"]
            if not image.is_valid:
                raise BadSampleError("no_image")
            return image.as_py()


@dataclass(frozen=True)
class TableShard:
    """A table somewhere below `folder`."""

    folder: Path
    path: Path
    tars: tuple[Path, ...] = ()
    """Tars that may hold its pictures."""
    files: tuple[Path, ...] = ()
    """Loose pictures of the set."""
    columns: tuple[Columns, ...] | None = None
    """What the set's mapping.yaml says; else they are found."""
    answers_for_tars: bool = False
    """Whether what is wrong with the tars is counted here: once in a set."""

    @property
    def name(self) -> str:
        return self.path.relative_to(self.folder).as_posix()

    @property
    def depends(self) -> tuple[Path, ...]:
        """The files that its records are made of."""
        return (self.path, *self.tars, *self.files)

    def records(self) -> list[Record | Rejected]:
        """One entry for every sample in the table, or one for a file that is none.

        Raises UnknownLayoutError: a table of something else than samples.
        """
        pictures = pictures_of(self.folder, self.tars, self.files)
        found: list[Record | Rejected] = [*pictures.faults] if self.answers_for_tars else []
        rows = _listed(self.path)
        first = list(islice(rows, SAMPLED))
        held = [row for row in first if isinstance(row, _Row)]
        columns = self.columns or find_columns(row.values for row in held)
        if columns is None and held:
            rule = "must have a column of pictures and one of words"
            raise UnknownLayoutError(f"{self.path} {rule}, but has {sorted(held[0].values)}")
        reader = RowReader(self.name, columns or (), pictures.find)
        for number, row in enumerate(chain(first, rows)):
            if isinstance(row, BadSampleError):
                found.append(Rejected("", self.name, row.reason))
            else:
                cell = partial(Cell, self.path, row.group, row.place)
                found += reader.entries(
                    number, row.values, lambda at, c=cell: c(at.column, at.item)
                )
        return found


@dataclass(frozen=True)
class _Row:
    group: int
    place: int
    values: dict


@dataclass(frozen=True)
class _Table:
    schema: pa.Schema
    lengths: list[int]
    """Rows of each group (of parquet), or batch (of Arrow)."""
    read: Callable[[int, list[str]], pa.Table]
    """The number of a group and the names of leaves -> that part of the table."""
    leaves: dict[str, list[str]]
    """Leaves of each column."""


@contextmanager
def _edge(reason: str) -> Iterator[None]:
    try:
        with refused_as(reason):
            yield
    except pa.ArrowMemoryError as error:  # a damaged file claims sizes that no machine has
        raise BadSampleError(reason) from error


def _listed(path: Path) -> Iterator[_Row | BadSampleError]:
    """The rows of a table as far as it can be read, then what is wrong with it."""
    fault = "not_a_parquet" if path.suffix == ".parquet" else "not_an_arrow"
    try:
        with _edge(fault):
            table = _opened(path)
        for group, length in enumerate(table.lengths):
            with _edge(fault):
                rows = _rows(table, group, length)
            for place, values in enumerate(rows):
                yield _Row(group, place, values)
                fault = "truncated_shard"
    except BadSampleError as error:
        yield error


def _opened(path: Path) -> _Table:
    if path.suffix == ".parquet":
        table = _parquet(path)
        lengths = [table.metadata.row_group(n).num_rows for n in range(table.num_row_groups)]
        names = iter([table.schema.column(n).path for n in range(len(table.schema.names))])
        leaves: dict[str, list[str]] = {}
        for field in table.schema_arrow:
            own = list(islice(names, _leaf_count(field.type)))
            leaves.setdefault(field.name, own)
        return _Table(
            table.schema_arrow, lengths, lambda n, wanted: _group(path, n, wanted), leaves
        )
    batches = _batches(path)
    schema = batches[0].schema if batches else pa.schema([])

    def read(number: int, wanted: list[str]) -> pa.Table:
        return pa.Table.from_batches([batches[number].select(wanted)])

    return _Table(schema, [x.num_rows for x in batches], read, {n: [n] for n in schema.names})


def _parquet(path: Path) -> pq.ParquetFile:
    return pq.ParquetFile(pa.OSFile(str(path)))


def _group(path: Path, number: int, wanted: list[str]) -> pa.Table:
    with pa.OSFile(str(path)) as file:
        return pq.ParquetFile(file).read_row_group(number, columns=wanted)


@lru_cache(maxsize=4)
def _batches(path: Path) -> list[pa.RecordBatch]:
    """The batches of an Arrow stream or file; their bytes stay on disk until they are looked at."""
    file = pa.memory_map(str(path))
    try:
        return list(pa.ipc.open_stream(file))
    except pa.ArrowInvalid:
        table = pa.ipc.open_file(file)
        return [table.get_batch(number) for number in range(table.num_record_batches)]


def _leaf_count(kind: pa.DataType) -> int:
    if pa.types.is_struct(kind) or pa.types.is_map(kind) or _is_list(kind):
        return sum(_leaf_count(kind.field(n).type) for n in range(kind.num_fields))
    return 1


def _is_list(kind: pa.DataType) -> bool:
    types = pa.types
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _is_binary(kind: pa.DataType) -> bool:
    types = pa.types
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)


def _is_image(kind: pa.DataType) -> bool:
    """Whether values are image files: bytes, or the struct of Hugging Face's `Image`."""
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_binary(kind.field("bytes").type)
    return _is_binary(kind)


def _rows(table: _Table, group: int, length: int) -> list[dict]:
    """The values of each row but for images, which stand as the place where they lie."""
    kinds = {field.name: field.type for field in reversed(list(table.schema))}
    images = {name for name, kind in kinds.items() if _is_image(kind)}
    lists = {name for name, kind in kinds.items() if _is_list(kind) and _is_image(kind.value_type)}
    wanted = []
    for name in kinds:
        leaves = table.leaves[name]
        if name in lists:
            leaves = [leaf for leaf in leaves if leaf.endswith(".path")] or leaves
        wanted += [] if name in images else leaves
    read = table.read(group, wanted)
    places = {name: place for place, name in reversed(list(enumerate(read.column_names)))}
    columns: dict[str, list] = {name: [Embedded(name)] * length for name in images}
    for name, place in places.items():
        if name in lists:
            columns[name] = [
                None if count is None else [Embedded(name, item) for item in range(count)]
                for count in pc.list_value_length(read.column(place)).to_pylist()
            ]
        elif name not in images:
            columns[name] = [*map(_decoded, _plain(read.column(place)).to_pylist())]
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts as bytes, since Arrow takes the file's word that they are UTF-8; nothing encoded."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = _bytes_for_text(column.type)
    return column if kind == column.type else column.cast(kind)


def _bytes_for_text(kind: pa.DataType) -> pa.DataType:
    types = pa.types
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return pa.binary_view() if types.is_string_view(kind) else pa.binary()
    if types.is_dictionary(kind):
        return _bytes_for_text(kind.value_type)
    if types.is_list(kind):
        return pa.list_(_bytes_for_text(kind.value_type))
    if types.is_large_list(kind):
        return pa.large_list(_bytes_for_text(kind.value_type))
    if types.is_struct(kind):
        return pa.struct([pa.field(f.name, _bytes_for_text(f.type)) for f in kind])
    return kind


def _decoded(value: object) -> object:
    """Bytes as text, with halves of letters left broken: `Record` refuses them by name."""
    if isinstance(value, list):
        return [_decoded(part) for part in value]
    if isinstance(value, dict):
        return {name: _decoded(part) for name, part in value.items()}
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


# A record reads its sources and its target by turns, and they are two columns at most.
@lru_cache(maxsize=2)
def _images(path: Path, row_group: int, column: str) -> pa.ChunkedArray:
    """A column of a row group, which is what can be read at once: each is read once in a pass."""
    if path.suffix == ".parquet":
        return _group(path, row_group, [column]).column(0)
    return pa.chunked_array([_batches(path)[row_group].column(column)])
