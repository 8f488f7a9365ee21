"""The command `ladder VERB`: its sections, its errors and its completion.

The verbs are in the other modules of this folder. Each imports what it needs when it runs, so that
`ladder --help` answers at once. Bad input ends with code 2 after one line, an interrupt with 130.
"""

from __future__ import annotations

import contextlib
import logging
import reprlib
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer.completion import get_completion_script

from ladder import __version__
from ladder.cli import benchmarks, checkpoints, experiments, inference, judges, machines, pipeline
from ladder.cli.options import SHELL

LONGEST = 1000
"""Characters of what is said about an error, at most."""

app = typer.Typer(
    help="Draw, edit and ask with a ladder, and train one from raw shards to scores.",
    pretty_exceptions_enable=False,
)
shell = typer.Typer()
for module in (inference, pipeline, experiments, benchmarks, judges, checkpoints, machines):
    app.add_typer(module.app)
app.add_typer(shell)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns 0, 2 after one line about bad input, or 130 after an interrupt."""
    words = sys.argv[1:] if argv is None else [*argv]
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    command = typer.main.get_command(app)
    verb = next((word for word in words if not word.startswith("-")), "")
    name = f"ladder {verb}" if verb in command.commands else "ladder"
    try:
        with contextlib.chdir("."):  # a stage goes to the root of the repository: come back
            code = command.main(words, "ladder", standalone_mode=False) or 0
    except BaseException as error:
        if interrupted(error):
            code = 130
        elif isinstance(error, typer.TyperException):
            print(f"{name}: {one_line(error)}; `{name} --help` explains it", file=sys.stderr)
            return 2
        elif "--traceback" in takewhile(verb.__ne__, words) or not expected(error):
            raise
        else:
            print(f"{name}: {one_line(error)}", file=sys.stderr)
            return 2
    if code == 130:
        print(f"{name}: interrupted", file=sys.stderr)
    return code


def expected(error: BaseException) -> bool:
    """Whether an error tells of bad input, so that its place in the code would tell nothing."""
    from safetensors import SafetensorError

    return isinstance(error, ValueError | OSError | SafetensorError)


def interrupted(error: BaseException | None) -> bool:
    """Whether an error came of an interruption: Lightning and datasets make others of it."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def one_line(error: Exception) -> str:
    """What an error says, without line breaks and other control characters; a missing file by its
    name, and with the verb that writes it."""
    said = complaint(error) if isinstance(error, typer.TyperException) else str(error)
    if isinstance(error, OSError) and error.filename and error.strerror:
        said = f"{error.filename}: {error.strerror}"
    if isinstance(error, FileNotFoundError):
        path = Path(str(error.filename))
        verbs = [verb for folder, verb in pipeline.WRITERS.items() if path.is_relative_to(folder)]
        said += "".join(f"; `ladder {verb}` writes it" for verb in verbs)
    said = " ".join(said.split()) or type(error).__name__
    if len(said) > LONGEST:
        said = f"{said[: LONGEST // 2]} ... {said[-LONGEST // 2 :]}"
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in said)


def complaint(error: typer.TyperException) -> str:
    """What the parser says of a word, which it may not name itself."""
    from pydantic import ValidationError

    said = error.format_message().rstrip(".")
    if not isinstance(error.__cause__, ValidationError):
        return said
    rule, marker, named = said.partition("Value error, ")
    word = reprlib.repr(error.__cause__.errors()[0]["input"])
    return rule + named if marker else f"{said}, got {word}"


def show_version(asked: bool) -> bool:
    """Print the version and end, where it is asked for."""
    if asked:
        print(f"ladder {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def options(
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where in the code an error came from.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Options before the verb; `main` itself reads `--traceback`."""


@shell.command(rich_help_panel=SHELL)
def completion(shell: Literal["bash", "zsh", "fish"]) -> None:
    """Print what completes verbs, options and files: eval "$(ladder completion bash)"."""
    print(get_completion_script(prog_name="ladder", complete_var="_LADDER_COMPLETE", shell=shell))


if __name__ == "__main__":
    sys.exit(main())
