"""The tab Inside: where each block looks on its rung, step by step, and what a rung is needed for.

Letters: T steps, N rungs, B pictures, h and w places of the generator, Q queries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from ladder.data.images import encode_png
from ladder.playground.attention_table import attention_table, query_words
from ladder.playground.controls import QUICK, add_controls, add_examples, add_text
from ladder.playground.drawing import draw_weighted
from ladder.playground.events import MODEL, DrawingTab, Page, connect
from ladder.playground.pictures import KEPT_SECONDS, add_pictures, add_results, told
from ladder.playground.settings import Settings
from ladder.playground.words import EXAMPLES


def inside_tab(page: Page) -> tuple[DrawingTab, gr.CheckboxGroup]:
    """Add the tab; returns it with the choice of the rungs that are silent."""
    models = page.models
    first = EXAMPLES["generate"][0]
    prompt = add_text("Prompt to look into", first, "Draw", first)
    examples = add_examples(EXAMPLES["generate"])
    silent = gr.CheckboxGroup(models.rungs, type="index", label="Silent rungs")
    with gr.Row():
        with gr.Column():
            results = add_results(page.first["inside"])
        with gr.Column():
            controls = add_controls("inside", prompt, models.blocks)

    def prepare(settings: Settings, chosen: list[int]) -> tuple[Settings, list[Image.Image]]:
        weights = tuple(float(rung not in chosen) for rung in range(models.blocks))
        return replace(settings, rungs=weights), []

    tab = connect(page, controls, results, examples, [silent], prepare, moving=[silent])
    add_look(page, tab)
    return tab, silent


def add_look(page: Page, tab: DrawingTab) -> None:
    """Add what shows the attention of all blocks, and the picture without each rung."""
    models = page.models
    gr.Markdown(
        "### Where each block looks\n"
        "A row is a block, a column a query of its rung, named by the word that it is nearest to. "
        "The stronger the colour, the more the places of the picture attend to it."
    )
    look = gr.Button("Look inside (draws once more for each rung)", variant="primary")
    step = gr.Slider(1, 2, 1, step=1, label="Step", visible=False, buttons=[])
    table = gr.HTML()
    gr.Markdown("### Without one rung")
    without = add_pictures("Without one rung", look="small")
    maps = gr.State(None, time_to_live=KEPT_SECONDS)

    def run(
        request: gr.Request,
        *values: Any,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (how gradio is told to pass one)
    ) -> Iterator[dict[Any, Any]]:
        with told(), TemporaryDirectory() as folder:
            settings = replace(tab.controls.read(*values), pictures=1)
            if not settings.prompt.strip():
                raise ValueError("say what to look into first: the prompt is empty")
            watch = page.watch(request, progress)
            explanation = draw_weighted(
                models.pipeline, settings.rungs, settings, [],
                lambda done: watch(done, settings.steps), explain=True,
            ).explanation  # fmt: skip
            seen = explanation.attention.mean((2, 3, 4)).float().cpu().numpy()
            shown = []
            for number, (rung, pictures) in enumerate(
                zip(models.rungs, explanation.silenced, strict=True)
            ):
                path = Path(folder) / f"without-rung-{number + 1}.png"
                path.write_bytes(encode_png(pictures[0]))
                away = explanation.effect[number, 0]
                shown.append((str(path), f"without {rung[0].lower()}{rung[1:]}: {away:.0%} away"))
            yield {
                maps: seen,
                step: gr.Slider(maximum=settings.steps, value=1, visible=settings.steps > 1),
                table: draw_table(seen, 1),
                without: shown,
            }

    words = query_words(models.pipeline.ladder)

    def draw_table(seen: np.ndarray, number: int) -> str:
        return attention_table(seen[number - 1], models.rungs, words, f"Step {number}")

    look.click(
        run, tab.controls.inputs, [maps, step, table, without],
        api_name="look", show_progress_on=table, **MODEL,
    )  # fmt: skip
    step.input(draw_table, [maps, step], table, trigger_mode="always_last", **QUICK)
