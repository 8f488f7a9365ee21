"""The stages of the main job, as `dvc.yaml` calls them: from raw shards to a scored ladder.

They work in the repository that the working directory is in, under its `params.yaml`.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Literal

import typer

from ladder.cli.options import (
    PIPELINE,
    Arm,
    Device,
    Dtype,
    Profile,
    Settings,
    configuration,
    configuration_anywhere,
    enter_repository,
)

app = typer.Typer()

RAW, CURATED, ENCODED = Path("data/raw"), Path("data/curated"), Path("data/encoded")
BROUGHT = ENCODED.with_name(".encoded.brought")
"""Encoded sets that lie elsewhere, on this machine."""
"""Where the data stand, from the root of the repository."""
RESULTS = Path("experiments/results")
EncodeDevice = Annotated[
    Literal["auto", "cpu", "cuda", "mps"] | None, typer.Option(help="Short for encoding.device=..")
]
EncodeDtype = Annotated[
    Literal["float32", "bfloat16"] | None, typer.Option(help="Short for foundations.dtype=..")
]
WRITERS = {RAW: "world", CURATED: "curate", ENCODED: "encode"}
"""The verb that writes each, to be named where it is missing."""


def at_work(out: Path) -> AbstractContextManager[object]:
    """One process at a time writes `out`; the first of those that torchrun started locks for all.

    Raises BusyError, which names the process that is at work.
    """
    from ladder.config.lock import locked

    first = os.environ.get("RANK", "0") == "0"
    return locked(out.with_name(f".{out.name}.lock")) if first else nullcontext()


@app.command(rich_help_panel=PIPELINE)
def world(settings: Settings = None, profile: Profile = None, arm: Arm = None) -> None:
    """Draw the toy world's raw shards into data/raw."""
    config = configuration(profile, arm, settings)
    from ladder.world import shards

    with at_work(RAW):
        shards.write(config.world, RAW)


@app.command(rich_help_panel=PIPELINE)
def curate(
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RAW] KEY=VALUE",
            help="A folder of raw sets, also hf:// or s3://, and changes of params.yaml.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="By default data/curated.")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=PLACE", help="A raw set by its folder or URL; again for another."
        ),
    ] = None,
    profile: Profile = None,
    arm: Arm = None,
) -> None:
    """Check, sort out and split raw sets, by default those of data/raw; DIR may be anywhere."""
    place, rest = folder_of("curate", settings)
    if place and sets:
        raise ValueError(f"curate takes a folder of raw sets or single ones, got {place} and --set")
    # What is typed counts from where it is typed.
    given = out and out.absolute()
    places = {name: local(found) for name, found in map(named_set, sets or [])}
    raw = local(place) if place else None
    config = configuration_anywhere(profile, arm, rest, [given, Path(raw or "sets")])
    from ladder.data.curation import curate
    from ladder.data.sources import remote

    curated = given or CURATED
    with at_work(curated):
        if places:
            folder = remote.gather(places, curated.with_name(f".{curated.name}.sets"))
        elif raw and remote.is_remote(raw):
            folder = remote.bring(raw, curated.with_name(f".{curated.name}.raw"))
        else:
            folder = Path(raw) if raw else RAW
        curate.curate(folder, curated, config.curation)


def folder_of(verb: str, words: list[str] | None) -> tuple[str | None, list[str]]:
    """The folder or URL among the words of a verb, if there is one, and its settings."""
    found = [word for word in words or [] if is_folder(word)]
    if len(found) > 1:
        raise ValueError(f"{verb} takes one folder, got {len(found)}: {found}")
    return next(iter(found), None), [word for word in words or [] if word not in found]


def is_folder(word: str) -> bool:
    """Whether a word is no setting: a URL, or a path, which may have a = in it."""
    head = word.partition("=")[0]
    return "://" in head or "=" not in word or os.path.isdir(word)  # noqa: PTH112 (long words raise there)


def named_set(word: str) -> tuple[str, str]:
    """The name and the place of a raw set; raises ValueError for a name that is no folder's."""
    name, equals, place = word.partition("=")
    if not equals or not place or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise ValueError(f"--set must be NAME=PLACE, NAME of letters, digits, _ and -, got {word}")
    return name, place


def local(place: str) -> str:
    """A path made absolute; a URL as it is."""
    return place if "://" in place else str(Path(place).absolute())


@app.command(rich_help_panel=PIPELINE)
def pretrain(
    part: Literal["autoencoder", "mllm_base", "mllm", "generator_base", "generator"],
    settings: Settings = None,
    profile: Profile = None,
    arm: Arm = None,
) -> None:
    """Train one of the pretrained parts on the toy world, each after those that it needs."""
    config = configuration(profile, arm, settings)
    if part == "autoencoder":
        from ladder.pretraining import autoencoder as model
    elif part == "mllm_base":
        from ladder.pretraining import mllm as model
    elif part == "mllm":
        from ladder.pretraining import mllm_tuning as model
    elif part == "generator_base":
        from ladder.pretraining import generator as model
    else:
        from ladder.pretraining import generator_tuning as model
    with at_work(Path("models") / part):
        model.main(config)


@app.command(rich_help_panel=PIPELINE)
def examine(settings: Settings = None, profile: Profile = None, arm: Arm = None) -> None:
    """Score the pretrained parts into experiments/results/foundations.json."""
    config = configuration(profile, arm, settings)
    from ladder.evaluation.toy import foundations

    with at_work(RESULTS / "foundations"):
        foundations.examine(config)


@app.command(rich_help_panel=PIPELINE)
def encode(
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CURATED] KEY=VALUE",
            help="What `curate` wrote, and changes of params.yaml.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="By default data/encoded.")
    ] = None,
    profile: Profile = None,
    arm: Arm = None,
    device: EncodeDevice = None,
    dtype: EncodeDtype = None,
) -> None:
    """Encode curated pictures once into latents, by default those of data/curated."""
    place, rest = folder_of("encode", settings)
    given = {"encoding.device": "null" if device == "auto" else device, "foundations.dtype": dtype}
    named = [f"{key}={value}" for key, value in given.items() if value is not None]
    paths = [place and Path(place).absolute(), out and out.absolute()]
    config = configuration_anywhere(profile, arm, [*rest, *named], paths)
    from ladder.data.training import encode

    curated, encoded = paths[0] or CURATED, paths[1] or ENCODED
    with at_work(encoded):
        encode.encode(config, curated, encoded)


@app.command(rich_help_panel=PIPELINE)
def check() -> None:
    """Compare data, models, results and DVC's cache with their records; exit code 1 for faults."""
    root = enter_repository()
    from ladder.experiments.check import check

    found = check(root)
    print(found)
    if found.faults:
        raise typer.Exit(1)


@app.command(rich_help_panel=PIPELINE)
def train(
    stage: Literal["t2i", "ti2i", "finetune"],
    settings: Settings = None,
    profile: Profile = None,
    arm: Arm = None,
    export: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write the whole pipeline there, ready to use."),
    ] = None,
    encoded: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            help="What `encode` wrote, by default data/encoded; of a URL each machine gets a copy.",
        ),
    ] = None,
) -> None:
    """Train one stage of the ladder, in runs/ARM-SEED/STAGE; exit code 1 if it diverges."""
    export = export and export.absolute()
    place = local(encoded) if encoded else str(ENCODED)
    config = configuration(profile, arm, settings)
    from ladder.data.sources.remote import near
    from ladder.training.monitor import DivergedError
    from ladder.training.stages import run_stage

    try:
        run_stage(config, stage, near(place, BROUGHT), export=export)
    except DivergedError as error:
        print(f"ladder train: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


@app.command(rich_help_panel=PIPELINE)
def evaluate(
    settings: Settings = None,
    profile: Profile = None,
    arm: Arm = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
) -> None:
    """Score a trained ladder into experiments/results/ARM-SEED.json."""
    config = configuration(profile, arm, settings)
    from ladder.evaluation import run

    with at_work(RESULTS / f"{config.arm}-{config.seed}"):
        run.evaluate(config, device=device, dtype=dtype)
