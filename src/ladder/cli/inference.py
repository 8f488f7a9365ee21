"""The verbs `generate`, `edit`, `ask` and `playground`: a trained ladder at work.

They need only the folder of a ladder, so they work anywhere.
"""

from __future__ import annotations

import inspect
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ladder.cli.options import USE, Device, Dtype, Json, Model, Seed, finite
from ladder.cli.pictures import FORMATS, check_output, write
from ladder.cli.prompts import quoted, require_quotes, texts

if TYPE_CHECKING:
    from PIL import Image

    from ladder.inference.pipeline import LadderPipeline

app = typer.Typer()

BATCH = 32
"""Pictures drawn at once."""
MOST_SOURCES = 16
"""Pictures that one instruction is about."""
ANSWER = 256
"""Tokens of an answer, at most, unless another number is given."""

Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="The picture to write.")
]
Steps = Annotated[int | None, typer.Option(min=1, help="Evaluations of the generator.")]
Guidance = Annotated[
    float | None, typer.Option(callback=finite, help="How strongly the text is followed.")
]
Grid = Annotated[int, typer.Option(metavar="N", min=1, max=BATCH, help="Pictures a prompt.")]


@app.command(rich_help_panel=USE)
def generate(
    prompts: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROMPT", help="In quotes; - stands for the lines of stdin."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", metavar="FILE", help="A prompt in each line.")
    ] = None,
    output: Output = Path("out.png"),
    seed: Seed = 0,
    steps: Steps = None,
    guidance: Guidance = None,
    grid: Grid = 1,
    model: Model = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    as_json: Json = False,
) -> None:
    """Draw what the prompts say, a row for each."""
    check_output(output)
    require_quotes("ladder generate", prompts or [])
    wanted = texts(prompts or [], file)
    pictures, how = draw(opened(model, device, dtype), wanted, [], grid, seed, steps, guidance)
    save(pictures, how, output, as_json)


@app.command(rich_help_panel=USE)
def edit(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="PNG, JPEG or WebP.")],
    instruction: Annotated[
        str, typer.Argument(help="In quotes; - makes each line of stdin an instruction.")
    ],
    output: Output = Path("out.png"),
    seed: Seed = 0,
    steps: Steps = None,
    guidance: Guidance = None,
    grid: Grid = 1,
    model: Model = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    as_json: Json = False,
) -> None:
    """Change a picture, or combine several, as the instruction says."""
    from ladder.data.images import read_picture

    check_output(output)
    require_quoted_instruction(images, instruction)
    if len(images) > MOST_SOURCES:
        raise ValueError(f"an edit is of at most {MOST_SOURCES} pictures, got {len(images)}")
    sources = [read_picture(path) for path in images]
    pictures, how = draw(
        opened(model, device, dtype), texts([instruction]), sources, grid, seed, steps, guidance
    )
    save(pictures, how, output, as_json)


@app.command(rich_help_panel=USE)
def ask(
    image: Annotated[Path, typer.Argument(help="PNG, JPEG or WebP.")],
    question: Annotated[
        list[str], typer.Argument(metavar="QUESTION", help="In quotes; - asks each line of stdin.")
    ],
    tokens: Annotated[
        int, typer.Option("--tokens", min=1, max=100_000, help="Of an answer, at most.")
    ] = ANSWER,
    model: Model = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    as_json: Json = False,
) -> None:
    """Answer a question about a picture, by the MLLM's own weights: no adapter acts."""
    from ladder.data.images import read_picture

    if len(question) > 1:
        command = f"ladder ask {shlex.quote(str(image))} {quoted(' '.join(question))}"
        raise ValueError(f"a question is one text, in quotes: {command}")
    picture = read_picture(image)
    questions = texts(question)
    pipeline = opened(model, device, dtype)
    require_short(pipeline, questions, tokens)
    for one in questions:
        if as_json:
            answer = pipeline.ask(picture, one, tokens)
            said = {"image": str(image), "question": one, "answer": answer, "adapter": None}
            print(json.dumps(said), flush=True)
            continue
        for piece in pipeline.stream(picture, one, tokens):
            print(piece, end="", flush=True)
        print()


@app.command(rich_help_panel=USE)
def playground(
    model: Model = None,
    compare: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Another ladder to draw on the same noise. By default the same one, all rungs "
            "at 1.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; the default is this machine only.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 7860,
    device: Device = "auto",
    dtype: Dtype = "float32",
) -> None:
    """Draw, edit and ask in the browser, with a weight for every rung; ends with Ctrl-C."""
    from ladder.playground import serve

    serve.playground(model, compare, host, port, device, dtype)


# ---- what the verbs have in common ----


def opened(model: Path | None, device: Device, dtype: Dtype) -> LadderPipeline:
    """The ladder in a folder, or the shipped one, which is looked for before imports take time."""
    from ladder.inference.shipped import shipped_ladder

    folder = model or shipped_ladder()
    from ladder.inference.open import open_ladder

    return open_ladder(folder, device, dtype)


def require_quoted_instruction(images: Sequence[Path], instruction: str) -> None:
    """Refuse an instruction without its quotes: words that were taken for pictures.

    Raises ValueError, which says what to type. A missing file whose name ends as a picture's does
    is a missing file.
    """
    missing = next((n for n, path in enumerate(images) if not path.exists()), len(images))
    words = [str(path) for path in images[missing:]]
    if missing and not any(Path(word).suffix.lower() in FORMATS for word in words):
        command = " ".join(["ladder edit", *(shlex.quote(str(path)) for path in images[:missing])])
        require_quotes(command, [*words, instruction])


def require_short(pipeline: LadderPipeline, questions: Sequence[str], answer: int) -> None:
    """Raises ValueError for a question that leaves no room for an answer of so many tokens."""
    understanding = pipeline.ladder.understanding
    longest = understanding.mllm.config.get_text_config().max_position_embeddings - answer
    for question in questions:
        if (tokens := len(understanding.prompter.tokens(question))) > longest:
            raise ValueError(f"a question must have at most {longest} tokens, got {tokens}")


def draw(
    pipeline: LadderPipeline,
    prompts: list[str],
    sources: list[Image.Image],
    grid: int,
    seed: int,
    steps: int | None,
    guidance: float | None,
) -> tuple[list[Image.Image], dict[str, Any]]:
    """`grid` pictures of each prompt, in the order of the prompts, and how they were made.

    The sources are those of each prompt.
    """
    import torch

    named = {"num_inference_steps": steps, "guidance_scale": guidance}
    defaults = inspect.signature(type(pipeline).__call__).parameters
    settings = {
        name: defaults[name].default if value is None else value for name, value in named.items()
    }
    generator = torch.Generator().manual_seed(seed)
    pictures = []
    some = max(1, BATCH // grid)
    for first in range(0, len(prompts), some):
        part = prompts[first : first + some]
        pictures += pipeline(
            part,
            image=[sources or None] * len(part),
            num_images_per_prompt=grid,
            generator=generator,
            **settings,
        ).images
    where = {
        "device": pipeline.device.type,
        "dtype": str(pipeline.ladder.dtype).removeprefix("torch."),
    }
    return pictures, {"prompts": prompts, "seed": seed, "grid": grid, **settings, **where}


def save(pictures: list[Image.Image], how: dict[str, Any], output: Path, as_json: bool) -> None:
    """Write the pictures as one, those of a prompt in a row, and print where."""
    from diffusers.utils import make_image_grid

    grid = how["grid"]
    write(make_image_grid(pictures, rows=len(pictures) // grid, cols=grid), output)
    print(json.dumps({"output": str(output), **how}) if as_json else output)
