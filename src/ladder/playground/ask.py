"""The tab Ask: answers about a picture, or about none, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr

from ladder.playground.controls import QUICK, TELLING, add_examples, add_text
from ladder.playground.drawing import read_sources
from ladder.playground.events import MODEL, PRIVATE, Page
from ladder.playground.pictures import Shown, add_upload, checked, paths, told
from ladder.playground.settings import check_text
from ladder.playground.words import EXAMPLES


def ask_tab(page: Page) -> gr.Gallery:
    """Add the tab; returns the field of its picture."""
    with gr.Row():
        with gr.Column():
            picture = add_upload("Picture to ask about", page.opening)
        with gr.Column():
            question = add_text("Question", EXAMPLES["ask"][0], "Ask")
            examples = add_examples(EXAMPLES["ask"])
            answer = gr.Textbox(label="Answer of the untouched language model", interactive=False)

    def run(request: gr.Request, uploads: Shown | None, text: str) -> Iterator[str]:
        with told():
            check_text("question", text)
            pictures = read_sources(paths(uploads))
            if not text.strip() or len(pictures) > 1:
                raise ValueError(
                    "a question and at most one picture are needed, got "
                    f"{len(text.strip())} characters and {len(pictures)} pictures"
                )
            said = ""
            for piece in page.models.pipeline.stream(pictures[0] if pictures else None, text):
                page.require_client(request)
                said += piece
                yield said

    inputs = [picture, question]
    picture.upload(checked, picture, picture, **TELLING)
    question.submit(run, inputs, answer, api_name="ask", **MODEL)
    for button in examples:
        chosen = button.click(lambda text=button.value: text, None, question, **QUICK)
        chosen.success(run, inputs, answer, **MODEL, **PRIVATE)
    return picture
