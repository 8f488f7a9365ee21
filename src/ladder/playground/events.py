"""What draws in a tab, and when: on "Draw", on an example, and on each control that is moved.

Whatever runs a model waits in one queue and runs alone, so that users wait for each other and never
meet in a model. What a user gets wrong is told as a message, with the rule and what came instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr
from gradio.events import Dependency
from PIL import Image

from ladder.playground.controls import QUICK, Controls
from ladder.playground.drawing import Models, OnStep, draw
from ladder.playground.files import Files
from ladder.playground.pictures import Results, told
from ladder.playground.settings import Settings, Task

MODEL = {"concurrency_limit": 1, "concurrency_id": "model"}
"""Of the events that run a model: one at a time."""
NOT_DRAWN = "Not drawn yet: press Draw."
"""What a caption says once something has changed that isn't drawn at once."""
WAITS = f"() => {NOT_DRAWN!r}"
REMEMBER = """(link) => {
    const whole = new URL(link, window.location);
    history.replaceState(null, "", whole);
    return whole.href;
}"""
"""Puts the settings into the address bar, and returns the whole link."""
Prepare = Callable[..., tuple[Settings, list[Image.Image]]]
PRIVATE = {"api_visibility": "private"}
"""Of the events that mean nothing to a program."""


@dataclass(frozen=True)
class Page:
    """What the tabs have in common."""

    models: Models
    first: dict[Task, Files]
    """The picture that all tabs begin with, as those show it that draw it."""
    gone: Callable[[str | None], bool]
    """Whether the client of a session has closed its page, or listens no more."""

    @property
    def opening(self) -> str:
        """The file of the picture that all tabs begin with."""
        return self.first["generate"].shown[0][0]

    def require_client(self, request: gr.Request) -> None:
        """Raises ValueError once nobody waits for the answer to a request."""
        if self.gone(request.session_hash):
            raise ValueError("nobody waits for this any more")

    def watch(self, request: gr.Request, progress: gr.Progress) -> OnStep:
        """What is told of each step: it moves the bar, and ends what nobody waits for."""

        def ended(done: int, of: int) -> None:
            self.require_client(request)
            progress((done, of), unit="steps")

        return ended


@dataclass(frozen=True)
class DrawingTab:
    """A tab that draws."""

    controls: Controls
    results: Results
    drawing: list[Dependency]
    """The events that draw."""


def connect(
    page: Page,
    controls: Controls,
    results: Results,
    examples: Sequence[gr.Button],
    given: Sequence[gr.components.Component] = (),
    prepare: Prepare = lambda settings: (settings, []),
    moving: Sequence[gr.components.Component] = (),
) -> DrawingTab:
    """Let a tab draw.

    `given` are components beside the controls; from the settings of the controls and the values of
    `given`, `prepare` makes the settings and the source pictures of the drawing. Like a control,
    each of the components `moving` draws anew when a user changes it.
    """

    def run(
        request: gr.Request,
        *values: Any,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (how gradio is told to pass one)
    ) -> Iterator[dict[Any, Any]]:
        with told(), TemporaryDirectory() as folder:
            settings = controls.read(*values[len(given) :])
            drawing = draw(
                page.models, *prepare(settings, *values[: len(given)]),
                page.watch(request, progress),
            )  # fmt: skip
            # gradio takes its copies of the files before the folder goes.
            yield results.show(Files.write(drawing, page.models, Path(folder)))

    def redraw(
        request: gr.Request,
        *values: Any,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[dict[Any, Any]]:
        """While something is still missing, a control may be moved without complaint."""
        if None in values or not values[len(given)].strip():
            yield {results.caption: NOT_DRAWN}
        else:
            yield from run(request, *values, progress=progress)

    inputs = [*given, *controls.inputs]
    shown = {"inputs": inputs, "outputs": results.outputs, "show_progress_on": results.pictures}
    drawing = [controls.prompt.submit(run, **shown, api_name=controls.task, **MODEL)]
    for button in examples:
        chosen = button.click(lambda text=button.value: text, None, controls.prompt, **QUICK)
        drawing.append(chosen.success(run, **shown, **MODEL, **PRIVATE))
    moved = [part.input for part in (*moving, *controls.numbers, *controls.rungs)]
    drawing.append(gr.on(moved, redraw, **shown, trigger_mode="always_last", **MODEL, **PRIVATE))
    drawing += [event.success(redraw, **shown, **MODEL, **PRIVATE) for event in controls.set_many]
    for event in drawing:
        event.success(None, results.link, results.link, js=REMEMBER)
    # `input` tells of keys that write, and not of those that delete, nor of what is pasted.
    controls.prompt.change(None, None, results.caption, js=WAITS)
    return DrawingTab(controls, results, drawing)
