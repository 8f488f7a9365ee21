"""The verbs `generate`, `edit`, `ask` and `playground`: a trained ladder at work.

They need only the folder of a ladder, so they work anywhere.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ladder.cli.drawing import BATCH, PLAIN, How, Job, draw_and_save, how_drawn, opened
from ladder.cli.drawn import again, read_drawn, require_sources
from ladder.cli.options import USE, Device, Dtype, Json, Model, finite
from ladder.cli.pictures import FORMATS, check_output
from ladder.cli.prompts import quoted, require_quotes, texts

if TYPE_CHECKING:
    from ladder.inference.pipeline import LadderPipeline

app = typer.Typer()

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
From = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="PICTURE",
        help="Draw a PNG of this verb again, to the byte; options change single settings.",
    ),
]
Show = Annotated[bool, typer.Option("--open", help="Show the picture.")]
Grid = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, max=BATCH, show_default=str(PLAIN.grid), help="Pictures a prompt."
    ),
]
Noise = Annotated[
    int | None,
    typer.Option(
        "--seed", min=0, max=2**63 - 1, show_default=str(PLAIN.seed), help="Seed of the noise."
    ),
]
Where = Annotated[
    Literal["auto", "cpu", "cuda", "mps"] | None,
    typer.Option(
        "--device",
        show_default=PLAIN.device,
        help="Where models compute; auto: on a GPU where there is one.",
    ),
]
Precision = Annotated[
    Literal["float32", "bfloat16"] | None,
    typer.Option(
        "--dtype",
        show_default=PLAIN.dtype,
        help="In what models compute; bfloat16 takes half the memory.",
    ),
]


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
    seed: Noise = None,
    steps: Steps = None,
    guidance: Guidance = None,
    grid: Grid = None,
    model: Model = None,
    device: Where = None,
    dtype: Precision = None,
    before: From = None,
    show: Show = False,
    as_json: Json = False,
) -> None:
    """Draw what the prompts say, a row for each."""
    check_output(output)
    how = How(seed, grid, steps, guidance, device, dtype)
    if before is not None:
        found = again(before, "generate", [*(prompts or []), *([str(file)] if file else [])])
        job = Job("generate", [*found.prompts], [], how.over(how_drawn(found)), found)
    else:
        require_quotes("ladder generate", prompts or [])
        job = Job("generate", texts(prompts or [], file), [], how.over(PLAIN))
    draw_and_save(job, model, output, show, as_json)


@app.command(rich_help_panel=USE)
def edit(
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="IMAGE..", help="PNG, JPEG or WebP.")
    ] = None,
    instruction: Annotated[
        str | None, typer.Argument(help="In quotes; - makes each line of stdin an instruction.")
    ] = None,
    output: Output = Path("out.png"),
    seed: Noise = None,
    steps: Steps = None,
    guidance: Guidance = None,
    grid: Grid = None,
    model: Model = None,
    device: Where = None,
    dtype: Precision = None,
    before: From = None,
    show: Show = False,
    as_json: Json = False,
) -> None:
    """Change a picture, or combine several, as the instruction says."""

    check_output(output)
    how = How(seed, grid, steps, guidance, device, dtype)
    if before is not None:
        words = [*map(str, images or []), *([instruction] if instruction else [])]
        found = again(before, "edit", words)
        sources, how = require_sources(found), how.over(how_drawn(found))
        job = Job("edit", [*found.prompts], sources, how, found)
    else:
        if not images or instruction is None:
            raise ValueError('an edit needs a picture and what to do: ladder edit FILE "turn it"')
        require_quoted_instruction(images, instruction)
        if len(images) > MOST_SOURCES:
            raise ValueError(f"an edit is of at most {MOST_SOURCES} pictures, got {len(images)}")
        job = Job("edit", texts([instruction]), images, how.over(PLAIN))
    draw_and_save(job, model, output, show, as_json)


@app.command(rich_help_panel=USE)
def info(
    picture: Annotated[Path, typer.Argument(help="A PNG that `generate` or `edit` drew.")],
    as_json: Json = False,
) -> None:
    """Show how a picture was drawn, and the command that draws it again."""
    found = read_drawn(picture)
    if as_json:
        print(found.as_json())
        return
    for name, value in asdict(found).items():
        print(f"{name:20} {json.dumps(value)}")
    print(f"{'again':20} ladder {found.verb} --from {shlex.quote(str(picture))}")


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

    if len(question) > 1 and image.exists():
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
            help="Another ladder, which the tab Compare draws on the same noise.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; the default is this machine only.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 7860,
    auth: Annotated[
        str | None,
        typer.Option(
            envvar="LADDER_AUTH",
            metavar="USER:PASSWORD",
            help="What the page asks for. From the environment it isn't in the list of processes.",
        ),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
) -> None:
    """Draw, edit, ask, compare and look inside in the browser; ends with Ctrl-C."""
    from ladder.playground import serve

    serve.playground(model, compare, host, port, device, dtype, auth)


# ---- what the verbs have in common ----


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
