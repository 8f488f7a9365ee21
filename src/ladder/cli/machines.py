"""The verbs that try a machine at the published size, on random weights: `real-size` and `gpu`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from ladder.cli.options import EXPERIMENTS, enter_repository
from ladder.config.files import write_text

app = typer.Typer()

Size = Annotated[
    Literal["tiny", "mid", "paper"], typer.Option(help="Of the models; paper is the published one.")
]
Place = Annotated[
    Path, typer.Option(metavar="FOLDER", help="Where models are made; a second run finds them.")
]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write what was measured there.")
]


@app.command(rich_help_panel=EXPERIMENTS)
def real_size(
    place: Place,
    size: Size = "paper",
    out: Out = None,
    threads: Annotated[int | None, typer.Option(min=1, help="By default one a core.")] = None,
) -> None:
    """Run every verb at the published size on random weights, beside what the plan says."""
    place, out = place.absolute(), out and out.absolute()
    root = enter_repository()
    from ladder.profiling import real_size

    print(real_size.HEADER, flush=True)
    found = real_size.real_size(size, place, root, threads or os.cpu_count() or 1, print_now)
    print(f"{found['machine']}: {found['seconds']} s")
    if out:
        write_text(out, json.dumps(found, indent=1) + "\n")


@app.command(rich_help_panel=EXPERIMENTS)
def gpu(
    place: Place,
    size: Size = "paper",
    out: Out = None,
    device: Annotated[Literal["cuda", "cpu"], typer.Option(help="cpu tries the logic.")] = "cuda",
    speed: Annotated[
        float | None,
        typer.Option(min=0.001, help="TFLOP/s of a GPU at its best, where ours isn't known."),
    ] = None,
) -> None:
    """Measure training and drawing on GPUs against the published way: ratios, memory, MFU."""
    place, out = place.absolute(), out and out.absolute()
    root = enter_repository()
    from ladder.profiling import gpu

    found = gpu.measure(size, place, root, device, speed, print_now)
    if out:
        write_text(out, json.dumps(found, indent=1) + "\n")


def print_now(line: str) -> None:
    """A line, when it is known."""
    print(line, flush=True)
