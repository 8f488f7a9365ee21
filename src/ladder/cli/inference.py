"""The verbs `generate`, `edit` and `ask`: a trained ladder at the command line.

They need only the folder of a ladder, and import what they need when they run.
"""

from __future__ import annotations

import argparse
import errno
import inspect
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ladder.data.images import read_picture
from ladder.inference.open import open_ladder

if TYPE_CHECKING:
    from PIL import Image

    from ladder.inference.pipeline import LadderPipeline

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""Of the pictures that are written, by the end of their names."""
BATCH = 32
"""Pictures drawn at once."""
STDIN = "-"
"""In place of a text: the lines of what is piped in."""
ANSWER = 256
"""Tokens of an answer, at most."""


def generate(options: argparse.Namespace) -> None:
    """Draw what the prompts say, a row for each."""
    check_output(options.output)
    prompts = texts(options.prompts) + (lines(options.file) if options.file else [])
    if not prompts:
        raise ValueError("there must be a prompt, on the command line or in a file, got none")
    save(*draw(options, prompts, []), options)


def edit(options: argparse.Namespace) -> None:
    """Change a picture, or combine several, as the instruction says."""
    check_output(options.output)
    sources = [read_picture(path) for path in options.images]
    save(*draw(options, texts([options.instruction]), sources), options)


def ask(options: argparse.Namespace) -> None:
    """Answer a question about a picture, by the MLLM's own weights: no adapter acts."""
    picture = read_picture(options.image)
    questions = texts([options.question])
    pipeline = open_ladder(options.model)
    require_short(pipeline, questions)
    for question in questions:
        if options.json:
            answer = pipeline.ask(picture, question, ANSWER)
            said = {"image": str(options.image), "question": question, "answer": answer}
            print(json.dumps(said | {"adapter": None}), flush=True)
            continue
        for piece in pipeline.stream(picture, question, ANSWER):
            print(piece, end="", flush=True)
        print()


def require_short(pipeline: LadderPipeline, questions: list[str]) -> None:
    """Raises ValueError for a question that leaves no room for an answer."""
    understanding = pipeline.ladder.understanding
    longest = understanding.mllm.config.get_text_config().max_position_embeddings - ANSWER
    for question in questions:
        if (tokens := len(understanding.prompter.tokens(question))) > longest:
            raise ValueError(f"a question must have at most {longest} tokens, got {tokens}")


def draw(
    options: argparse.Namespace, prompts: list[str], sources: list[Image.Image]
) -> tuple[list[Image.Image], dict[str, Any]]:
    """`options.grid` pictures of each prompt, in the order of the prompts, and how they were made.

    The sources are those of each prompt.
    """
    import torch

    pipeline = open_ladder(options.model)
    named = {"num_inference_steps": options.steps, "guidance_scale": options.guidance}
    defaults = inspect.signature(type(pipeline).__call__).parameters
    settings = {
        name: defaults[name].default if value is None else value for name, value in named.items()
    }
    generator = torch.Generator().manual_seed(options.seed)
    pictures = []
    some = max(1, BATCH // options.grid)
    for first in range(0, len(prompts), some):
        part = prompts[first : first + some]
        pictures += pipeline(
            part,
            image=[sources or None] * len(part),
            num_images_per_prompt=options.grid,
            generator=generator,
            **settings,
        ).images
    return pictures, {"prompts": prompts, "seed": options.seed, "grid": options.grid, **settings}


def save(pictures: list[Image.Image], how: dict[str, Any], options: argparse.Namespace) -> None:
    """Write the pictures as one, `options.grid` in a row, and print where."""
    from diffusers.utils import make_image_grid

    grid = make_image_grid(pictures, rows=len(pictures) // options.grid, cols=options.grid)
    part = options.output.with_name(f".{options.output.name}.part")
    try:
        grid.save(part, FORMATS[options.output.suffix.lower()])
        part.replace(options.output)
    finally:
        part.unlink(missing_ok=True)
    if options.json:
        print(json.dumps({"output": str(options.output), **how}))
    else:
        print(options.output)


def check_output(path: Path) -> None:
    """Raises ValueError or OSError where no picture could be written, before any is drawn."""
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"a picture's name must end in {', '.join(FORMATS)}, got {path}")
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a folder, and no picture", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(path.parent))


def texts(words: list[str]) -> list[str]:
    """The words of the command line, with the lines of stdin in place of STDIN.

    Raises ValueError for bytes that were no UTF-8, and where stdin holds nothing.
    """
    found = [line for word in words for line in (lines(Path(word)) if word == STDIN else [word])]
    if words and not found:
        raise ValueError("stdin must hold a line of text, got none")
    for text in found:
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError(f"words must be UTF-8, got {text[:50]!a}")
    return found


def lines(path: Path) -> list[str]:
    """The lines of a text file, or of stdin, without those that are empty."""
    text = sys.stdin.read() if str(path) == STDIN else path.read_text(encoding="utf-8-sig")
    return [line.strip() for line in text.splitlines() if line.strip()]


# ---- the words of the command line ----


def add_verbs(add: Callable[[Callable[..., None]], argparse.ArgumentParser]) -> None:
    """The words of these verbs; `add` makes a verb of a function."""
    verb = add(generate)
    verb.add_argument("prompts", nargs="*", metavar="PROMPT", help="-: the lines of stdin")
    verb.add_argument("-f", "--file", type=Path, metavar="FILE", help="a prompt in each line")
    add_sampling(verb)
    verb = add(edit)
    verb.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    verb.add_argument("instruction", metavar="INSTRUCTION", help="-: each line of stdin is one")
    add_sampling(verb)
    verb = add(ask)
    verb.add_argument("image", type=Path, metavar="IMAGE")
    verb.add_argument("question", metavar="QUESTION", help="-: each line of stdin is one")
    add_model(verb)
    add_json(verb)


def add_sampling(verb: argparse.ArgumentParser) -> None:
    """What `generate` and `edit` have in common."""
    verb.add_argument("-o", "--output", type=Path, default=Path("out.png"), metavar="FILE",
                      help="the picture to write (%(default)s)")  # fmt: skip
    verb.add_argument("--seed", type=seed, default=0, help="of the noise (%(default)s)")
    verb.add_argument("--steps", type=positive, help="evaluations of the generator")
    verb.add_argument("--guidance", type=finite, help="how strongly the text is followed")
    verb.add_argument("--grid", type=drawn_at_once, default=1, metavar="N",
                      help=f"pictures a prompt, at most {BATCH}")  # fmt: skip
    add_model(verb)
    add_json(verb)


def add_model(verb: argparse.ArgumentParser) -> None:
    """The folder of the ladder to use."""
    verb.add_argument(
        "--model",
        type=Path,
        metavar="FOLDER",
        help="a trained ladder (the one that comes with the repository)",
    )


def add_json(verb: argparse.ArgumentParser) -> None:
    """How the outcome is told."""
    verb.add_argument("--json", action="store_true", help="say in JSON what was done")


def drawn_at_once(text: str) -> int:
    """A number of pictures that fit into one batch."""
    if (number := positive(text)) > BATCH:
        raise argparse.ArgumentTypeError(f"must be at most {BATCH}, got {number}")
    return number


def positive(text: str) -> int:
    """A whole number above 0."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def seed(text: str) -> int:
    """A whole number that torch takes as a seed."""
    number = int(text)
    if not 0 <= number < 2**63:
        raise argparse.ArgumentTypeError(f"must be 0 to 2**63 - 1, got {number}")
    return number


def above_zero(text: str) -> float:
    """A finite number above 0."""
    if (number := finite(text)) <= 0:
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return number


def finite(text: str) -> float:
    """A number, not infinite and not NaN."""
    number = float(text)
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"must be finite, got {text}")
    return number
