"""The verbs that put a benchmark's questions to a judge: `observe` and `benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ladder.cli.benchmark_options import (
    DETECTOR,
    ENDPOINT,
    Batch,
    Benchmark,
    Clip,
    EndpointOptions,
    Guidance,
    ImageFormat,
    ImageGuidance,
    ImageQuality,
    Jobs,
    JudgeModel,
    JudgeName,
    JudgeOption,
    JudgePrompts,
    Limit,
    LongestSide,
    MaxTokens,
    Name,
    Originals,
    Partial,
    Price,
    Questions,
    Retry,
    Source,
    Steps,
    Temperature,
    Timeout,
    TokenLimit,
    Tries,
    Url,
    Yes,
)
from ladder.cli.benchmarks import benchmark_files, draw
from ladder.cli.options import BENCHMARKS, Model, Seed
from ladder.cli.pictures import check_replaced

if TYPE_CHECKING:
    from ladder.evaluation.published import BenchmarkFiles
    from ladder.evaluation.vlm_judges import Judge
    from ladder.evaluation.vlm_judges.layouts import Layout

app = typer.Typer()


@app.command(rich_help_panel=BENCHMARKS)
def observe(
    benchmark: Benchmark,
    images: Annotated[Path, typer.Argument(help="Pictures in the benchmark's own layout.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OBSERVATIONS", callback=check_replaced)
    ],
    judge: JudgeOption,
    model: JudgeModel = None,
    clip: Clip = None,
    partial: Partial = False,
    retry: Retry = None,
    name: Name = None,
    source: Source = None,
    questions: Questions = None,
    prompts: JudgePrompts = None,
    originals: Originals = None,
    batch: Annotated[
        tuple[str, Path] | None,
        typer.Option(
            metavar="write|read FILE",
            rich_help_panel=ENDPOINT,
            help="Write the questions as a file of OpenAI's Batch API, or read its answers.",
        ),
    ] = None,
    url: Url = None,
    yes: Yes = False,
    price: Price = None,
    temperature: Temperature = 0.0,
    tries: Tries = 6,
    jobs: Jobs = 8,
    timeout: Timeout = 120.0,
    max_tokens: MaxTokens = None,
    token_limit: TokenLimit = "max_completion_tokens",
    image_format: ImageFormat = "jpeg",
    image_quality: ImageQuality = 90,
    longest_side: LongestSide = 2048,
) -> None:
    """Put a benchmark's questions about your pictures to a judge; `score` reads what it writes."""
    files = benchmark_files(benchmark, source, questions, prompts, originals, name)
    options = EndpointOptions(
        url, temperature, tries, jobs, timeout, max_tokens, token_limit, image_format,
        image_quality, longest_side,
    )  # fmt: skip
    check_judge(benchmark, judge)
    if benchmark == "geneval":
        detect(files, images, output, model, clip, partial)
    else:
        ask(files, images, output, (judge, model, options), partial, retry, yes, price, batch)


@app.command(rich_help_panel=BENCHMARKS)
def benchmark(
    benchmark: Benchmark,
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="For pictures, observations and score.json.")
    ],
    judge: JudgeOption,
    model: Model = None,
    judge_model: JudgeModel = None,
    clip: Clip = None,
    name: Name = None,
    source: Source = None,
    questions: Questions = None,
    prompts: JudgePrompts = None,
    originals: Originals = None,
    retry: Retry = None,
    limit: Limit = None,
    seed: Seed = 0,
    steps: Steps = 20,
    guidance: Guidance = 3.0,
    image_guidance: ImageGuidance = 1.5,
    batch: Batch = 8,
    url: Url = None,
    yes: Yes = False,
    price: Price = None,
    temperature: Temperature = 0.0,
    tries: Tries = 6,
    jobs: Jobs = 8,
    timeout: Timeout = 120.0,
    max_tokens: MaxTokens = None,
    token_limit: TokenLimit = "max_completion_tokens",
    image_format: ImageFormat = "jpeg",
    image_quality: ImageQuality = 90,
    longest_side: LongestSide = 2048,
) -> None:
    """Draw a benchmark's pictures, put its questions to a judge, and score: a table at the end."""
    from ladder.config.files import write_text
    from ladder.evaluation.benchmark_table import read_scores, write_table
    from ladder.evaluation.draw_benchmark import DrawSettings
    from ladder.evaluation.json_files import dumps
    from ladder.evaluation.scorers import score_file

    check_judge(benchmark, judge)
    name = name or (model.resolve().name if model else "ladder")
    files = benchmark_files(benchmark, source, questions, prompts, originals, name)
    options = EndpointOptions(
        url, temperature, tries, jobs, timeout, max_tokens, token_limit, image_format,
        image_quality, longest_side,
    )  # fmt: skip
    pictures, seen, result = out / "pictures", out / "observations.json", out / "score.json"
    settings = DrawSettings(seed, steps, guidance, image_guidance)
    draw(files, model, pictures, settings, limit, batch)
    partial = limit is not None
    if benchmark == "geneval":
        detect(files, pictures, seen, judge_model, clip, partial)
    else:
        how = (judge, judge_model, options)
        if not ask(files, pictures, seen, how, partial, retry, yes, price, None):
            return
    reference = files.asked if benchmark in ("geneval", "dpg") else None
    found = score_file.score(benchmark, seen, reference)
    write_text(result, dumps({"model": name} | found, indent=1) + "\n")
    print(write_table(read_scores([result]), "md"), end="")


def check_judge(benchmark: str, judge: str) -> None:
    """Raises ValueError for a judge that can't judge that benchmark."""
    if (benchmark == "geneval") != (judge == DETECTOR):
        raise ValueError(
            f"geneval, and nothing else, is observed by {DETECTOR}, got {benchmark} by {judge}"
        )


def detect(
    files: BenchmarkFiles,
    images: Path,
    output: Path,
    model: str | None,
    clip: str | None,
    partial: bool,
) -> None:
    """GenEval: objects and colours, not answers."""
    from ladder.evaluation.vlm_judges.mask2former_clip import Mask2FormerClip
    from ladder.evaluation.vlm_judges.observe_geneval import observe_geneval

    named = {"detector": model, "clip": clip}
    detector = Mask2FormerClip(**{key: value for key, value in named.items() if value})
    done = observe_geneval(images, files.asked, detector, output, partial, files.model)
    print(f"{output}: " + ", ".join(f"{n} pictures {what}" for what, n in done.items()))


def ask(
    files: BenchmarkFiles,
    images: Path,
    output: Path,
    how: tuple[JudgeName, str | None, EndpointOptions],
    partial: bool,
    retry: str | None,
    yes: bool,
    price: tuple[float, float] | None,
    batch: tuple[str, Path] | None,
) -> bool:
    """All other benchmarks; returns whether the questions were put."""
    from ladder.evaluation.vlm_judges import observe as observing
    from ladder.evaluation.vlm_judges.batch import BatchAnswers, write_batch
    from ladder.evaluation.vlm_judges.openai import Endpoint

    layout = files.layout(images)
    there = observing.check(layout, partial)
    judge = open_judge(*how, layout)
    if isinstance(judge, Endpoint):
        rows = observing.stored_rows(output, layout, judge)
        items = observing.pending(there, rows, retry is not None)
        new = [*observing.questions_of(items, rows)]
        print(judge.estimate(new, price))
        if batch and batch[0] == "write":
            print(f"{batch[1]}: {write_batch(judge, new, batch[1])} requests; nothing was sent")
            return False
        if not (yes or batch):
            print("nothing was sent: --yes sends it")
            return False
    if batch:
        if not isinstance(judge, Endpoint) or batch[0] != "read":
            raise ValueError(
                f"--batch is write or read, of --judge endpoint, got {batch[0]} of {how[0]}"
            )
        judge = BatchAnswers.read(judge, batch[1])
    done = observing.observe(layout, judge, output, partial, retry is not None, files.model)
    lacking = {kind: done.pop(kind) for kind in (*done,) if kind in observing.FAILURES}
    print(f"{output}: " + ", ".join(f"{n} items {what}" for what, n in done.items()))
    if lacking:
        print("answers that failed: " + ", ".join(f"{n} {kind}" for kind, n in lacking.items()))
    return True


def open_judge(
    judge: JudgeName, model: str | None, options: EndpointOptions, layout: Layout
) -> Judge:
    """The judge of that name; raises ValueError where an option is missing."""
    if judge == "oracle":
        from ladder.evaluation.vlm_judges.oracle import Oracle

        return Oracle()
    if judge == "endpoint":
        from ladder.evaluation.download.prompts import cache
        from ladder.evaluation.vlm_judges.openai import Endpoint, key_of_environment
        from ladder.evaluation.vlm_judges.pictures import PictureEncoding

        if model is None or options.url is None:
            raise ValueError("--judge endpoint needs the judge's model and --url URL")
        return Endpoint(
            options.url,
            model,
            cache() / "answers",
            key_of_environment(),
            temperature=options.temperature,
            prompt=layout.prompt,
            max_tokens=options.max_tokens or layout.max_tokens,
            token_limit=options.token_limit,
            encoding=PictureEncoding(
                options.image_format, options.image_quality, options.longest_side
            ),
            tries=options.tries,
            jobs=options.jobs,
            timeout=options.timeout,
        )
    from ladder.evaluation.vlm_judges import local_vqa

    if judge == "blip-vqa":
        return local_vqa.BlipJudge(model or local_vqa.BLIP)
    longest = options.max_tokens or layout.max_tokens
    return local_vqa.QwenJudge(model or local_vqa.QWEN, layout.prompt, longest)
