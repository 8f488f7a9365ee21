"""The verbs about benchmarks and data sets: `fetch`, `draw`, `score`, `table` and `toy`.

Those that put questions to a judge are in `judges`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ladder.cli.benchmark_options import (
    Batch,
    Benchmark,
    Fetched,
    Guidance,
    ImageGuidance,
    Limit,
    Name,
    Originals,
    Output,
    Questions,
    Source,
    Steps,
    Toy,
)
from ladder.cli.options import BENCHMARKS, Device, Dtype, Json, Model, Seed

if TYPE_CHECKING:
    from ladder.evaluation.published import BenchmarkFiles

app = typer.Typer()
fetch = typer.Typer()
app.add_typer(
    fetch,
    name="fetch",
    rich_help_panel=BENCHMARKS,
    help="Fetch a benchmark's prompts, or show (and with --yes fetch) training sets.",
)


@fetch.command("benchmark")
def fetch_benchmark(
    name: Fetched,
    output: Output = None,
    sha256: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Hashes, as sha256sum writes them, of further files to fetch."
        ),
    ] = None,
    commit: Annotated[str | None, typer.Option(help="Instead of the pinned one.")] = None,
    host: Annotated[
        str | None, typer.Option(metavar="URL", help="A mirror of the set's home.")
    ] = None,
) -> None:
    """A benchmark's prompts, at a pinned commit."""
    from ladder.evaluation.download import prompts
    from ladder.evaluation.download.suites import PROMPT_SETS

    given = {"commit": commit, "host": host and host.rstrip("/")}
    wanted = replace(PROMPT_SETS[name], **{key: value for key, value in given.items() if value})
    sums = prompts.read_sums(sha256) if sha256 else {}
    for line in prompts.fetch(wanted, output or prompts.fetched(name), sums):
        print(line)


@fetch.command("data")
def fetch_data(
    name: Annotated[str | None, typer.Argument()] = None,
    output: Output = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Download the whole set, which is big.")
    ] = False,
) -> None:
    """The paper's training sets, and where they live."""
    from ladder.evaluation.download import training_sets
    from ladder.evaluation.download.prompts import cache

    if name is None:
        print(training_sets.table(training_sets.TRAINING_SETS))
        return
    one = training_sets.find(name)
    folder = output or cache() / "data" / one.name
    if yes:
        print(training_sets.download(one, folder))
    else:
        print(training_sets.table((one,)))
        print(f"nothing was downloaded: --yes brings the whole set into {folder}")


@app.command("draw", rich_help_panel=BENCHMARKS)
def draw_verb(
    benchmark: Benchmark,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the pictures go.")],
    model: Model = None,
    name: Name = None,
    source: Source = None,
    questions: Questions = None,
    originals: Originals = None,
    limit: Limit = None,
    seed: Seed = 0,
    steps: Steps = 20,
    guidance: Guidance = 3.0,
    image_guidance: ImageGuidance = 1.5,
    batch: Batch = 8,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Draw a part. By default that of torchrun or Slurm."),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
) -> None:
    """Draw a benchmark's pictures in the layout that `observe` reads. A rerun goes on."""
    from ladder.evaluation.draw_benchmark import DrawSettings

    files = benchmark_files(benchmark, source, questions, None, originals, name)
    settings = DrawSettings(seed, steps, guidance, image_guidance)
    draw(files, model, out, settings, limit, batch, shard, device, dtype)


def draw(
    files: BenchmarkFiles,
    model: Path | None,
    out: Path,
    settings: object,
    limit: int | None,
    batch: int,
    shard: str | None = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
) -> None:
    """Draw, and say how many pictures."""
    from ladder.evaluation import draw_benchmark as drawing
    from ladder.evaluation.published import drawings
    from ladder.inference.open import open_ladder
    from ladder.inference.shipped import shipped_ladder
    from ladder.models.reference import content_hash

    wanted = [one for one in drawings(files) if limit is None or one.item < limit]
    part = drawing.Shard.of(shard)
    folder = model or shipped_ladder()
    pipeline = open_ladder(folder, device, dtype)
    ladder = content_hash(folder / "ladder")
    done = drawing.draw_benchmark(pipeline, ladder, wanted, out, settings, part, batch)
    print(f"{out}: " + ", ".join(f"{n} pictures {what}" for what, n in done.items()))


@app.command(rich_help_panel=BENCHMARKS)
def toy(
    benchmark: Toy,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="For score.json and what was seen.")],
    model: Model = None,
    prompts: Annotated[
        int,
        typer.Option(min=2, help="Of each kind; dpg and tiif have numbers of their own."),
    ] = 8,
    images: Annotated[int, typer.Option(min=1, help="Of each prompt; one of edits and tiif.")] = 4,
    seed: Seed = 0,
    steps: Steps = 20,
    guidance: Guidance = 3.0,
    image_guidance: ImageGuidance = 1.5,
    batch: Batch = 8,
    device: Device = "auto",
    dtype: Dtype = "float32",
) -> None:
    """Ask a ladder the toy world's counterpart of a benchmark, judged by the exact oracle."""
    from ladder.config.load import Evaluation, Sampling
    from ladder.evaluation.run_toy import lines_of, run_toy
    from ladder.evaluation.scorers.score_file import RESAMPLES
    from ladder.inference.open import open_ladder
    from ladder.inference.shipped import shipped_ladder

    folder = model or shipped_ladder()
    evaluation = Evaluation(seed, prompts, images, prompts, prompts, RESAMPLES)
    # The pipeline has its own solver and shift, whatever stands here.
    sampling = Sampling("dpm", steps, 1.0, guidance, image_guidance, batch)
    pipeline = open_ladder(folder, device, dtype)
    metrics = run_toy(benchmark, pipeline, folder.resolve().name, evaluation, sampling, out)
    print("\n".join(lines_of(metrics)))


def benchmark_files(
    benchmark: Benchmark,
    source: Path | None,
    questions: Path | None,
    prompts: Path | None,
    originals: Path | None,
    name: str | None,
) -> BenchmarkFiles:
    """The files of a benchmark, by default those in the cache."""
    from ladder.evaluation.download.prompts import fetched
    from ladder.evaluation.published import BenchmarkFiles

    home = "imgedit-uge" if benchmark == "imgedit-multiturn" else benchmark
    folder = source or fetched(home)
    return BenchmarkFiles(benchmark, folder, questions, prompts, originals, name)


@app.command(rich_help_panel=BENCHMARKS)
def score(
    benchmark: Benchmark,
    observations: Annotated[Path, typer.Argument()],
    reference: Annotated[
        Path | None,
        typer.Option(
            "--prompts",
            "--questions",
            metavar="FILE",
            help="GenEval's metadata, or DPG-Bench's table of questions.",
        ),
    ] = None,
    complete: Annotated[
        bool, typer.Option("--complete", help="Refuse a run that lacks something.")
    ] = False,
    per_item: Annotated[
        bool, typer.Option("--per-item", help="Add the verdict on every item.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Score stored observations of a published benchmark: as its own scorer does, and mended."""
    from ladder.evaluation.json_files import dumps
    from ladder.evaluation.scorers import score_file

    found = score_file.score(benchmark, observations, reference, complete, per_item)
    print(dumps(found, indent=None if as_json else 1))


@app.command(rich_help_panel=BENCHMARKS)
def table(
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULT", help="Files that `score` printed.")
    ],
    form: Annotated[
        Literal["md", "latex", "csv"], typer.Option("--format", help="How it is written.")
    ] = "md",
) -> None:
    """Models side by side, with intervals over prompts, and the published rows beside them."""
    from ladder.evaluation.benchmark_table import read_scores, write_table

    print(write_table(read_scores(results), form), end="")
