"""The tab Generate: a picture of a prompt, with a weight for every rung."""

from __future__ import annotations

import gradio as gr

from ladder.playground.controls import QUICK, add_controls, add_examples, add_text
from ladder.playground.events import DrawingTab, Page, connect
from ladder.playground.pictures import (
    EARLIER,
    KEPT_SECONDS,
    Shown,
    add_pictures,
    add_results,
)
from ladder.playground.words import EXAMPLES


def generate_tab(page: Page) -> tuple[DrawingTab, gr.Button, gr.Button]:
    """Add the tab; returns it with the buttons that edit its first picture and ask about it.

    It opens with a picture of the first example.
    """
    first = EXAMPLES["generate"][0]
    prompt = add_text("Prompt", first, "Draw", first)
    examples = add_examples(EXAMPLES["generate"])
    with gr.Row():
        with gr.Column():
            results = add_results(page.first["generate"])
            with gr.Row():
                edit = gr.Button("Edit it", size="sm", min_width=120)
                ask = gr.Button("Ask about it", size="sm", min_width=120)
        with gr.Column():
            controls = add_controls("generate", prompt, page.models.blocks, page.models.rungs)
    with gr.Accordion("Earlier pictures", open=False):
        earlier = add_pictures("Earlier pictures", look="small")
    tab = connect(page, controls, results, examples)
    kept = gr.State([], time_to_live=KEPT_SECONDS)

    def remember(shown: Shown, before: Shown) -> tuple[Shown, Shown]:
        before = [*shown, *before][:EARLIER]
        return before, before

    for event in tab.drawing:
        event.success(remember, [results.pictures, kept], [kept, earlier], **QUICK)
    return tab, edit, ask
