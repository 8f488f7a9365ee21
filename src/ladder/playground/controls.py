"""The components that hold the settings of a tab."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import SystemRandom
from typing import Any

import gradio as gr
from gradio.events import Dependency

from ladder.playground.settings import (
    MAXIMUM_GUIDANCE,
    MAXIMUM_PICTURES,
    MAXIMUM_SEED,
    MAXIMUM_STEPS,
    MAXIMUM_TEXT,
    MAXIMUM_WEIGHT,
    Settings,
    Task,
)

QUICK = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
"""Of events that run no model, and mean nothing to a program."""
TELLING = {"concurrency_limit": None, "api_visibility": "private", "show_progress": "hidden"}
"""Of those that may have something to tell: messages come through the queue only."""


@dataclass(frozen=True)
class Controls:
    """The components of a tab that hold its settings."""

    task: Task
    blocks: int
    """How many rungs the ladder has."""
    prompt: gr.Textbox
    numbers: list[gr.Number | gr.Slider]
    """Seed, steps, guidance, image guidance and number of pictures."""
    rungs: list[gr.Slider]
    """One for each rung, or none: then all rungs stay at 1."""
    set_many: list[Dependency]
    """Events that have set some of them, such as all rungs at 1."""

    @property
    def inputs(self) -> list[gr.components.Component]:
        """All that `read` needs the values of, in its order."""
        return [self.prompt, *self.numbers, *self.rungs]

    def read(self, prompt: str, *values: float | None) -> Settings:
        """The settings that the components show.

        Raises ValueError for one that is empty or out of its range.
        """
        if prompt is None or None in values:
            raise ValueError("every setting needs a value, got an empty one")
        seed, steps, guidance, image_guidance, pictures, *rungs = values
        return Settings(
            self.task,
            prompt,
            tuple(float(weight) for weight in rungs) or (1.0,) * self.blocks,
            int(seed),
            int(steps),
            float(guidance),
            float(image_guidance),
            int(pictures),
        )

    def show(self, settings: Settings) -> dict[gr.components.Component, Any]:
        """The values that the components must get, to show `settings`."""
        one = settings
        numbers = [one.seed, one.steps, one.guidance, one.image_guidance, one.pictures]
        values = [one.prompt, *numbers, *(one.rungs if self.rungs else ())]
        return dict(zip(self.inputs, values, strict=True))


def add_text(label: str, example: str, verb: str, value: str = "") -> gr.Textbox:
    """Add a field for a text, with the button that sends it; Enter does so too."""
    return gr.Textbox(
        value, label=label, placeholder=example, max_length=MAXIMUM_TEXT, submit_btn=verb
    )


def add_examples(texts: Sequence[str]) -> list[gr.Button]:
    """Add a button for each text, which says it."""
    with gr.Row(elem_classes="examples"):
        return [gr.Button(text, size="sm", min_width=0, scale=0) for text in texts]


def add_controls(
    task: Task, prompt: gr.Textbox, blocks: int, rungs: Sequence[str] = ()
) -> Controls:
    """Add the numbers that a task is drawn with; `rungs` names each rung that gets a weight."""
    default = Settings(task, "", (1.0,) * blocks)
    weights, set_many = [], []
    if rungs:
        with gr.Accordion("Weights of the rungs", open=True):
            gr.Markdown("1 leaves a rung as it is, 0 silences it.")
            with gr.Row():
                weights = [
                    gr.Slider(
                        0, MAXIMUM_WEIGHT, 1, step=0.05, label=name, min_width=200, buttons=[]
                    )
                    for name in rungs
                ]
            ones = gr.Button("All at 1", size="sm")
        set_many.append(ones.click(lambda: [1.0] * len(weights), None, weights, **QUICK))
    with gr.Accordion("Noise, steps and guidance", open=False):
        with gr.Row(equal_height=True):
            seed = gr.Number(
                default.seed, label="Seed", precision=0, minimum=0, maximum=MAXIMUM_SEED
            )
            chance = gr.Button("Another seed", size="sm")
        steps = gr.Slider(1, MAXIMUM_STEPS, default.steps, step=1, label="Steps", buttons=[])
        guidance = gr.Slider(
            0, MAXIMUM_GUIDANCE, default.guidance, step=0.1, label="Guidance towards the text",
            buttons=[],
        )  # fmt: skip
        image_guidance = gr.Slider(
            0, MAXIMUM_GUIDANCE, default.image_guidance, step=0.1,
            label="Guidance towards the pictures", visible=task == "edit", buttons=[],
        )  # fmt: skip
        pictures = gr.Slider(
            1, MAXIMUM_PICTURES, default.pictures, step=1, label="Pictures", buttons=[]
        )
    draw_seed = SystemRandom().randrange
    set_many.append(chance.click(lambda: draw_seed(MAXIMUM_SEED + 1), None, seed, **QUICK))
    numbers = [seed, steps, guidance, image_guidance, pictures]
    return Controls(task, blocks, prompt, numbers, weights, set_many)
