"""The page: its tabs, and what a link opens. Needs gradio, the extra `playground`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import gradio as gr

from ladder.playground.ask import ask_tab
from ladder.playground.compare import compare_tab
from ladder.playground.controls import TELLING
from ladder.playground.drawing import MAXIMUM_PIXELS, MAXIMUM_SOURCES, Models, draw
from ladder.playground.edit import edit_tab
from ladder.playground.events import DrawingTab, Page
from ladder.playground.fair_queue import PATIENCE, PER_ADDRESS, PER_CLIENT, PLACES, FairQueue
from ladder.playground.files import Files
from ladder.playground.generate import generate_tab
from ladder.playground.inside import inside_tab
from ladder.playground.links import open_links
from ladder.playground.pictures import EARLIER, KEPT_SECONDS, Shown, first_picture, told
from ladder.playground.settings import (
    MAXIMUM_PICTURES,
    MAXIMUM_STEPS,
    MAXIMUM_TEXT,
    Settings,
    Task,
)
from ladder.playground.words import EXAMPLES, vocabulary

HEAD = """# ladder
Each block of the generator looks at a layer of the language model of its own: its rung. What
happens to a picture when a rung counts for more, or for nothing?
"""
MAXIMUM_UPLOAD = 10
"""Megabytes of a file."""
LIMITS = f"""
- A prompt or question has at most {MAXIMUM_TEXT} characters. The ladder reads 256 tokens of a
  prompt.
- At most {MAXIMUM_PICTURES} pictures are drawn at a time, in at most {MAXIMUM_STEPS} steps.
- At most {MAXIMUM_SOURCES} pictures are changed at a time: PNG, JPEG or WebP of at most
  {MAXIMUM_UPLOAD} MB and {MAXIMUM_PIXELS / 1e6:.1f} million pixels each.
- One request runs at a time, of each page in turn. {PLACES} may wait, {PER_ADDRESS} from one
  address and {PER_CLIENT} from one page.
- A page that was closed, or doesn't listen, loses its place within {PATIENCE:.0f} seconds.
- Uploads and pictures are deleted after {KEPT_SECONDS // 60} minutes. Until then a visit shows its
  last {EARLIER} pictures again.
"""


def build(models: Models) -> gr.Blocks:
    """The page for a ladder and what it is compared with, ready to be launched."""
    opening = Settings("generate", EXAMPLES["generate"][0], (1.0,) * models.blocks)
    drawing = draw(models, opening, [], lambda done, of: None)
    with (
        TemporaryDirectory() as folder,
        gr.Blocks(
            title="ladder", analytics_enabled=False, delete_cache=(KEPT_SECONDS // 4, KEPT_SECONDS)
        ) as app,
    ):
        page = Page(
            models,
            {
                task: Files.write(
                    replace(drawing, settings=replace(opening, task=task)),
                    models,
                    Path(mkdtemp(dir=folder)),
                )
                for task in ("generate", "inside")
            },
            lambda session: app._queue.gone(session),
        )
        gr.Markdown(HEAD)
        with gr.Accordion("What can I ask for?", open=False):
            gr.Markdown(vocabulary())
        drawing_tabs: dict[Task, DrawingTab] = {}
        with gr.Tabs() as tabs:
            with gr.Tab("Generate", id="generate"):
                drawing_tabs["generate"], to_edit, to_ask = generate_tab(page)
            with gr.Tab("Edit", id="edit"):
                drawing_tabs["edit"], sources = edit_tab(page)
            with gr.Tab("Ask", id="ask"):
                asked = ask_tab(page)
            with gr.Tab("Compare", id="compare"):
                if (comparing := compare_tab(page)) is not None:
                    drawing_tabs["compare"] = comparing
            with gr.Tab("Inside", id="inside"):
                drawing_tabs["inside"], silent = inside_tab(page)
        with gr.Accordion("Limits", open=False):
            gr.Markdown(LIMITS)
        drawn = drawing_tabs["generate"].results.pictures
        for button, tab, field in ((to_edit, "edit", sources), (to_ask, "ask", asked)):
            button.click(taker(tab), drawn, [tabs, field], **TELLING)
        open_links(page, tabs, drawing_tabs, silent)
    app.queue()
    app._queue = FairQueue(app)  # gradio has no other way to say it
    return app


def taker(tab: str) -> Callable[[Shown | None], tuple[gr.Tabs, list[str]]]:
    """What opens a tab with the first of the pictures shown; it raises gr.Error without any."""

    def take(shown: Shown | None) -> tuple[gr.Tabs, list[str]]:
        with told():
            return gr.Tabs(selected=tab), [first_picture(shown)]

    return take
