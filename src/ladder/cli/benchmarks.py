"""The command line's verbs that bring benchmarks and data in: `fetch` and `observe`.

Each imports what it needs when it runs, so that `ladder --help` answers at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ladder.evaluation.vlm_judges import Judge
    from ladder.evaluation.vlm_judges.layouts import Layout

PROMPT_SETS = ("geneval", "dpg", "tiif", "imgedit", "gedit")
DETECTOR = "mask2former+clip"
JUDGES = ("oracle", "qwen2.5-vl", "blip-vqa", "endpoint", DETECTOR)


def fetch(options: argparse.Namespace) -> None:
    """Fetch a benchmark's prompts into the cache, or show (and with --yes fetch) training sets."""
    (fetch_benchmark if options.what == "benchmark" else fetch_data)(options)


def fetch_benchmark(options: argparse.Namespace) -> None:
    from ladder.evaluation.download.prompts import PROMPT_SETS, cache, fetch, read_sums

    prompts = PROMPT_SETS[options.name]
    given = {"commit": options.commit, "host": options.host and options.host.rstrip("/")}
    prompts = replace(prompts, **{name: value for name, value in given.items() if value})
    folder = options.output or cache() / "benchmarks" / options.name
    sums = read_sums(options.sha256) if options.sha256 else {}
    for line in fetch(prompts, folder, sums):
        print(line)


def fetch_data(options: argparse.Namespace) -> None:
    from ladder.evaluation.download.prompts import cache
    from ladder.evaluation.download.training_sets import TRAINING_SETS, download, find, table

    if options.name is None:
        print(table(TRAINING_SETS))
        return
    one = find(options.name)
    folder = options.output or cache() / "data" / one.name
    if options.yes:
        print(download(one, folder))
    else:
        print(table((one,)))
        print(f"nothing was downloaded: --yes brings the whole set into {folder}")


def observe(options: argparse.Namespace) -> None:
    """Put a benchmark's questions about your pictures to a judge; `score` reads what it writes."""
    from ladder.evaluation.vlm_judges.observe import (
        check,
        observe,
        pending,
        questions_of,
        stored_rows,
    )
    from ladder.evaluation.vlm_judges.openai import Endpoint

    if (options.benchmark == "geneval") != (options.judge == DETECTOR):
        raise ValueError(
            f"geneval, and nothing else, is observed by {DETECTOR}, "
            f"got {options.benchmark} by {options.judge}"
        )
    if options.benchmark == "geneval":
        detect(options)
        return
    layout = open_layout(options)
    there = check(layout, options.partial)
    judge = open_judge(options, layout.prompt)
    if isinstance(judge, Endpoint):
        rows = stored_rows(options.output, layout, judge)
        new = (q for item in pending(there, rows) for q in questions_of(layout, item))
        print(judge.estimate(new, options.price and tuple(options.price)))
        if not options.yes:
            print("nothing was sent: --yes sends it")
            return
    done = observe(layout, judge, options.output, options.partial)
    print(f"{options.output}: " + ", ".join(f"{n} items {what}" for what, n in done.items()))


def detect(options: argparse.Namespace) -> None:
    """GenEval: objects and colours, not answers."""
    from ladder.evaluation.vlm_judges.mask2former_clip import Mask2FormerClip
    from ladder.evaluation.vlm_judges.observe_geneval import observe_geneval

    named = {"detector": options.model, "clip": options.clip}
    detector = Mask2FormerClip(**{name: value for name, value in named.items() if value})
    done = observe_geneval(
        options.images, options.questions, detector, options.output, options.partial
    )
    print(f"{options.output}: " + ", ".join(f"{n} pictures {what}" for what, n in done.items()))


def open_layout(options: argparse.Namespace) -> Layout:
    """The items of the benchmark; raises ValueError where an option is missing."""
    from ladder.evaluation.vlm_judges import layouts

    files = (options.images, options.questions)
    if options.benchmark == "dpg":
        return layouts.dpg(*files)
    if options.benchmark == "tiif":
        if options.name is None:
            raise ValueError("tiif needs --name NAME, the folder of the model that drew")
        return layouts.tiif(*files, options.name)
    if options.prompts is None or options.originals is None:
        raise ValueError("imgedit needs --prompts FILE and --originals FOLDER")
    return layouts.imgedit(*files, options.prompts, options.originals)


def open_judge(options: argparse.Namespace, prompt: str) -> Judge:
    """The judge of that name; raises ValueError where an option is missing."""
    if options.judge == "oracle":
        from ladder.evaluation.vlm_judges.oracle import Oracle

        return Oracle()
    if options.judge == "endpoint":
        from ladder.evaluation.download.prompts import cache
        from ladder.evaluation.vlm_judges.openai import Endpoint, key_of_environment

        if options.model is None or options.url is None:
            raise ValueError("--judge endpoint needs --model NAME and --url URL")
        return Endpoint(
            options.url,
            options.model,
            cache() / "answers",
            key_of_environment(),
            options.temperature,
            prompt,
            tries=options.tries,
        )
    from ladder.evaluation.vlm_judges import local_vqa

    judge = local_vqa.QwenJudge if options.judge == "qwen2.5-vl" else local_vqa.BlipJudge
    return judge(options.model) if options.model else judge()


def add_verbs(add: Callable[[Callable[..., None]], argparse.ArgumentParser]) -> None:
    """The words of these verbs; `add` makes a verb of a function."""
    kinds = add(fetch).add_subparsers(dest="what", metavar="{benchmark,data}", required=True)
    kind = kinds.add_parser("benchmark", help="a benchmark's prompts, at a pinned commit")
    kind.add_argument("name", choices=PROMPT_SETS)
    sums = "hashes, as sha256sum writes them, of files that have none pinned"
    kind.add_argument("--sha256", type=Path, metavar="FILE", help=sums)
    kind.add_argument("--commit", help="instead of the pinned one")
    kind.add_argument("--host", metavar="URL", help="a mirror of the set's home")
    kind.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="instead of the cache")
    kind = kinds.add_parser("data", help="the paper's training sets, and where they live")
    kind.add_argument("name", nargs="?", metavar="NAME")
    kind.add_argument("--yes", action="store_true", help="download the whole set: it is big")
    kind.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="instead of the cache")
    verb = add(observe)
    verb.add_argument("benchmark", choices=("geneval", "dpg", "tiif", "imgedit"))
    verb.add_argument("images", type=Path, metavar="IMAGES", help="in the benchmark's own layout")
    verb.add_argument("--questions", type=Path, required=True, metavar="FILE",
                      help="its prompts, questions (tiif: a file or folder) or edits")  # fmt: skip
    verb.add_argument("-o", "--output", type=Path, required=True, metavar="OBSERVATIONS")
    verb.add_argument("--judge", choices=JUDGES, required=True)
    verb.add_argument("--model", metavar="NAME", help="of the endpoint, or a folder or hub id")
    verb.add_argument("--clip", metavar="NAME", help="geneval: the folder or hub id of CLIP")
    verb.add_argument("--partial", action="store_true", help="go on without missing pictures")
    verb.add_argument("--name", help="tiif: the folder of the model that drew")
    verb.add_argument(
        "--prompts", type=Path, metavar="FILE", help="imgedit: what the judge is told"
    )
    verb.add_argument("--originals", type=Path, metavar="FOLDER", help="imgedit: unedited pictures")
    group = verb.add_argument_group(
        "endpoint", "The key is read from $LADDER_JUDGE_KEY or $OPENAI_API_KEY."
    )
    group.add_argument("--url", help="of an OpenAI-compatible server, up to /v1")
    group.add_argument("--yes", action="store_true", help="send, after the estimate of the cost")
    group.add_argument("--price", type=float, nargs=2, metavar=("IN", "OUT"),
                       help="of a million tokens, for the estimate")  # fmt: skip
    group.add_argument("--temperature", type=float, default=0.0)
    group.add_argument("--tries", type=int, default=6, help="of a busy server (%(default)s)")
