"""The tab Edit: pictures to change, and a chain of edits with a way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from ladder.playground.controls import QUICK, TELLING, add_controls, add_examples, add_text
from ladder.playground.drawing import read_sources
from ladder.playground.events import WAITS, DrawingTab, Page, connect
from ladder.playground.frame import Frame, cropped
from ladder.playground.frame_view import Frames, add_frame
from ladder.playground.pictures import (
    KEPT_SECONDS,
    Shown,
    add_pictures,
    add_results,
    add_upload,
    first_picture,
    paths,
    told,
)
from ladder.playground.settings import Settings
from ladder.playground.words import EXAMPLES


@dataclass(frozen=True)
class Step:
    """An edit that another one went on from."""

    sources: list[str]
    instruction: str
    shown: Shown


def edit_tab(page: Page) -> tuple[DrawingTab, gr.Gallery]:
    """Add the tab; returns it with the field of the pictures to change."""
    sizes = page.models.pipeline.sizes
    with gr.Row():
        with gr.Column():
            sources = add_upload("Pictures to change", page.opening)
        with gr.Column():
            frames = add_frame(sources, page.opening, sizes)
    with gr.Column(visible=False) as past:
        gr.Markdown("Steps so far")
        strip = add_pictures("Steps so far", look="small")
    instruction = add_text("Instruction", EXAMPLES["edit"][0], "Draw")
    examples = add_examples(EXAMPLES["edit"])
    with gr.Row():
        with gr.Column():
            results = add_results()
            with gr.Row():
                go_on = gr.Button("Go on from the result", size="sm", min_width=120)
                undo = gr.Button("Undo", size="sm", min_width=120, interactive=False)
        with gr.Column():
            controls = add_controls("edit", instruction, page.models.blocks, page.models.rungs)

    def prepare(
        settings: Settings, uploads: Shown | None, set_frames: Frames
    ) -> tuple[Settings, list[Image.Image]]:
        files = paths(uploads)
        pictures = zip(files, read_sources(files), strict=True)
        return settings, [
            cropped(picture, set_frames.get(path, Frame()), sizes) for path, picture in pictures
        ]

    tab = connect(page, controls, results, examples, [sources, frames], prepare)
    steps = gr.State([], time_to_live=KEPT_SECONDS)

    def show(taken: list[Step]) -> dict[Any, Any]:
        return {
            steps: taken,
            strip: [(step.sources[0], step.instruction) for step in taken],
            past: gr.Column(visible=bool(taken)),
            undo: gr.Button(interactive=bool(taken)),
        }

    def take(
        uploads: Shown | None, text: str, shown: Shown | None, taken: list[Step]
    ) -> dict[Any, Any]:
        with told():
            result = first_picture(shown)
        return {sources: [result]} | show([*taken, Step(paths(uploads), text, shown)])

    def take_back(taken: list[Step]) -> dict[Any, Any]:
        *rest, last = taken
        back = {sources: last.sources, instruction: last.instruction, results.pictures: last.shown}
        return back | show(rest)

    shown = [sources, steps, strip, past, undo]
    go_on.click(take, [sources, instruction, results.pictures, steps], shown, **TELLING)
    undo.click(take_back, steps, [*shown, instruction, results.pictures], **QUICK)
    changes = [sources.upload, sources.delete, sources.change]
    gr.on(changes, None, None, results.caption, js=WAITS)
    return tab, sources
