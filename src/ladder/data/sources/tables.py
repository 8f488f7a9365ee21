"""What a row of a parquet table says, in each layout: edits, with the columns of their pictures.

A layout names its columns and what each holds, and has a function from the values of a row (of
`list of image` only the places count, images themselves aren't read) to the edits it tells of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa


@dataclass(frozen=True)
class Edit:
    """One sample that a row tells of."""

    key: str
    prompts: list[str | None] | None
    """True instructions, the first and further ones."""
    sources: list[tuple[str, int | None]]
    """Columns of what is edited, with the place in the list where the column has lists."""
    target: str
    """Column of the picture that results."""
    truth: dict | None = None
    """What else the row says, as `Sample.truth` keeps it."""


@dataclass(frozen=True)
class Layout:
    """The columns of a table, and the edits in a row of it."""

    columns: dict[str, str]
    """What each holds: text, number, image, or a list of one of them."""
    edits: Callable[[dict, str], list[Edit]]
    """Values of a row by column, its number as a key -> its edits."""


def find_layout(path: Path, schema: pa.Schema) -> Layout:
    """The layout of the table at `path`, by the column of its targets.

    Errors: none of these columns; a column of the layout is missing or holds something else.
    """
    found = [layout for target, layout in LAYOUTS.items() if target in schema.names]
    if len(found) != 1:
        rule = f"must have one of the columns {', '.join(LAYOUTS)}"
        raise ValueError(f"{path} {rule}, but has {schema.names}")
    for name, kind in found[0].columns.items():
        if name not in schema.names:
            raise ValueError(f"{path} must have a column {name}, but has {schema.names}")
        if _kind(schema.field(name).type) != kind:
            rule = f"column {name} must be {kind}"
            raise ValueError(f"{path}: {rule}, but is {schema.field(name).type}")
    return found[0]


def _omniedit(values: dict, number: str) -> list[Edit]:
    key = values["omni_edit_id"] or number
    prompts = values["edited_prompt_list"]
    truth = {name: values[name] for name in OMNIEDIT_TRUTH}
    return [Edit(key, prompts, [("src_img", None)], "edited_img", truth)]


def _hqedit(values: dict, number: str) -> list[Edit]:
    there, back = [values["edit"]], [values["inverse_edit"]]
    return [
        Edit(number, there, [("input_image", None)], "output_image"),
        Edit(f"{number}.inverse", back, [("output_image", None)], "input_image"),
    ]


def _metaquery(values: dict, number: str) -> list[Edit]:
    sources = [("source_images", item) for item in range(len(values["source_images"] or ()))]
    truth = {name: values[name] for name in ("source_captions", "target_caption")}
    return [Edit(number, [values["prompt"]], sources, "target_image", truth)]


def _kind(arrow: pa.DataType) -> str:
    """What a column of Arrow's type holds, in the words of `Layout.columns`."""
    if pa.types.is_list(arrow) or pa.types.is_large_list(arrow):
        return f"list of {_kind(arrow.value_type)}"
    if pa.types.is_string(arrow) or pa.types.is_large_string(arrow):
        return "text"
    if pa.types.is_binary(arrow) or pa.types.is_large_binary(arrow):
        return "bytes"
    if pa.types.is_integer(arrow) or pa.types.is_floating(arrow):
        return "number"
    if pa.types.is_struct(arrow) and {part.name: _kind(part.type) for part in arrow} == IMAGE:
        return "image"
    return str(arrow)


IMAGE = {"bytes": "bytes", "path": "text"}
"""What is in a cell of the `Image` feature of Hugging Face."""

OMNIEDIT_TRUTH = (
    "task", "width", "height", "sc_score_1", "sc_score_2", "pq_score", "o_score",
)  # fmt: skip

LAYOUTS = {
    "edited_img": Layout(
        {
            "omni_edit_id": "text",
            "src_img": "image",
            "edited_img": "image",
            "edited_prompt_list": "list of text",
            "task": "text",
            **dict.fromkeys(OMNIEDIT_TRUTH[1:], "number"),
        },
        _omniedit,
    ),
    "output_image": Layout(
        {
            "input_image": "image",
            "edit": "text",
            "output_image": "image",
            "inverse_edit": "text",
        },
        _hqedit,
    ),
    "target_image": Layout(
        {
            "source_images": "list of image",
            "source_captions": "list of text",
            "prompt": "text",
            "target_image": "image",
            "target_caption": "text",
        },
        _metaquery,
    ),
}
"""By the column of the target: OmniEdit-Filtered, HQ-Edit, MetaQuery-Instruct."""
