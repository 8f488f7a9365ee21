"""The components that hold the settings of a tab, and those that take pictures."""

from __future__ import annotations

from dataclasses import dataclass
from random import SystemRandom
from typing import Any

import gradio as gr

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


@dataclass(frozen=True)
class Controls:
    """The components of a tab that hold its settings."""

    task: Task
    prompt: gr.Textbox
    numbers: list[gr.Number | gr.Slider]
    """Seed, steps, guidance, image guidance and number of pictures."""
    rungs: list[gr.Slider]

    @property
    def inputs(self) -> list[gr.components.Component]:
        """All that `read` needs the values of, in its order."""
        return [self.prompt, *self.numbers, *self.rungs]

    def read(self, prompt: str, *values: float | None) -> Settings:
        """The settings that the components show.

        Raises ValueError for one that is empty or out of its range.
        """
        if None in values:
            raise ValueError("every setting needs a value, got an empty one")
        seed, steps, guidance, image_guidance, pictures, *rungs = values
        return Settings(
            self.task,
            prompt,
            tuple(float(weight) for weight in rungs),
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
        return dict(zip(self.inputs, [one.prompt, *numbers, *one.rungs], strict=True))


def add_text(label: str, example: str, verb: str) -> gr.Textbox:
    """Add a field for a text, with the button that sends it; Enter does so too."""
    return gr.Textbox(label=label, placeholder=example, max_length=MAXIMUM_TEXT, submit_btn=verb)


def add_controls(task: Task, prompt: gr.Textbox, rungs: list[str]) -> Controls:
    """Add the numbers that a task is drawn with; `rungs` names each rung."""
    default = Settings(task, "", (1.0,) * len(rungs))
    with gr.Accordion("Weights of the rungs", open=True):
        with gr.Row():
            weights = [
                gr.Slider(0, MAXIMUM_WEIGHT, 1, step=0.05, label=name, min_width=200, buttons=[])
                for name in rungs
            ]
        ones = gr.Button("All at 1", size="sm")
    with gr.Accordion("Noise, steps and guidance", open=False):
        with gr.Row(equal_height=True):
            seed = gr.Number(
                default.seed, label="Seed", precision=0, minimum=0, maximum=MAXIMUM_SEED
            )
            chance = gr.Button("Another seed", size="sm")
        steps = gr.Slider(1, MAXIMUM_STEPS, default.steps, step=1, label="Steps")
        guidance = gr.Slider(
            0, MAXIMUM_GUIDANCE, default.guidance, step=0.1, label="Guidance towards the text"
        )
        image_guidance = gr.Slider(
            0,
            MAXIMUM_GUIDANCE,
            default.image_guidance,
            step=0.1,
            label="Guidance towards the pictures",
            visible=task == "edit",
        )
        pictures = gr.Slider(1, MAXIMUM_PICTURES, default.pictures, step=1, label="Pictures")
    draw_seed = SystemRandom().randrange
    chance.click(
        lambda: draw_seed(MAXIMUM_SEED + 1), None, seed, queue=False, api_visibility="private"
    )
    ones.click(lambda: [1.0] * len(weights), None, weights, queue=False, api_visibility="private")
    return Controls(task, prompt, [seed, steps, guidance, image_guidance, pictures], weights)


def add_upload(label: str) -> gr.Gallery:
    """Add a field for pictures; what it holds are the paths of files that nobody has read yet."""
    return gr.Gallery(
        label=label,
        file_types=["image"],
        sources=["upload"],
        type="filepath",
        interactive=True,
        elem_classes="small",
        height="auto",
        object_fit="contain",
        buttons=[],
    )
