"""What `generate` and `edit` draw, from what was asked to the file; and a ladder that is opened."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from ladder.cli.drawn import KEY, Drawn, drawn, require_ladder
from ladder.cli.imports import uncollected
from ladder.cli.options import Device, Dtype
from ladder.cli.pictures import write

if TYPE_CHECKING:
    from PIL import Image

    from ladder.inference.pipeline import LadderPipeline

BATCH = 32
"""Pictures drawn at once."""


@dataclass(frozen=True)
class How:
    """What options say of a drawing; None is one that says nothing."""

    seed: int | None
    grid: int | None
    steps: int | None
    guidance: float | None
    device: Literal["auto", "cpu", "cuda", "mps"] | None
    dtype: Literal["float32", "bfloat16"] | None

    def over(self, base: How) -> How:
        """`base`, but for what is said here."""
        said = {name: value for name, value in asdict(self).items() if value is not None}
        return replace(base, **said)


PLAIN = How(0, 1, None, None, "auto", "float32")
"""Without any option; steps and guidance are the pipeline's own."""


@dataclass(frozen=True)
class Job:
    """What to draw: `grid` pictures for each prompt, of the same sources."""

    verb: Literal["generate", "edit"]
    prompts: list[str]
    sources: list[Path]
    how: How
    before: Drawn | None = None
    """Of a picture that is drawn again."""


def how_drawn(found: Drawn) -> How:
    """The settings of a picture."""
    return How(
        found.seed, found.grid, found.num_inference_steps, found.guidance_scale, found.device,
        found.dtype,
    )  # fmt: skip


def draw_and_save(job: Job, model: Path | None, output: Path, show: bool, as_json: bool) -> None:
    """Draw, write the pictures as one, those of a prompt in a row, and print where."""
    from ladder.data.images import read_picture
    from ladder.inference.shipped import shipped_ladder

    sources = [read_picture(path) for path in job.sources]
    folder = model or shipped_ladder()
    pipeline = opened(folder, job.how.device, job.how.dtype)
    from diffusers.utils import make_image_grid

    from ladder.models.reference import folder_hash

    ladder = folder_hash(folder)
    if job.before is not None:
        require_ladder(job.before, ladder)
    pictures, settings = draw(pipeline, job.prompts, sources, job.how)
    whole = make_image_grid(pictures, rows=len(job.prompts), cols=job.how.grid)
    write(whole, output, {KEY: drawn(job.verb, settings, job.sources, ladder).as_json()})
    print(json.dumps({"output": str(output), **settings}) if as_json else output)
    if show and typer.launch(str(output), wait=True):
        print(f"ladder {job.verb}: no program here shows {output}", file=sys.stderr)


def draw(
    pipeline: LadderPipeline, prompts: list[str], sources: list[Image.Image], how: How
) -> tuple[list[Image.Image], dict[str, Any]]:
    """The pictures of each prompt, in the order of the prompts, and all settings."""
    import torch

    named = {"num_inference_steps": how.steps, "guidance_scale": how.guidance}
    defaults = inspect.signature(type(pipeline).__call__).parameters
    settings = {
        name: defaults[name].default if value is None else value for name, value in named.items()
    }
    generator = torch.Generator().manual_seed(how.seed)
    pictures = []
    some = max(1, BATCH // how.grid)
    for first in range(0, len(prompts), some):
        part = prompts[first : first + some]
        pictures += pipeline(
            part,
            image=[sources or None] * len(part),
            num_images_per_prompt=how.grid,
            generator=generator,
            **settings,
        ).images
    where = {
        "device": pipeline.device.type,
        "dtype": str(pipeline.ladder.dtype).removeprefix("torch."),
    }
    told = {"prompts": prompts, "seed": how.seed, "grid": how.grid}
    return pictures, told | settings | where


def opened(model: Path | None, device: Device, dtype: Dtype) -> LadderPipeline:
    """The ladder in a folder, or the shipped one, which is looked for before imports take time."""
    from ladder.inference.shipped import shipped_ladder

    folder = model or shipped_ladder()
    with telling("loading libraries and weights"), uncollected():
        from ladder.inference.open import open_ladder

        return open_ladder(folder, device, dtype)


@contextmanager
def telling(what: str) -> Iterator[None]:
    """Show on a terminal that something is under way; a pipe or file hears nothing."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
