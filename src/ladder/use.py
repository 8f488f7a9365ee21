"""The verbs `generate`, `edit` and `ask`: a trained ladder at the command line.

They need only the folder of a ladder, and import what they need when they run.
"""

from __future__ import annotations

import argparse
import errno
from pathlib import Path
from typing import TYPE_CHECKING

from ladder.outside import reading, require_finite

if TYPE_CHECKING:
    from PIL import Image

    from ladder.pipeline import LadderPipeline

MAXIMUM_PIXELS = 2**26
"""Larger pictures are refused before they are decoded."""
ANSWER = 256
"""Tokens of an answer, at most."""


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
    require_text(options.question)
    pipeline = open_ladder(options.model)
    understanding = pipeline.ladder.understanding
    longest = understanding.mllm.config.text_config.max_position_embeddings - ANSWER
    if (tokens := len(understanding.prompter.tokens(options.question))) > longest:
        raise ValueError(f"a question must have at most {longest} tokens, got {tokens}")
    for piece in pipeline.stream(picture, options.question, ANSWER):
        print(piece, end="", flush=True)
    print()


def draw(options: argparse.Namespace, prompts: list[str], **inputs: object) -> list[Image.Image]:
    """`options.grid` pictures of each prompt, in the order of the prompts."""
    import torch

    for prompt in prompts:
        require_text(prompt)
    named = {"num_inference_steps": options.steps, "guidance_scale": options.guidance}
    inputs |= {name: value for name, value in named.items() if value is not None}
    return open_ladder(options.model)(
        prompts,
        num_images_per_prompt=options.grid,
        generator=torch.Generator().manual_seed(options.seed),
        **inputs,
    ).images


def require_text(words: str) -> None:
    """Raises ValueError for bytes of the command line that were no UTF-8."""
    if any("\ud800" <= character <= "\udfff" for character in words):
        raise ValueError(f"words must be UTF-8, got {words[:50]!a}")


def save(pictures: list[Image.Image], options: argparse.Namespace) -> None:
    """Write the pictures as one, `options.grid` in a row, and print where."""
    from diffusers.utils import make_image_grid

    grid = make_image_grid(pictures, rows=len(pictures) // options.grid, cols=options.grid)
    grid.save(options.output)
    print(options.output)


def open_ladder(folder: Path | None) -> LadderPipeline:
    """The pipeline in a folder, by default the one that comes with the repository.

    Raises FileNotFoundError where there is no such folder, and ValueError for one whose files
    aren't those of a ladder, or whose weights aren't all there, all expected and all finite.
    """
    from diffusers import AutoencoderDC

    from ladder.model.generator import load_part
    from ladder.pipeline import SHIPPED, LadderPipeline

    folder = folder or SHIPPED
    if not (folder / "model_index.json").is_file():
        raise FileNotFoundError(errno.ENOENT, "no trained ladder here", str(folder))
    quiet()
    with reading(folder, "a ladder"):
        # A pipeline would fill in weights that its autoencoder lacks, and forget those left over.
        autoencoder = load_part(AutoencoderDC, folder, "vae")
        pipeline = LadderPipeline.from_pretrained(folder, vae=autoencoder)
    require_finite({"ladder": pipeline.ladder, "vae": autoencoder}, folder)
    return pipeline


def quiet() -> None:
    """Keep the libraries' own bars and advice about loading off the terminal."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def read_picture(path: Path) -> Image.Image:
    """A picture in RGB, upright; raises ValueError for what is none, or is too large."""
    from ladder.data.images import BadSampleError, decode

    try:
        return decode(path.read_bytes(), MAXIMUM_PIXELS)
    except BadSampleError as error:
        raise ValueError(f"{path}: not a picture that can be used ({error.reason})") from error
