"""The page: three tabs, and what their buttons do. Needs gradio, the extra `playground`.

Whatever runs a model waits in one queue and runs alone, so that users wait for each other and never
meet in a model. What a user gets wrong is told as a message, with the rule and what came instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr
from PIL import Image

from ladder.playground.controls import Controls, add_controls, add_text, add_upload
from ladder.playground.drawing import Models, draw, pack, read_sources, rung_names
from ladder.playground.settings import Task, check_text, from_query, to_query

HEAD = """# ladder
Each block of the generator looks at a layer of the language model of its own: its rung. What
happens to a picture when a rung counts for more, or for nothing?
"""
REMEMBER = """(link) => {
    const whole = new URL(link, window.location);
    history.replaceState(null, "", whole);
    return whole.href;
}"""
"""Puts the settings into the address bar, and returns the whole link."""
WORDS = {
    "generate": ("Prompt", "a red star left of a blue circle", "Draw"),
    "edit": ("Instruction", "remove the star", "Draw"),
    "ask": ("Question", "what color is the star?", "Ask"),
}
"""What the text of a tab is, an example, and what sends it."""
EARLIER = 24
"""Pictures of a visit that are kept."""
KEPT_SECONDS = 3600
"""After that, uploads and pictures are deleted."""
WAITING = 32
"""Requests that wait; a further one is refused."""
MODEL = {"concurrency_limit": 1, "concurrency_id": "model"}
"""Of the events that run a model: one at a time."""
PRIVATE = {"api_visibility": "private"}
"""Of the events that mean nothing to a program."""


def build(models: Models) -> gr.Blocks:
    """The page for a ladder and what it is compared with, ready to be launched."""
    with gr.Blocks(
        title="ladder", analytics_enabled=False, delete_cache=(KEPT_SECONDS // 4, KEPT_SECONDS)
    ) as app:
        gr.Markdown(HEAD)
        with gr.Tabs() as tabs:
            with gr.Tab("Generate", id="generate"):
                generate, drawn, to_edit = drawing_tab(models, "generate", gr.State([]))
            with gr.Tab("Edit", id="edit"):
                sources = add_upload("Pictures to change")
                sources.upload(checked, sources, sources, **PRIVATE)
                edit, edited, again = drawing_tab(models, "edit", sources)
            with gr.Tab("Ask", id="ask"):
                asking_tab(models)
        for button, gallery in ((to_edit, drawn), (again, edited)):
            button.click(first_to_edit, gallery, [tabs, sources], **PRIVATE)

        def open_link(request: gr.Request) -> dict[Any, Any]:
            query = {k: v for k, v in request.query_params.items() if not k.startswith("__")}
            if not query:
                return {tabs: gr.skip()}
            with told():
                settings = from_query(query, models.pipeline.ladder.taps.blocks)
            tab = {"generate": generate, "edit": edit}[settings.task]
            return {tabs: gr.Tabs(selected=settings.task), **tab.show(settings)}

        app.load(open_link, None, [tabs, *generate.inputs, *edit.inputs], **PRIVATE)
    return app.queue(max_size=WAITING)


def drawing_tab(
    models: Models, task: Task, sources: gr.Gallery | gr.State
) -> tuple[Controls, gr.Gallery, gr.Button]:
    """Add what draws; returns its settings, its pictures and the button that edits the first."""
    prompt = add_text(*WORDS[task])
    with gr.Row():
        with gr.Column():
            result = add_pictures("Pictures")
            with gr.Row():
                change = gr.Button("Edit the first", size="sm", min_width=120)
                download = gr.DownloadButton(
                    "Download all", size="sm", min_width=120, interactive=False
                )
        with gr.Column():
            controls = add_controls(task, prompt, rung_names(models.pipeline.ladder.taps))
    link = gr.Textbox(label="Link to these settings", buttons=["copy"], interactive=False)
    with gr.Accordion("Earlier pictures", open=False):
        earlier = add_pictures("Earlier pictures", "small")
    kept = gr.State([], time_to_live=KEPT_SECONDS)

    def run(
        uploads: list[tuple[str, str | None]] | None,
        before: list[tuple[Image.Image, str]],
        *values: Any,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (how gradio is told to pass one)
    ) -> Iterator[dict[Any, Any]]:
        with told(), TemporaryDirectory() as folder:
            settings = controls.read(*values)
            drawing = draw(
                models,
                settings,
                read_sources([path for path, _ in uploads or []]),
                lambda done, of: progress((done, of), unit="steps"),
            )
            shown = drawing.captioned()
            before = [*((picture, settings.prompt) for picture, _ in shown), *before][:EARLIER]
            archive = pack(drawing, models, Path(folder) / f"ladder-{settings.seed}.zip")
            # gradio takes its copy of the archive before the folder goes.
            yield {
                result: shown,
                download: gr.DownloadButton(value=archive, interactive=True),
                link: f"?{to_query(settings)}",
                kept: before,
                earlier: before,
            }

    def redraw(
        uploads: list[tuple[str, str | None]] | None,
        before: list[tuple[Image.Image, str]],
        *values: Any,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[dict[Any, Any]]:
        """While there is nothing to draw yet, a rung may be moved without complaint."""
        if before:
            yield from run(uploads, before, *values, progress=progress)

    inputs = [sources, kept, *controls.inputs]
    outputs = [result, download, link, kept, earlier]
    drawn = prompt.submit(run, inputs, outputs, api_name=task, show_progress_on=result, **MODEL)
    moved = gr.on(
        [rung.input for rung in controls.rungs],
        redraw, inputs, outputs, trigger_mode="always_last", show_progress_on=result,
        **MODEL, **PRIVATE,
    )  # fmt: skip
    for event in (drawn, moved):
        event.success(None, link, link, js=REMEMBER)
    return controls, result, change


def asking_tab(models: Models) -> None:
    """Add what answers questions about a picture, or about none."""
    picture = add_upload("Picture to ask about")
    picture.upload(checked, picture, picture, **PRIVATE)
    question = add_text(*WORDS["ask"])
    answer = gr.Textbox(label="Answer of the untouched language model", interactive=False)

    def run(uploads: list[tuple[str, str | None]] | None, text: str) -> Iterator[str]:
        with told():
            check_text("question", text)
            pictures = read_sources([path for path, _ in uploads or []])
            if not text.strip() or len(pictures) > 1:
                raise ValueError(
                    "a question and at most one picture are needed, got "
                    f"{len(text.strip())} characters and {len(pictures)} pictures"
                )
            said = ""
            for piece in models.pipeline.stream(pictures[0] if pictures else None, text):
                said += piece
                yield said

    question.submit(run, [picture, question], answer, api_name="ask", **MODEL)


def add_pictures(label: str, look: str = "") -> gr.Gallery:
    """Add a field that shows pictures, two side by side or, with the look "small", more."""
    return gr.Gallery(
        label=label,
        show_label=False,
        columns=2,
        fit_columns=False,
        elem_classes=look,
        height="auto",
        format="png",
        object_fit="contain",
        interactive=False,
        buttons=["download", "fullscreen"],
    )


def first_to_edit(shown: list[tuple[str, str | None]] | None) -> tuple[gr.Tabs, list[str]]:
    """Open the tab Edit with the first of the pictures shown; raises gr.Error without any."""
    with told():
        if not shown:
            raise ValueError("there is no picture to edit yet: draw one first")
    return gr.Tabs(selected="edit"), [shown[0][0]]


def checked(uploads: list[tuple[str, str | None]]) -> Any:
    """Leave uploads as they are, or say what is wrong with them and remove them."""
    try:
        read_sources([path for path, _ in uploads])
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
