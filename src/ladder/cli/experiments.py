"""The verbs about runs: arms, comparisons, sweeps, reports, and how far a run has come."""

from __future__ import annotations

import json
import math
from functools import partial
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

study = typer.Typer(help="Run a study: a notebook with every arm and every seed.")
app.add_typer(study, name="study", rich_help_panel=EXPERIMENTS)

Notebook = Annotated[Path, typer.Argument(metavar="NOTEBOOK")]
Name = Annotated[
    str, typer.Argument(metavar="STUDY", help="A file of experiments/studies, such as layers.")
]
Preset = Annotated[str, typer.Option(help="A preset in the file of the study, such as small.")]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "-p",
        metavar="NAME=VALUES",
        help="Such as arm=last,mean or seed=0..4; again for another parameter.",
    ),
]
Jobs = Annotated[int, typer.Option(min=1, envvar="JOBS", help="Runs at a time.")]


@study.command()
def run(
    name: Name,
    preset: Preset = "main",
    jobs: Jobs = 1,
    again: Annotated[
        bool, typer.Option("--again", help="Run what has results of earlier code, too.")
    ] = False,
) -> None:
    """Run what is missing of a study, and collect the results in experiments/results."""
    from ladder.experiments.run_study import run_study, summary
    from ladder.experiments.study import Study

    enter_repository()
    found = run_study(Study.read(name, preset), jobs, again)
    print(summary(found).to_string())
    failed = sum(one.status == "failed" for one in found)
    if failed:
        raise ValueError(
            f"{failed} of {len(found)} runs failed; their logs are in runs/studies/{name}"
        )


@study.command()
def status(name: Name, preset: Preset = "main") -> None:
    """Say which runs of a study are finished, out of date, failed or missing."""
    from ladder.experiments.run_study import states, summary
    from ladder.experiments.study import Study

    enter_repository()
    print(summary(states(Study.read(name, preset))).to_string())


@study.command()
def report(
    name: Annotated[
        str | None, typer.Argument(metavar="STUDY", help="Also print the tables of this study.")
    ] = None,
) -> None:
    """Write tables, figures and one HTML page of all studies into experiments/report."""
    from ladder.experiments.report import page

    enter_repository()
    known = page.Reported.read()
    if name is not None:
        print(page.tables_of(known, name))
    print(page.report(known))


@study.command()
def power(name: Name = "layers", preset: Preset = "main") -> None:
    """Say which differences a study could find, and how often it finds what is not there."""
    from ladder.config.load import load
    from ladder.experiments import power
    from ladder.experiments.results import read_runs
    from ladder.experiments.study import Study

    enter_repository()
    read = Study.read(name, preset)
    config = load(read.parameters.get("profile"))
    print(
        f"The smallest true difference to {read.control} that is found in 80% of such studies, "
        f"corrected for\n{len(read.arms) - 1} comparisons (Holm): points of 100, but losses as "
        "they are. And the share of studies without\nany effect that find one at p < .05, in "
        "percent. From the spread of the runs that are there;\nempty where no run has the metric."
    )
    found = power.power(read, config, read_runs(read))
    print(found.to_string(index=False, float_format="%.3g", na_rep=""))


@app.command(rich_help_panel=EXPERIMENTS)
def code() -> None:
    """Note what the code of every stage means, in code.json; comments change nothing in it."""
    from ladder.experiments.meaning import write_meanings

    enter_repository()
    write_meanings()


@app.command(rich_help_panel=EXPERIMENTS)
def execute(notebook: Notebook, parameters: Parameters = None) -> None:
    """Run a notebook once, into experiments/report/notebooks."""
    from ladder.experiments import grid
    from ladder.experiments.execute import run
    from ladder.experiments.notebook import require_parameters

    notebook = notebook.absolute()
    enter_repository()
    (planned,) = grid.runs_of(grid.grid_of(parameters or []))
    require_parameters(notebook, planned.parameters)
    path = Path("experiments/report/notebooks") / notebook.name
    run(notebook, path, planned.parameters)
    print(path)


@app.command(rich_help_panel=EXPERIMENTS)
def compare(
    arm: Annotated[str, typer.Argument()],
    control: Annotated[str, typer.Argument()],
    seeds: Annotated[str, typer.Option(help="With commas between them.")] = "0,1",
    study: Annotated[
        str | None, typer.Option(help="Take the runs of this study, not those of the main job.")
    ] = None,
    preset: Preset = "main",
) -> None:
    """Say how an arm differs from another, over prompts and seeds."""
    from ladder.experiments import compare

    enter_repository()
    numbers = [int(seed) for seed in seeds.split(",")]
    print(compare.compare(arm, control, numbers, study, preset))


@app.command(rich_help_panel=EXPERIMENTS)
def reproduced(
    name: Annotated[
        str, typer.Argument(metavar="RUN", help="Of the main job, as ARM-SEED.")
    ] = "ladder-0",
    against: Annotated[
        str, typer.Option(metavar="REVISION", help="Where the committed result is.")
    ] = "HEAD",
) -> None:
    """Say whether an evaluated run is the committed one again; exit code 1 if it isn't."""
    from ladder.experiments.reproduced import reproduced

    enter_repository()
    found = reproduced(name, against)
    print(found)
    if found.reasons:
        raise typer.Exit(1)


@app.command(rich_help_panel=EXPERIMENTS)
def sweep(
    notebook: Notebook,
    parameters: Parameters = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="For runs and table."),
    ] = None,
    jobs: Jobs = 1,
) -> None:
    """Run a notebook over a grid of parameters."""
    from ladder.experiments import grid

    folder = output or Path("experiments/sweeps") / notebook.stem
    table = grid.sweep(notebook, grid.grid_of(parameters or []), folder, jobs)
    print(table.to_string(index=False))
    print(folder / "table.csv")
    failed = int((table["status"] != "finished").sum())
    if failed:
        raise ValueError(f"{failed} of {len(table)} runs failed; their logs are in {folder}")


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
    caption: Annotated[
        int, typer.Option(min=1, max=256, help="Tokens of a caption; more are cut.")
    ] = 60,
    devices: Annotated[int, typer.Option(min=1, max=100_000, help="GPUs, of all nodes.")] = 8,
    memory: Annotated[float, typer.Option(min=0.001, callback=finite, help="GiB of a GPU.")] = 80.0,
    speed: Annotated[
        float, typer.Option(min=0.001, callback=finite, help="TFLOP/s of a GPU at its best.")
    ] = 990.0,
    mfu: Annotated[
        float,
        typer.Option(
            parser=reached,
            metavar="SHARE",
            help="Share of it that is reached: a number, or the file that `make gpu` wrote.",
        ),
    ] = 0.4,
) -> None:
    """Say what a training needs (memory, FLOP, hours), before anything is downloaded."""
    config = configuration(profile, arm, settings)
    from ladder.profiling import plan

    print("\n".join(plan.plan(config, caption, devices, memory, speed, mfu)))


@app.command(rich_help_panel=EXPERIMENTS)
def bench(
    what: Literal["curation", "decisions", "encode", "reading", "judge", "step", "sample"],
    sizes: Annotated[
        list[int] | None,
        typer.Argument(
            metavar="N",
            min=1,
            help="curation, decisions, encode, reading: samples; judge: pictures.",
        ),
    ] = None,
    size: Annotated[
        Literal["tiny", "mid", "paper"], typer.Option(help="step, sample: size of the models.")
    ] = "mid",
    pairs: Annotated[int, typer.Option(min=1, help="step, sample: runs of both ways.")] = 7,
    steps: Annotated[int, typer.Option(min=1, help="sample: steps of the solver.")] = 20,
    side: Annotated[
        list[int] | None,
        typer.Option(min=32, max=4096, help="curation: pixels of a side; by default 512 and 1024."),
    ] = None,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="step, sample: where.")] = "cpu",
    as_json: Json = False,
) -> None:
    """Measure a part of ladder on this machine, on made-up data and models."""
    if what in ("step", "sample") and sizes:
        raise ValueError(f"N is not of step and sample, got {sizes[0]}")
    if what not in ("step", "sample"):
        from ladder.profiling import curation, encoding, judging, reading

        measures = {
            "curation": partial(curation.curation, sides=side or curation.SIDES),
            "decisions": curation.decisions,
            "encode": encoding.encoding,
            "reading": reading.reading,
            "judge": judging.judging,
        }
        measured = measures[what](sizes or [])
        lines = [
            "   ".join(
                f"{name} {value if isinstance(value, str) else f'{value:,.4g}'}"
                for name, value in row.items()
            )
            for row in measured
        ]
    elif what == "step":
        from ladder.profiling import train_step

        measured = train_step.step(size, pairs, device)
        lines = [
            f"captions of {tokens} tokens: {described(row)}" for tokens, row in measured.items()
        ]
    else:
        from ladder.profiling import sampling

        measured = sampling.sample(size, pairs, steps, device)
        lines = [f"{case}: {described(row)}" for case, row in measured.items()]
    print(json.dumps(measured) if as_json else "\n".join(lines))


def reached(text: str | float) -> float:
    """A share above 0, as it is typed or as `make gpu` measured it and wrote it into a file.

    Raises BadParameter for what is neither.
    """
    try:
        if Path(str(text)).is_file():
            text = json.loads(Path(str(text)).read_text())["mfu"]
        share = float(text)
    except (ValueError, TypeError, KeyError):
        share = math.nan
    if not 0.001 <= share <= 1:
        raise typer.BadParameter(f"must be 0.001 to 1, or a file with such an mfu, got '{text}'")
    return share


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
