"""The components that show pictures and take them, and what a tab shows of a drawing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from ladder.playground.drawing import read_sources
from ladder.playground.files import Files

EARLIER = 24
"""Pictures of a visit that are kept."""
KEPT_SECONDS = 3600
"""After that, uploads and pictures are deleted."""
Shown = list[tuple[str, str | None]]
"""What a gallery holds: the path of each picture, and the words beneath it."""


@dataclass(frozen=True)
class Results:
    """The components of a tab that show what was drawn."""

    pictures: gr.Gallery
    caption: gr.Textbox
    notes: gr.Textbox
    link: gr.Textbox
    download: gr.DownloadButton

    @property
    def outputs(self) -> list[gr.components.Component]:
        """All that `show` has values for."""
        return [self.pictures, self.caption, self.notes, self.link, self.download]

    def show(self, files: Files) -> dict[Any, Any]:
        """What the components must get."""
        return {
            self.pictures: gr.Gallery(files.shown, columns=files.columns),
            self.caption: files.caption,
            self.notes: gr.Textbox(files.notes, visible=bool(files.notes)),
            self.link: files.link,
            self.download: gr.DownloadButton(value=files.archive, interactive=True),
        }


def add_results(first: Files | None = None) -> Results:
    """Add what shows a drawing, by default none yet."""
    return Results(
        add_pictures("Pictures", first.shown if first else None, first.columns if first else 2),
        gr.Textbox(first and first.caption, label="What is drawn", interactive=False, lines=2),
        gr.Textbox(label="Note", interactive=False, visible=False),
        gr.Textbox(first and first.link, label="Link to these settings", interactive=False),
        gr.DownloadButton(
            "Download all", first and first.archive, size="sm", interactive=first is not None
        ),
    )


def add_pictures(
    label: str, shown: list[tuple[str, str]] | None = None, columns: int = 2, look: str = ""
) -> gr.Gallery:
    """Add a field that shows pictures side by side or, with the look "small", as many as fit."""
    return gr.Gallery(
        shown,
        label=label,
        show_label=False,
        columns=columns,
        fit_columns=False,
        elem_classes=look,
        height="auto",
        format="png",
        object_fit="contain",
        interactive=False,
        buttons=["download", "fullscreen"],
    )


def add_upload(label: str, path: str) -> gr.Gallery:
    """Add a field for pictures, with the one in `path` to begin with; what it holds are the paths
    of files that nobody has read yet."""
    return gr.Gallery(
        [path],
        label=label,
        file_types=["image"],
        sources=["upload"],
        type="filepath",
        interactive=True,
        elem_classes=["small", "upload"],
        height="auto",
        object_fit="contain",
        buttons=[],
    )


def paths(uploads: Shown | None) -> list[str]:
    """The files that a gallery holds."""
    return [path for path, _ in uploads or []]


def first_picture(shown: Shown | None) -> str:
    """The file of the first picture that was drawn; raises ValueError without any."""
    for path in paths(shown):
        if Path(path).name.startswith("picture_"):
            return path
    raise ValueError("there is no picture yet: draw one first")


def checked(uploads: Shown) -> Any:
    """Leave uploads as they are, or say what is wrong with them and remove them."""
    try:
        read_sources(paths(uploads))
    except ValueError as error:
        gr.Warning(escape(str(error)), duration=None, title="This file can't be used")
        return None
    return gr.skip()


@contextmanager
def told() -> Iterator[None]:
    """What is wrong with the input is shown as a message, as text and never as HTML."""
    try:
        yield
    except ValueError as error:
        raise gr.Error(escape(str(error)), duration=None, print_exception=False) from error
