"""The verbs about runs: arms, comparisons, sweeps, reports, and how far a run has come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ladder.cli.options import (
    EXPERIMENTS,
    Arm,
    Json,
    Profile,
    Settings,
    configuration,
    enter_repository,
    finite,
)

app = typer.Typer()

Notebook = Annotated[Path, typer.Argument(metavar="NOTEBOOK")]


@app.command(rich_help_panel=EXPERIMENTS)
def cell(
    part: Literal["train", "evaluate"],
    settings: Settings = None,
    profile: Profile = None,
    arm: Arm = None,
) -> None:
    """Train or evaluate one arm with one seed, as a cell of the study that a profile describes."""
    if profile is None:
        raise ValueError("a cell needs --profile: ablation, or full for the main job's length")
    config = configuration(profile, arm, settings)
    if part == "train":
        from ladder.experiments.train_cell import train_cell

        train_cell(config, profile)
    else:
        from ladder.experiments.scoring import evaluate_cell

        evaluate_cell(config, profile)


@app.command(rich_help_panel=EXPERIMENTS)
def power(settings: Settings = None, profile: Profile = None, arm: Arm = None) -> None:
    """Say which differences the ablations could find, before they are run."""
    config = configuration(profile, arm, settings)
    from ladder.experiments import power
    from ladder.experiments.study import Study

    study = Study.read()
    print(
        f"The smallest true differences to {study.control}, in points of 100, that would be found "
        f"in 80% of\nsuch studies, corrected for {len(study.arms) - 1} comparisons (Holm):"
    )
    print(power.power(study, config).to_string(index=False, float_format="%.1f"))


@app.command(rich_help_panel=EXPERIMENTS)
def report() -> None:
    """Write tables, figures and one HTML page of the ablations into experiments/report."""
    from ladder.experiments.report import page
    from ladder.experiments.study import Study

    enter_repository()
    print(page.report(Study.read()))


@app.command(rich_help_panel=EXPERIMENTS)
def execute(notebook: Notebook) -> None:
    """Run a notebook as it is, into experiments/report/notebooks."""
    from ladder.experiments.notebook_run import run

    path = Path("experiments/report/notebooks") / notebook.name
    run(notebook, path, {})
    print(path)


@app.command(rich_help_panel=EXPERIMENTS)
def compare(
    arm: Annotated[str, typer.Argument()],
    control: Annotated[str, typer.Argument()],
    seeds: Annotated[str, typer.Option(help="With commas between them.")] = "0,1",
    study: Annotated[
        Literal["ablation", "full"] | None,
        typer.Option(help="Take the cells of this profile, not runs of the main job."),
    ] = None,
) -> None:
    """Say how an arm differs from another, over prompts and seeds."""
    from ladder.experiments import compare
    from ladder.experiments.runs import RESULTS

    enter_repository()
    numbers = [int(seed) for seed in seeds.split(",")]
    print(compare.compare(arm, control, numbers, RESULTS / (study or "")))


@app.command(rich_help_panel=EXPERIMENTS)
def reproduced(
    name: Annotated[str, typer.Argument(help="Of the run: ARM-SEED.")] = "ladder-0",
    against: Annotated[str, typer.Option(metavar="REVISION")] = "HEAD",
) -> None:
    """Say whether an evaluated run is the committed one again; exit code 1 if it isn't."""
    from ladder.experiments import reproduced

    enter_repository()
    found = reproduced.reproduced(name, against)
    print(found)
    if found.reasons:
        raise typer.Exit(1)


@app.command(rich_help_panel=EXPERIMENTS)
def sweep(
    notebook: Notebook,
    parameters: Annotated[
        list[str] | None,
        typer.Option(
            "-p",
            metavar="NAME=VALUES",
            help="Such as scheme=last_n,uniform or seed=0..4; again for another parameter.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="For cells and table."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Cells at a time.")] = 1,
) -> None:
    """Run a notebook over a grid of parameters."""
    from ladder.experiments import notebook_sweep

    grid = notebook_sweep.grid_of(parameters or [])
    folder = output or Path("experiments/sweeps") / notebook.stem
    table = notebook_sweep.sweep(notebook, grid, folder, jobs)
    print(table.to_string(index=False))
    print(folder / "table.csv")
    failed = int((table["status"] != "finished").sum())
    if failed:
        raise ValueError(f"{failed} of {len(table)} cells failed; their logs are in {folder}")


@app.command(rich_help_panel=EXPERIMENTS)
def watch(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Such as runs/ladder-0.")],
    every: Annotated[int, typer.Option(min=1, help="Seconds.")] = 2,
    once: Annotated[bool, typer.Option("--once", help="Show it, and end.")] = False,
) -> None:
    """Show how far a run has come: loss, norm, skips, speed, time left."""
    from ladder.training import watch

    watch.watch(folder, every, once)


@app.command(rich_help_panel=EXPERIMENTS)
def plan(
    settings: Settings = None,
    profile: Profile = None,
    arm: Arm = None,
    caption: Annotated[int, typer.Option(min=1, max=100_000, help="Tokens of a caption.")] = 60,
    devices: Annotated[int, typer.Option(min=1, max=100_000, help="GPUs, of all nodes.")] = 8,
    memory: Annotated[float, typer.Option(min=0.001, callback=finite, help="GiB of a GPU.")] = 80.0,
    speed: Annotated[
        float, typer.Option(min=0.001, callback=finite, help="TFLOP/s of a GPU at its best.")
    ] = 990.0,
    use: Annotated[
        float, typer.Option(min=0.001, max=1, callback=finite, help="Share of it that is reached.")
    ] = 0.4,
) -> None:
    """Say what a training needs (memory, FLOP, hours), before anything is downloaded."""
    config = configuration(profile, arm, settings)
    from ladder.profiling import plan

    print("\n".join(plan.plan(config, caption, devices, memory, speed, use)))


@app.command(rich_help_panel=EXPERIMENTS)
def bench(
    what: Literal["curation", "decisions", "step", "sample"],
    sizes: Annotated[
        list[int] | None,
        typer.Argument(metavar="N", min=1, help="curation, decisions: samples or records."),
    ] = None,
    size: Annotated[
        Literal["tiny", "mid", "paper"], typer.Option(help="step, sample: size of the models.")
    ] = "mid",
    pairs: Annotated[int, typer.Option(min=1, help="step, sample: runs of both ways.")] = 7,
    steps: Annotated[int, typer.Option(min=1, help="sample: steps of the solver.")] = 20,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="step: where.")] = "cpu",
    as_json: Json = False,
) -> None:
    """Measure a part of ladder on this machine, on made-up data and models."""
    if what in ("step", "sample") and sizes:
        raise ValueError(f"N is of curation and decisions only, got {sizes[0]}")
    if what in ("curation", "decisions"):
        from ladder.profiling import curation

        measure = curation.curation if what == "curation" else curation.decisions
        measured = measure(sizes or [])
        lines = [
            "   ".join(f"{name} {value:,.4g}" for name, value in row.items()) for row in measured
        ]
    elif what == "step":
        from ladder.profiling import train_step

        measured = train_step.step(size, pairs, device)
        lines = [
            f"captions of {tokens} tokens: {described(row)}" for tokens, row in measured.items()
        ]
    else:
        from ladder.profiling import sampling

        measured = sampling.sample(size, pairs, steps)
        lines = [f"{case}: {described(row)}" for case, row in measured.items()]
    print(json.dumps(measured) if as_json else "\n".join(lines))


def described(row: dict[str, Any]) -> str:
    """What a comparison with the published way found, in a line."""
    text = timed(row)
    if "readings_kept" in row:
        text += f", with prompts read before {timed(row['readings_kept'])}"
    if "MiB" in row:
        memory = row["MiB"]
        text += (
            f", {row['memory_ratio']:.2f}x the memory ({memory['published']:,.0f} MiB published, "
            f"{memory['ours']:,.0f} MiB ours)"
        )
    return text


def timed(row: dict[str, Any]) -> str:
    """How much faster ours is than the published way."""
    ratio, seconds = row["ratio"], row["seconds"]
    return (
        f"{ratio['median']:.2f}x as fast ({ratio['low']:.2f} .. {ratio['high']:.2f}; "
        f"{seconds['published']:.2f} s published, {seconds['ours']:.2f} s ours)"
    )
