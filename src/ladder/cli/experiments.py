"""The command line's verbs about runs: cells of arm and seed, comparisons, sweeps, reports, and
how far a run has come.

Each imports what it needs when it runs, so that `ladder --help` answers at once.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ladder.config.load import Config


def cell(config: Config, options: argparse.Namespace) -> None:
    """Train or evaluate one arm with one seed, as a cell of the study that a profile describes."""
    if options.profile is None:
        raise ValueError("a cell needs --profile: ablation, or full for the main job's length")
    if options.part == "train":
        from ladder.experiments.train_cell import train_cell

        train_cell(config, options.profile)
    else:
        from ladder.experiments.scoring import evaluate_cell

        evaluate_cell(config, options.profile)


def power(config: Config, options: argparse.Namespace) -> None:
    """Say which differences the ablations could find, before they are run."""
    from ladder.experiments.power import power
    from ladder.experiments.study import Study

    study = Study.read()
    print(
        f"The smallest true differences to {study.control}, in points of 100, that would be found "
        f"in 80% of\nsuch studies, corrected for {len(study.arms) - 1} comparisons (Holm):"
    )
    print(power(study, config).to_string(index=False, float_format="%.1f"))


def report(options: argparse.Namespace) -> None:
    """Write tables, figures and one HTML page of the ablations into experiments/report."""
    from ladder.experiments.report.page import report
    from ladder.experiments.study import Study

    print(report(Study.read()))


def execute(options: argparse.Namespace) -> None:
    """Run a notebook as it is, into experiments/report/notebooks."""
    from ladder.experiments.notebook_run import run

    path = Path("experiments/report/notebooks") / options.notebook.name
    run(options.notebook, path, {})
    print(path)


def compare(options: argparse.Namespace) -> None:
    """Say how an arm differs from another, over prompts and seeds."""
    from ladder.experiments.compare import compare
    from ladder.experiments.runs import RESULTS

    print(compare(options.arm, options.control, options.seeds, RESULTS / (options.study or "")))


def reproduced(options: argparse.Namespace) -> None:
    """Say whether an evaluated run is the committed one again; exit code 1 if it isn't."""
    from ladder.experiments.reproduced import reproduced

    found = reproduced(options.name, options.against)
    print(found)
    if found.reasons:
        raise SystemExit(1)


def sweep(options: argparse.Namespace) -> None:
    """Run a notebook over a grid of parameters."""
    from ladder.experiments.notebook_sweep import grid_of, sweep

    grid = grid_of(options.parameters)
    folder = options.output or Path("experiments/sweeps") / options.notebook.stem
    table = sweep(options.notebook, grid, folder, options.jobs)
    print(table.to_string(index=False))
    print(folder / "table.csv")
    failed = int((table["status"] != "finished").sum())
    if failed:
        raise ValueError(f"{failed} of {len(table)} cells failed; their logs are in {folder}")


def bench(options: argparse.Namespace) -> None:
    """Measure a part of ladder on this machine, on made-up data and models."""
    if options.what in ("step", "sample") and options.sizes:
        raise ValueError(f"N is of curation, decisions and encode only, got {options.sizes[0]}")
    if options.what in ("curation", "decisions", "encode"):
        from ladder.profiling.curation import curation, decisions
        from ladder.profiling.encoding import encoding

        measures = {"curation": curation, "decisions": decisions, "encode": encoding}
        measured = measures[options.what](options.sizes)
        lines = [
            "   ".join(f"{name} {value:,.4g}" for name, value in row.items()) for row in measured
        ]
    elif options.what == "step":
        from ladder.profiling.train_step import step

        measured = step(options.size, options.pairs, options.device)
        lines = [
            f"captions of {tokens} tokens: {described(row)}" for tokens, row in measured.items()
        ]
    else:
        from ladder.profiling.sampling import sample

        measured = sample(options.size, options.pairs, options.steps)
        lines = [f"{case}: {described(row)}" for case, row in measured.items()]
    print(json.dumps(measured) if options.json else "\n".join(lines))


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


def plan(config: Config, options: argparse.Namespace) -> None:
    """Say what a training needs (memory, FLOP, hours), before anything is downloaded."""
    from ladder.profiling.plan import plan

    gpu = (options.devices, options.memory, options.speed, options.use)
    print("\n".join(plan(config, options.caption, *gpu)))


def watch(options: argparse.Namespace) -> None:
    """Show how far a run has come: loss, norm, skips, speed, time left."""
    from ladder.training.watch import watch

    watch(options.folder, options.every, options.once)
