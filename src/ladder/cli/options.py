"""What several verbs take (settings, a model, numbers), and how a verb gets its configuration."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ladder.config.repository import enclosing_repository, find_repository

if TYPE_CHECKING:
    from ladder.config.load import Config

USE = "Use a ladder"
PIPELINE = "Pipeline"
EXPERIMENTS = "Experiments"
BENCHMARKS = "Benchmarks"
CHECKPOINTS = "Checkpoints"
SHELL = "Shell"
"""Sections of `ladder --help`, in their order."""


def names(folder: str) -> Callable[[str], list[str]]:
    """Completes the names of the YAML files in a folder of `experiments`."""

    def complete(incomplete: str) -> list[str]:
        root = find_repository(Path.cwd())
        files = root.glob(f"experiments/{folder}/{incomplete}*.yaml") if root else ()
        return sorted(file.stem for file in files)

    return complete


def finite(number: float | None) -> float | None:
    """Refuses infinities and NaN; raises BadParameter, which names the option."""
    if number is not None and not math.isfinite(number):
        raise typer.BadParameter(f"must be a finite number, got {number}")
    return number


Profile = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Lay experiments/profiles/NAME.yaml over params.yaml.",
        autocompletion=names("profiles"),
    ),
]
Arm = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Lay experiments/arms/NAME.yaml over that.",
        autocompletion=names("arms"),
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Change single settings of params.yaml, such as model.queries=8.",
        show_default=False,
    ),
]
Model = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="A trained ladder. By default $LADDER_MODEL, or the one of the repository.",
    ),
]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the noise.")]
Device = Annotated[
    Literal["auto", "cpu", "cuda", "mps"],
    typer.Option(help="Where models compute; auto: on a GPU where there is one."),
]
Dtype = Annotated[
    Literal["float32", "bfloat16"],
    typer.Option(help="In what models compute; bfloat16 takes half the memory."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON.")]


def enter_repository() -> Path:
    """Go to the root of the repository that the user is in; `main` goes back after the verb.

    Raises FileNotFoundError outside of a repository.
    """
    root = enclosing_repository()
    os.chdir(root)
    return root


def configuration(profile: str | None, arm: str | None, settings: list[str] | None) -> Config:
    """The configuration that a command line asks for, at work in the repository.

    The rest of the verb runs in the root of the repository, wherever the user stands, on as many
    threads as the configuration says. A verb makes the paths that the user gave absolute before.
    Raises ConfigError, and FileNotFoundError outside of a repository.
    """
    from ladder.config.load import load

    root = enter_repository()
    config = load(profile, arm, settings or ())
    say_stage(root)
    return at_its_threads(config)


def configuration_anywhere(
    profile: str | None, arm: str | None, settings: list[str], paths: list[Path | None]
) -> Config:
    """That of the repository, or else, where the user gave all the `paths` that a verb works on,
    the defaults under the settings.

    Raises what `configuration` does, and ValueError for a profile or an arm outside a repository.
    """
    if find_repository(Path.cwd()) is not None or not all(paths):
        return configuration(profile, arm, settings)
    from ladder.config.load import load_defaults

    if profile or arm:
        raise ValueError(f"profiles and arms are in a repository, and {Path.cwd()} is in none")
    return at_its_threads(load_defaults(settings))


def at_its_threads(config: Config) -> Config:
    """The configuration, with torch on as many threads as it says."""
    import torch

    torch.set_num_threads(config.threads)
    return config


def say_stage(root: Path) -> None:
    """Where DVC runs this verb as a stage of the main job: which one it is, of how many."""
    stage = os.environ.get("DVC_STAGE")
    if stage is None:
        return
    from ladder.config.layers import read_file

    stages = [*read_file(root / "dvc.yaml")["stages"]]
    if stage in stages:
        logging.info("stage %d of %d: %s", stages.index(stage) + 1, len(stages), stage)
