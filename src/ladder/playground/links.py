"""What a link opens: its tab and settings, and a picture unless it waits for pictures to edit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr

from ladder.playground.controls import TELLING
from ladder.playground.drawing import draw
from ladder.playground.events import MODEL, NOT_DRAWN, PRIVATE, DrawingTab, Page
from ladder.playground.files import Files
from ladder.playground.pictures import told
from ladder.playground.settings import Task, from_query, to_query


def open_links(
    page: Page, tabs: gr.Tabs, drawing_tabs: dict[Task, DrawingTab], silent: gr.CheckboxGroup
) -> None:
    """Let a link show its settings, and draw unless it waits for pictures to edit."""
    models = page.models
    # A component of the page, since gradio notices a change of its value.
    wanted = gr.Textbox(label="Wanted", visible="hidden")

    def show(request: gr.Request) -> dict[Any, Any]:
        query = {k: v for k, v in request.query_params.items() if not k.startswith("__")}
        if not query:
            return {wanted: ""}
        with told():
            settings = from_query(query, models.blocks)
            if settings.task not in drawing_tabs:
                raise ValueError("a comparison needs another ladder: start with --compare FOLDER")
        tab = drawing_tabs[settings.task]
        shown = {tabs: gr.Tabs(selected=settings.task), **tab.controls.show(settings)}
        if settings.task == "inside":
            chosen = zip(models.rungs, settings.rungs, strict=True)
            shown[silent] = [rung for rung, weight in chosen if not weight]
        if settings.task == "edit":
            return shown | {tab.results.caption: NOT_DRAWN}
        return shown | {wanted: to_query(settings) if settings.prompt.strip() else ""}

    def draw_wanted(
        request: gr.Request,
        query: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (how gradio is told to pass one)
    ) -> Iterator[dict[Any, Any]]:
        if not query:
            return
        with told(), TemporaryDirectory() as folder:
            settings = from_query(dict(parse_qsl(query)), models.blocks)
            drawing = draw(models, settings, [], page.watch(request, progress))
            files = Files.write(drawing, models, Path(folder))
            yield drawing_tabs[settings.task].results.show(files)

    parts = [part for tab in drawing_tabs.values() for part in tab.controls.inputs]
    results = [part for tab in drawing_tabs.values() for part in tab.results.outputs]
    captions = [tab.results.caption for tab in drawing_tabs.values()]
    # Without triggers it happens when the page is loaded.
    gr.on(None, show, None, [wanted, tabs, silent, *parts, *captions], **TELLING)
    wanted.change(draw_wanted, wanted, results, **MODEL, **PRIVATE)
