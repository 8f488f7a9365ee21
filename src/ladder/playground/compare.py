"""The tab Compare: two ladders draw one prompt from the same noise."""

from __future__ import annotations

import gradio as gr

from ladder.playground.controls import add_controls, add_examples, add_text
from ladder.playground.events import DrawingTab, Page, connect
from ladder.playground.pictures import add_results
from ladder.playground.words import EXAMPLES

ALONE = """Nothing to compare with yet: start the page with the folder of a second ladder,

    make playground OPTIONS="--compare FOLDER"

for example one that was trained as another arm (`experiments/arms`), such as `last`, whose blocks
all read the last layer. Both then draw the same prompt from the same noise, side by side.
"""


def compare_tab(page: Page) -> DrawingTab | None:
    """Add the tab; None where there is no second ladder."""
    models = page.models
    if models.other is None:
        gr.Markdown(ALONE)
        return None
    gr.Markdown(
        f"Left **{models.name}**, in the middle **{models.other_name}**, right how far they are "
        "apart: white where they differ most."
    )
    prompt = add_text("Prompt of both", EXAMPLES["generate"][0], "Draw")
    examples = add_examples(EXAMPLES["generate"])
    with gr.Row():
        with gr.Column(scale=2):
            results = add_results()
        with gr.Column():
            controls = add_controls("compare", prompt, models.blocks)
    return connect(page, controls, results, examples)
