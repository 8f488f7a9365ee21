"""The verbs about published benchmarks and data sets: `fetch`, `observe` and `score`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from ladder.cli.options import BENCHMARKS, Json

if TYPE_CHECKING:
    from ladder.evaluation.vlm_judges import Judge
    from ladder.evaluation.vlm_judges.layouts import Layout

app = typer.Typer()
fetch = typer.Typer()
app.add_typer(
    fetch,
    name="fetch",
    rich_help_panel=BENCHMARKS,
    help="Fetch a benchmark's prompts, or show (and with --yes fetch) training sets.",
)

PromptSet = Literal["geneval", "dpg", "tiif", "imgedit", "gedit"]
Benchmark = Literal["geneval", "dpg", "tiif", "imgedit"]
JudgeName = Literal["oracle", "qwen2.5-vl", "blip-vqa", "endpoint", "mask2former+clip"]
PROMPT_SETS, JUDGES = get_args(PromptSet), get_args(JudgeName)
DETECTOR = "mask2former+clip"

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FOLDER", help="Where, instead of in the cache."),
]


@fetch.command("benchmark")
def fetch_benchmark(
    name: PromptSet,
    output: Output = None,
    sha256: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Hashes, as sha256sum writes them, of files that have none pinned."
        ),
    ] = None,
    commit: Annotated[str | None, typer.Option(help="Instead of the pinned one.")] = None,
    host: Annotated[
        str | None, typer.Option(metavar="URL", help="A mirror of the set's home.")
    ] = None,
) -> None:
    """A benchmark's prompts, at a pinned commit."""
    from ladder.evaluation.download import prompts

    given = {"commit": commit, "host": host and host.rstrip("/")}
    wanted = replace(
        prompts.PROMPT_SETS[name], **{key: value for key, value in given.items() if value}
    )
    folder = output or prompts.cache() / "benchmarks" / name
    sums = prompts.read_sums(sha256) if sha256 else {}
    for line in prompts.fetch(wanted, folder, sums):
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


@app.command(rich_help_panel=BENCHMARKS)
def observe(
    benchmark: Benchmark,
    images: Annotated[Path, typer.Argument(help="Pictures in the benchmark's own layout.")],
    questions: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="Its prompts, questions (tiif: a file or folder) or edits."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OBSERVATIONS")],
    judge: Annotated[JudgeName, typer.Option()],
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The judge's model: a name, a folder or a hub id."),
    ] = None,
    clip: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="geneval: the folder or hub id of CLIP."),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Go on without missing pictures.")
    ] = False,
    name: Annotated[
        str | None, typer.Option(help="tiif: the folder of the model that drew.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="imgedit: what the judge is told.")
    ] = None,
    originals: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="imgedit: unedited pictures.")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            help="endpoint: an OpenAI-compatible server, up to /v1. The key is read from "
            "$LADDER_JUDGE_KEY or $OPENAI_API_KEY."
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="endpoint: send, after the estimate of the cost.")
    ] = False,
    price: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="IN OUT", help="endpoint: price of a million tokens."),
    ] = None,
    temperature: Annotated[float, typer.Option(help="endpoint: of its answers.")] = 0.0,
    tries: Annotated[int, typer.Option(min=1, help="endpoint: while it is busy.")] = 6,
) -> None:
    """Put a benchmark's questions about your pictures to a judge; `score` reads what it writes."""
    from ladder.evaluation.vlm_judges import observe as observing
    from ladder.evaluation.vlm_judges.openai import Endpoint

    if (benchmark == "geneval") != (judge == DETECTOR):
        raise ValueError(
            f"geneval, and nothing else, is observed by {DETECTOR}, got {benchmark} by {judge}"
        )
    if benchmark == "geneval":
        from ladder.evaluation.vlm_judges.mask2former_clip import Mask2FormerClip
        from ladder.evaluation.vlm_judges.observe_geneval import observe_geneval

        named = {"detector": model, "clip": clip}
        detector = Mask2FormerClip(**{key: value for key, value in named.items() if value})
        done = observe_geneval(images, questions, detector, output, partial)
        print(f"{output}: " + ", ".join(f"{n} pictures {what}" for what, n in done.items()))
        return
    layout = open_layout(benchmark, images, questions, name, prompts, originals)
    there = observing.check(layout, partial)
    asked = open_judge(judge, model, url, temperature, tries, layout.prompt)
    if isinstance(asked, Endpoint):
        rows = observing.stored_rows(output, layout, asked)
        items = observing.pending(there, rows)
        new = (question for item in items for question in observing.questions_of(layout, item))
        print(asked.estimate(new, price))
        if not yes:
            print("nothing was sent: --yes sends it")
            return
    done = observing.observe(layout, asked, output, partial)
    print(f"{output}: " + ", ".join(f"{n} items {what}" for what, n in done.items()))


def open_layout(
    benchmark: Benchmark,
    images: Path,
    questions: Path,
    name: str | None,
    prompts: Path | None,
    originals: Path | None,
) -> Layout:
    """The items of the benchmark; raises ValueError where an option is missing."""
    from ladder.evaluation.vlm_judges import layouts

    if benchmark == "dpg":
        return layouts.dpg(images, questions)
    if benchmark == "tiif":
        if name is None:
            raise ValueError("tiif needs --name NAME, the folder of the model that drew")
        return layouts.tiif(images, questions, name)
    if prompts is None or originals is None:
        raise ValueError("imgedit needs --prompts FILE and --originals FOLDER")
    return layouts.imgedit(images, questions, prompts, originals)


def open_judge(
    judge: JudgeName, model: str | None, url: str | None, temperature: float, tries: int, told: str
) -> Judge:
    """The judge of that name; raises ValueError where an option is missing."""
    if judge == "oracle":
        from ladder.evaluation.vlm_judges.oracle import Oracle

        return Oracle()
    if judge == "endpoint":
        from ladder.evaluation.download.prompts import cache
        from ladder.evaluation.vlm_judges.openai import Endpoint, key_of_environment

        if model is None or url is None:
            raise ValueError("--judge endpoint needs --model NAME and --url URL")
        answers = cache() / "answers"
        return Endpoint(url, model, answers, key_of_environment(), temperature, told, tries=tries)
    from ladder.evaluation.vlm_judges import local_vqa

    kind = local_vqa.QwenJudge if judge == "qwen2.5-vl" else local_vqa.BlipJudge
    return kind(model) if model else kind()


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
    from ladder.evaluation.scorers import score_file

    found = score_file.score(benchmark, observations, reference, complete, per_item)
    print(json.dumps(found, indent=None if as_json else 1))
