"""Which columns of a row hold its pictures and words, and the record that the row makes.

A row is a dictionary, whether it comes from JSON, CSV, parquet or Arrow. `Columns` says where its
parts are, for each published set and, by the usual names, for those that nobody foresaw; a raw
set's own mapping.yaml says it for all others. A row that lacks something is one rejection.
"""

from __future__ import annotations

import math
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath

from ruamel.yaml import YAML

from ladder.data.images import BadSampleError, refused_as
from ladder.data.sources.record import Part, Record, Rejected, encodable, printable
from ladder.data.sources.tar import safe_name
from ladder.data.sources.webdataset import IMAGES as EXTENSIONS
from ladder.data.sources.webdataset import split_name

MAPPING = "mapping.yaml"
SAMPLED = 100
"""Rows from which the columns are found."""
REMOTE = ("http://", "https://", "s3://", "gs://", "hf://")


@dataclass(frozen=True)
class Embedded:
    """A picture that lies in the row itself, or at `item` of the list there."""

    column: str
    item: int | None = None


Place = str | Embedded
"""Where a row says that a picture is: a path, or in the row."""


@dataclass(frozen=True)
class Columns:
    """Paths in a row: a column's name, or `a.b` for b in a, `a.-1` for the last of a list, `a.:-1`
    for all but the last."""

    image: str
    """The picture that is trained on."""
    caption: str
    """Its caption or instruction: a text, a list of them, or the turns of a conversation."""
    source: str | None = None
    """What is edited: a picture or a list of them. A row without this column is no edit."""
    captions: str | None = None
    """A list of further true captions."""
    key: str | None = None
    """The sample's key; else the path of its picture, else the number of the row."""
    truth: str | tuple[str, ...] = ()
    """A column with what is known of the picture, or several columns to keep as that."""
    ending: str = ""
    """Added to the key, where a row makes several samples."""


SCORES = ("task", "width", "height", "sc_score_1", "sc_score_2", "pq_score", "o_score")

KNOWN: tuple[tuple[Columns, ...], ...] = (
    # GPT-Image-Edit-1.5M, and others that LLaVA's conversations are kept in
    (Columns("image.-1", "conversations", "image.:-1"),),
    # OmniEdit-Filtered
    (Columns("edited_img", "edited_prompt_list", "src_img", key="omni_edit_id", truth=SCORES),),
    # HQ-Edit, whose rows are an edit there and one back
    (
        Columns("output_image", "edit", "input_image"),
        Columns("input_image", "inverse_edit", "output_image", ending=".inverse"),
    ),
    # MetaQuery_Instruct_2.4M
    (
        Columns(
            "target_image", "prompt", "source_images", truth=("source_captions", "target_caption")
        ),
    ),
    # ShareGPT-4o-Image, and the toy world
    (Columns("output_image", "input_prompt", "input_image", "captions", truth="truth"),),
)
"""Of published sets; a set is one of these if it has all columns of images and captions, and a
source where the column's name doesn't stand for text-to-image as well."""

TARGETS = (
    "output_image", "edited_image", "edited_img", "target_image", "target_img", "trg_img",
    "output_images", "target_images", "edited_images", "output", "target", "edited", "image", "img",
    "images", "jpg", "jpeg", "png", "webp", "image_path", "img_path", "file_name", "filename",
    "file_path", "filepath", "file", "path", "image_url", "url",
)  # fmt: skip
SOURCES = (
    "source_image", "source_images", "source_img", "src_img", "input_image", "input_images",
    "input_img", "original_image", "original_img", "source", "input", "original", "image",
)  # fmt: skip
INSTRUCTIONS = ("edit_prompt", "instruction", "edit_instruction", "edit", "instructions")
CAPTIONS = ("caption", "text", "prompt", "description", "captions", "input_prompt", "txt", "title")
"""Usual names, in the order in which they are looked for; case doesn't count."""


def find_columns(rows: Iterable[object]) -> tuple[Columns, ...] | None:
    """The columns of rows (the first of them are looked at), or None where they aren't known."""
    kinds: dict[str, str] = {}
    for row in rows:
        for name, held in row.items() if isinstance(row, dict) else ():
            if kinds.get(name, "nothing") == "nothing":
                kinds[name] = _kind(held)
    for known in KNOWN:
        needed = {part.partition(".")[0] for way in known for part in (way.image, way.caption)}
        if known[0].captions is None and known[0].source is not None:
            needed.add(known[0].source.partition(".")[0])
        if needed <= kinds.keys():
            return known
    usual = {name.lower(): name for name in kinds if isinstance(name, str)}

    def first(names: Sequence[str], *wanted: str) -> str | None:
        return next((usual[n] for n in names if n in usual and kinds[usual[n]] in wanted), None)

    image = first(TARGETS, "image")
    if image is None:
        return None
    others = [name for name in SOURCES if usual.get(name) != image]
    # A column of this name that is empty is an edit without a source; "source" alone may be a word.
    source = first(others, "image") or first([x for x in others if "_im" in x], "nothing")
    names = (*INSTRUCTIONS, *CAPTIONS) if source else (*CAPTIONS, *INSTRUCTIONS)
    caption = first(names, "text") or first(names, "nothing")
    further = usual.get("captions")
    return caption and (Columns(image, caption, source, further if further != caption else None),)


def read_mapping(folder: Path) -> tuple[str, Columns] | None:
    """Which files (a glob) and columns the mapping.yaml of a raw set names, or None without one.

    Raises ValueError: no mapping of the fields of `Columns` and "files" to texts, or one without
    "image" and "caption".
    """
    path = folder / MAPPING
    if not path.is_file():
        return None
    try:
        with refused_as("bad_yaml"):
            given = YAML(typ="safe", pure=True).load(path.read_bytes())
    except BadSampleError as error:
        raise ValueError(f"{path} must be YAML: {error.__cause__}") from error
    names = {"files", *(field.name for field in fields(Columns))} - {"ending"}
    if not isinstance(given, dict) or not {"image", "caption"} <= given.keys() <= names:
        rule = f"must have image and caption, and may have {', '.join(sorted(names))}"
        raise ValueError(
            f"{path} {rule}, got {sorted(given) if isinstance(given, dict) else given!r}"
        )
    texts = {name: held for name, held in given.items() if name != "truth"}
    if wrong := [name for name, held in texts.items() if not isinstance(held, str)]:
        raise ValueError(f"{path}: {wrong[0]} must be a text, got {given[wrong[0]]!r}")
    files = given.pop("files", "**/*")
    if isinstance(given.get("truth"), list):
        given["truth"] = tuple(given["truth"])
    return files, Columns(**given)


@dataclass
class RowReader:
    """Rows of one shard to records; repetitions are found, so they come in order."""

    shard: str
    columns: tuple[Columns, ...]
    find: Callable[[str], Part | None]
    """The picture at a path."""
    tree: str = ""
    """The folder in the set which paths are relative to."""

    def __post_init__(self) -> None:
        self._seen: set[str] = set()

    def entries(
        self, number: int, row: object, cell: Callable[[Embedded], Part] | None = None
    ) -> Iterator[Record | Rejected]:
        """What the row makes; `cell` says where the pictures in the row lie."""
        if isinstance(row, BadSampleError):
            yield Rejected(f"{number:07d}", self.shard, row.reason)
            return
        for columns in self.columns:
            key = f"{number:07d}{columns.ending}"
            try:
                yield self._entry(key, row, columns, cell)
            except BadSampleError as fault:
                yield Rejected(key, self.shard, fault.reason)

    def _entry(
        self,
        key: str,
        row: object,
        columns: Columns,
        cell: Callable[[Embedded], Part] | None,
    ) -> Record | Rejected:
        if not isinstance(row, dict):
            raise BadSampleError("bad_row")
        target = _places(_value(row, columns.image), columns.image)[0]
        edit = columns.source is not None and columns.source.partition(".")[0] in row
        sources = _places(_value(row, columns.source), columns.source) if edit else []
        paths = [self._inside(place) for place in (target, *sources) if isinstance(place, str)]
        named = columns.key and _value(row, columns.key)
        if isinstance(named, str | int) and named != "":
            key = f"{named}{columns.ending}"
        elif isinstance(target, str):
            key = split_name(paths[0])[0] + columns.ending
        repeated = key in self._seen
        self._seen.add(key)
        if not all(map(encodable, (key, *paths))):
            return Rejected(printable(key), self.shard, "bad_encoding")
        if any(path.startswith(REMOTE) for path in (target, *sources) if isinstance(path, str)):
            return Rejected(key, self.shard, "not_local")
        if not all(map(safe_name, paths)):
            return Rejected(key, self.shard, "unsafe_member")
        if repeated:
            return Rejected(key, self.shard, "duplicate_key")
        parts = [self._part(place, cell) for place in (target, *sources)]
        if not all(parts):
            return Rejected(key, self.shard, "no_image")
        prompts = _texts(_value(row, columns.caption))
        if None in prompts:
            return Rejected(key, self.shard, "no_caption")
        further = columns.captions and _value(row, columns.captions)
        facts = {
            "input_prompt": prompts[0],
            # what is no list is refused when it is loaded, as in a file of JSON
            "captions": prompts[1:] if further is None else further,
            "truth": _truth(row, columns.truth),
        }
        return Record(key, self.shard, parts[0], tuple(parts[1:]), row=facts)

    def _part(self, place: Place | None, cell: Callable[[Embedded], Part] | None) -> Part | None:
        if isinstance(place, Embedded):
            return cell(place) if cell else None
        if place is None:
            return None
        return self.find(self._inside(place)) or self.find(posixpath.normpath(place))

    def _inside(self, path: str) -> str:
        """`path` as it is from the set's folder on; it may name the tree itself."""
        path = posixpath.normpath(path)
        named = path.startswith(self.tree.partition("/")[0] + "/")
        return path if named else posixpath.normpath(posixpath.join(self.tree, path))


def _kind(held: object) -> str:
    """What a value is: image, text, nothing (null, or an empty list), or other."""
    if _nothing(held):
        return "nothing"
    if isinstance(held, Embedded):
        return "image"
    if isinstance(held, str):
        extension = PurePosixPath(held).suffix.lower().lstrip(".")
        return "image" if extension in EXTENSIONS or held.startswith(REMOTE) else "text"
    if isinstance(held, list):
        return next((kind for kind in map(_kind, held) if kind != "nothing"), "nothing")
    if isinstance(held, dict):
        return "image" if isinstance(held.get("path"), str) else "other"
    return "other"


def _nothing(held: object) -> bool:
    return held is None or (isinstance(held, float) and math.isnan(held))


def _value(row: dict, path: str) -> object:
    if path in row:
        return row[path]
    found: object = row
    for step in path.split("."):
        if isinstance(found, dict):
            found = found.get(step)
        elif isinstance(found, list) and step == ":-1":
            found = found[:-1]
        elif isinstance(found, list) and step.lstrip("-").isdecimal() and len(step) < 9:
            place = int(step)
            found = found[place] if -len(found) <= place < len(found) else None
        else:
            return None
    return found


def _places(held: object, path: str) -> list[Place | None]:
    """At least one: nothing, and a list without any, lacks one. Raises BadSampleError: bad_row."""
    if isinstance(held, list):
        return [place for part in held for place in _places(part, path)] or [None]
    if isinstance(held, dict):
        held = held.get("path")
    if _nothing(held) or held == "":
        return [None]
    if not isinstance(held, str | Embedded):
        raise BadSampleError("bad_row")
    return [held]


def _texts(held: object) -> list[str | None]:
    """At least one; of a conversation what the human says first. Raises BadSampleError: bad_row."""
    if isinstance(held, list) and held and isinstance(held[0], dict):
        turns = [turn for turn in held if isinstance(turn, dict) and turn.get("from") == "human"]
        held = turns[0].get("value") if turns else None
    if isinstance(held, list):
        return [text for part in held for text in _texts(part)] or [None]
    if _nothing(held):
        return [None]
    if not isinstance(held, str):
        raise BadSampleError("bad_row")
    return [held]


def _truth(row: dict, columns: str | tuple[str, ...]) -> object:
    if isinstance(columns, str):
        return _value(row, columns)
    return {name: _value(row, name) for name in columns} or None
