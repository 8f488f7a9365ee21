"""The verbs `generate`, `edit` and `ask`: a trained ladder at the command line.

They need only the folder of a ladder, and import what they need when they run.
"""

from __future__ import annotations

import argparse
import errno
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

    from ladder.pipeline import LadderPipeline

MAXIMUM_PIXELS = 2**26
"""Larger pictures are refused before they are decoded."""


def generate(options: argparse.Namespace) -> None:
    """Draw what the prompts say, a row for each."""
    save(draw(options, options.prompts), options)


def edit(options: argparse.Namespace) -> None:
    """Change a picture, or combine several, as the instruction says."""
    sources = [read_picture(path) for path in options.images]
    save(draw(options, [options.instruction], image=[sources]), options)


def ask(options: argparse.Namespace) -> None:
    """Answer a question about a picture."""
    picture = read_picture(options.image)
    for piece in open_ladder(options.model).stream(picture, options.question):
        print(piece, end="", flush=True)
    print()


def draw(options: argparse.Namespace, prompts: list[str], **inputs: object) -> list[Image.Image]:
    """`options.grid` pictures of each prompt, in the order of the prompts."""
    import torch

    named = {"num_inference_steps": options.steps, "guidance_scale": options.guidance}
    inputs |= {name: value for name, value in named.items() if value is not None}
    return open_ladder(options.model)(
        prompts,
        num_images_per_prompt=options.grid,
        generator=torch.Generator().manual_seed(options.seed),
        **inputs,
    ).images


def save(pictures: list[Image.Image], options: argparse.Namespace) -> None:
    """Write the pictures as one, `options.grid` in a row, and print where."""
    from diffusers.utils import make_image_grid

    grid = make_image_grid(pictures, rows=len(pictures) // options.grid, cols=options.grid)
    grid.save(options.output)
    print(options.output)


def open_ladder(folder: Path | None) -> LadderPipeline:
    """The pipeline in a folder, by default the one that comes with the repository.

    Raises FileNotFoundError where there is no such folder.
    """
    from ladder.pipeline import SHIPPED, LadderPipeline

    folder = folder or SHIPPED
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no trained ladder here", str(folder))
    return LadderPipeline.from_pretrained(folder)


def read_picture(path: Path) -> Image.Image:
    """A picture in RGB, upright; raises ValueError for what is none, or is too large."""
    from ladder.data.images import BadSampleError, decode

    try:
        return decode(path.read_bytes(), MAXIMUM_PIXELS)
    except BadSampleError as error:
        raise ValueError(f"{path}: not a picture that can be used ({error.reason})") from error
