"""The frame of each upload: a picture of it, and what moves it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

from ladder.data.resize import WHOLE, Size
from ladder.playground.controls import QUICK, TELLING
from ladder.playground.drawing import read_sources
from ladder.playground.frame import SMALLEST, Frame, preview
from ladder.playground.pictures import KEPT_SECONDS, Shown, paths

Frames = dict[str, Frame]
"""The frame that a user has set on the picture of a path; others are as large as can be."""


def add_frame(sources: gr.Gallery, first: str, sizes: Sequence[Size]) -> gr.State:
    """Add what shows and moves the frames of `sources`, which opens with the picture `first`.

    Returns the frames. It opens by itself where a picture is cropped.
    """
    frames = gr.State({}, time_to_live=KEPT_SECONDS)
    begin = preview(*read_sources([first]), Frame(), sizes)
    with gr.Accordion("Frame: the part that is used", open=False) as box:
        which = gr.Radio([], label="Frame of picture", type="index", visible=False)
        view = gr.Image(
            begin, label="Frame", show_label=False, interactive=False, format="png", buttons=[]
        )
        across = gr.Slider(0, 1, 0.5, step=0.01, label="Left to right", buttons=[])
        down = gr.Slider(0, 1, 0.5, step=0.01, label="Top to bottom", buttons=[])
        side = gr.Slider(SMALLEST, 1, 1, step=0.01, label="Side of the frame", buttons=[])

    def show(files: list[str], set_frames: Frames, number: int) -> dict[Any, Any]:
        (picture,) = read_sources([files[number]])
        frame = set_frames.get(files[number], Frame())
        names = [str(n) for n in range(1, len(files) + 1)]
        return {
            which: gr.Radio(names, value=names[number], visible=len(files) > 1),
            view: preview(picture, frame, sizes),
            across: frame.across,
            down: frame.down,
            side: frame.side,
            box: gr.Accordion(open=frame.crop(picture.size, sizes) != WHOLE),
        }

    def uploaded(uploads: Shown | None, set_frames: Frames) -> dict[Any, Any]:
        """Show the first one, or say what is wrong with the files and remove them."""
        files = paths(uploads)
        try:
            read_sources(files)
        except ValueError as error:
            gr.Warning(escape(str(error)), duration=None, title="This file can't be used")
            return {sources: None}
        if not files:
            return {view: None, which: gr.Radio(visible=False)}
        return show(files, set_frames, 0)

    def chosen(uploads: Shown, set_frames: Frames, number: int) -> dict[Any, Any]:
        return show(paths(uploads), set_frames, number)

    def moved(
        uploads: Shown | None, set_frames: Frames, number: int | None, *places: float
    ) -> dict[Any, Any]:
        files = paths(uploads)
        if not files or None in places:
            return {frames: set_frames}
        path = files[number or 0]
        set_frames = set_frames | {path: Frame(*places)}
        (picture,) = read_sources([path])
        return {frames: set_frames, view: preview(picture, set_frames[path], sizes)}

    shown = [which, view, across, down, side, box]
    # A gallery tells of an upload, of what is removed, and of what a function puts into it apart.
    gr.on(
        [sources.upload, sources.delete, sources.change],
        uploaded, [sources, frames], [sources, *shown], **TELLING,
    )  # fmt: skip
    which.input(chosen, [sources, frames, which], shown, **QUICK)
    gr.on(
        [across.input, down.input, side.input],
        moved, [sources, frames, which, across, down, side], [frames, view],
        trigger_mode="always_last", **QUICK,
    )  # fmt: skip
    return frames
