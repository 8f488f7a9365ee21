"""The stages of the main job, as `dvc.yaml` calls them: from raw shards to a scored ladder.

They work in the repository that the working directory is in, under its `params.yaml`.
"""

from __future__ import annotations

import os
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
    enter_repository,
)

app = typer.Typer()

RAW, CURATED, ENCODED = Path("data/raw"), Path("data/curated"), Path("data/encoded")
"""Where the data stand, from the root of the repository."""
RESULTS = Path("experiments/results")
EncodeDevice = Annotated[
    Literal["cpu", "cuda", "mps"] | None, typer.Option(help="Short for encoding.device=..")
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
        typer.Argument(metavar="[RAW] KEY=VALUE", help="Raw sets, and changes of params.yaml."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="By default data/curated.")
    ] = None,
    profile: Profile = None,
    arm: Arm = None,
) -> None:
    """Check, sort out and split the raw sets of a folder, by default data/raw."""
    words = settings or []
    folders = [word for word in words if "=" not in word or os.path.isdir(word)]  # noqa: PTH112 (long words raise there)
    if len(folders) > 1:
        raise ValueError(f"curate takes one folder of raw sets, got {len(folders)}: {folders}")
    # What is typed counts from where it is typed.
    raw = Path(folders[0]).absolute() if folders else RAW
    curated = CURATED if out is None else out.absolute()
    config = configuration(profile, arm, [word for word in words if word not in folders])
    from ladder.data.curation import curate

    with at_work(curated):
        curate.curate(raw, curated, config.curation)


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
    settings: Settings = None,
    profile: Profile = None,
    arm: Arm = None,
    device: EncodeDevice = None,
    dtype: EncodeDtype = None,
) -> None:
    """Encode the curated pictures once into latents, in data/encoded."""
    given = {"encoding.device": device, "foundations.dtype": dtype}
    named = [f"{key}={value}" for key, value in given.items() if value is not None]
    config = configuration(profile, arm, [*(settings or []), *named])
    from ladder.data.training import encode

    with at_work(ENCODED):
        encode.encode(config, CURATED, ENCODED)


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
) -> None:
    """Train one stage of the ladder, in runs/ARM-SEED/STAGE; exit code 1 if it diverges."""
    export = export and export.absolute()
    config = configuration(profile, arm, settings)
    from ladder.training.monitor import DivergedError
    from ladder.training.stages import run_stage

    try:
        run_stage(config, stage, ENCODED, export=export)
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
