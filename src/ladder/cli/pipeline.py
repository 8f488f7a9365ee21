"""The stages of the main job, as `dvc.yaml` calls them: from raw shards to a scored ladder.

They work in the repository that the working directory is in, under its `params.yaml`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ladder.cli.options import PIPELINE, Arm, Profile, Settings, configuration

app = typer.Typer()

RAW, CURATED, ENCODED = Path("data/raw"), Path("data/curated"), Path("data/encoded")
"""Where the data stand, from the root of the repository."""
WRITERS = {RAW: "world", CURATED: "curate", ENCODED: "encode"}
"""The verb that writes each, to be named where it is missing."""


@app.command(rich_help_panel=PIPELINE)
def world(settings: Settings = None, profile: Profile = None, arm: Arm = None) -> None:
    """Draw the toy world's raw shards into data/raw."""
    config = configuration(profile, arm, settings)
    from ladder.world import shards

    shards.write(config.world, RAW)


@app.command(rich_help_panel=PIPELINE)
def curate(settings: Settings = None, profile: Profile = None, arm: Arm = None) -> None:
    """Check, sort out and split the raw shards into data/curated."""
    config = configuration(profile, arm, settings)
    from ladder.data.curation import curate

    curate.curate(RAW, CURATED, config.curation)


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
    model.main(config)


@app.command(rich_help_panel=PIPELINE)
def examine(settings: Settings = None, profile: Profile = None, arm: Arm = None) -> None:
    """Score the pretrained parts into experiments/results/foundations.json."""
    config = configuration(profile, arm, settings)
    from ladder.evaluation.toy import foundations

    foundations.examine(config)


@app.command(rich_help_panel=PIPELINE)
def encode(settings: Settings = None, profile: Profile = None, arm: Arm = None) -> None:
    """Encode the curated pictures once into latents, in data/encoded."""
    config = configuration(profile, arm, settings)
    from ladder.data.training import encode
    from ladder.models.generator.autoencoder import load_autoencoder

    encode.encode(CURATED, ENCODED, load_autoencoder(config.foundations.generator))


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
    """Train one stage of the ladder, in runs/ARM-SEED/STAGE."""
    export = export and export.absolute()
    config = configuration(profile, arm, settings)
    from ladder.training.stages import run_stage

    run_stage(config, stage, ENCODED, export=export)


@app.command(rich_help_panel=PIPELINE)
def evaluate(settings: Settings = None, profile: Profile = None, arm: Arm = None) -> None:
    """Score a trained ladder into experiments/results/ARM-SEED.json."""
    config = configuration(profile, arm, settings)
    from ladder.evaluation import run

    run.evaluate(config)
