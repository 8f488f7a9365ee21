"""The command `ladder VERB`: stages of the pipeline, studies of many runs, and use of the result.

The stages (`world` to `evaluate`) run from the root of the repository under `params.yaml`, and are
what `dvc.yaml` calls. What is about many runs is in `studies`, about published benchmarks and
checkpoints in `exchange`, and what needs only a trained ladder in `use`. Every verb imports what it
needs when it runs, so that `ladder --help` answers at once.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from ladder.cli import benchmarks, inference
from ladder.cli.checkpoints import export_published, import_published, score, verify_published
from ladder.cli.experiments import (
    bench,
    cell,
    compare,
    execute,
    plan,
    power,
    report,
    sweep,
    watch,
)
from ladder.cli.inference import above_zero, positive
from ladder.playground import serve
from ladder.playground.serve import playground

if TYPE_CHECKING:
    from ladder.config.load import Config

RAW, CURATED, ENCODED = Path("data/raw"), Path("data/curated"), Path("data/encoded")
"""Where the data stand, from the root of the repository."""
WRITERS = {RAW: "world", CURATED: "curate", ENCODED: "encode"}
"""The verb that writes each, to be named where it is missing."""
PARTS = ("autoencoder", "mllm_base", "mllm", "generator_base", "generator")
"""Of the foundations, each after those that it needs."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns 0, or 2 after one line about what was wrong with the input."""
    parser = build_parser()
    options, settings = parser.parse_known_args(argv)
    stray = [word for word in settings if word.startswith("-") or "profile" not in options]
    if stray:
        options.parser.error(unknown(stray, options.parser))
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if "profile" in options:
            run_on_config(options, settings)
        else:
            options.run(options)
    except BaseException as error:
        if interrupted(error):
            print(f"ladder {options.verb}: interrupted", file=sys.stderr)
            return 130
        if options.traceback or not isinstance(error, ValueError | OSError | SafetensorError):
            raise
        print(f"ladder {options.verb}: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


def unknown(words: Sequence[str], verb: argparse.ArgumentParser) -> str:
    """What to say of words that a verb doesn't take: which, and the options that come close."""
    options = [name for action in verb._actions for name in action.option_strings]
    close = [near for word in words for near in get_close_matches(word.split("=")[0], options, 1)]
    hint = f"; did you mean {' '.join(close)}?" if close else ""
    return f"unrecognized arguments: {' '.join(words)}{hint}"


def run_on_config(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Run a stage's verb on the configuration that the command line asks for."""
    from ladder.config.load import load

    config = load(options.profile, options.arm, settings)

    import torch

    torch.set_num_threads(config.threads)
    options.run(config, options)


def interrupted(error: BaseException | None) -> bool:
    """Whether an error came of an interruption: Lightning and datasets make others of it."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def one_line(error: Exception) -> str:
    """What an error says, without line breaks and other control characters; a missing file by its
    name, and with the verb that writes it."""
    said = str(error)
    if isinstance(error, OSError) and error.filename and error.strerror:
        said = f"{error.filename}: {error.strerror}"
    if isinstance(error, FileNotFoundError):
        path = Path(str(error.filename))
        verbs = [verb for folder, verb in WRITERS.items() if path.is_relative_to(folder)]
        said += "".join(f"; `ladder {verb}` writes it" for verb in verbs)
    said = " ".join(said.split()) or type(error).__name__
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in said)


# ---- stages of the pipeline ----


def world(config: Config, options: argparse.Namespace) -> None:
    """Draw the toy world's raw shards into data/raw."""
    from ladder.world import shards

    shards.write(config.world, RAW)


def curate(config: Config, options: argparse.Namespace) -> None:
    """Check, sort out and split the raw shards into data/curated."""
    from ladder.data.curation.curate import curate

    curate(RAW, CURATED, config.curation)


def pretrain(config: Config, options: argparse.Namespace) -> None:
    """Train one of the pretrained parts on the toy world."""
    if options.part == "autoencoder":
        from ladder.pretraining import autoencoder as part
    elif options.part == "mllm_base":
        from ladder.pretraining import mllm as part
    elif options.part == "mllm":
        from ladder.pretraining import mllm_tuning as part
    elif options.part == "generator_base":
        from ladder.pretraining import generator as part
    else:
        from ladder.pretraining import generator_tuning as part
    part.main(config)


def encode(config: Config, options: argparse.Namespace) -> None:
    """Encode the curated pictures once into latents, in data/encoded."""
    from ladder.data.training.encode import encode
    from ladder.models.generator.autoencoder import load_autoencoder

    encode(CURATED, ENCODED, load_autoencoder(config.foundations.generator))


def train(config: Config, options: argparse.Namespace) -> None:
    """Train one stage of the ladder, in runs/<arm>-<seed>/<stage>."""
    from ladder.training.stages import run_stage

    run_stage(config, options.stage, ENCODED, export=options.export)


def examine(config: Config, options: argparse.Namespace) -> None:
    """Score the pretrained parts into experiments/results/foundations.json."""
    from ladder.evaluation.toy.foundations import examine

    examine(config)


def evaluate(config: Config, options: argparse.Namespace) -> None:
    """Score a trained ladder into experiments/results/<arm>-<seed>.json."""
    from ladder.evaluation.run import evaluate

    evaluate(config)


def completion(options: argparse.Namespace) -> None:
    """Print what completes this command's words in a shell: eval "$(ladder completion bash)"."""
    import shtab

    parser = build_parser()
    waiting = [parser]
    while waiting:
        for action in waiting.pop()._actions:
            if action.type is Path:
                folder = action.metavar in ("FOLDER", "RUN")
                action.complete = shtab.DIRECTORY if folder else shtab.FILE
            elif isinstance(action, argparse._SubParsersAction):
                waiting += action.choices.values()
    print(shtab.complete(parser, options.shell))


# ---- the words of the command line ----


def build_parser() -> argparse.ArgumentParser:
    """The parser of `ladder`."""
    parser = argparse.ArgumentParser(prog="ladder", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--traceback", action="store_true", help="show where in the code an error came from"
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    add_stage(verbs, world)
    add_stage(verbs, curate)
    add_stage(verbs, pretrain, part=PARTS)
    add_stage(verbs, examine)
    add_stage(verbs, encode)
    verb = add_stage(verbs, train, stage=("t2i", "ti2i", "finetune"))
    verb.add_argument(
        "--export", type=Path, metavar="FOLDER", help="write the whole pipeline there, ready to use"
    )
    add_stage(verbs, evaluate)
    verb = add_verb(verbs, score)
    verb.add_argument("benchmark", choices=("geneval", "dpg", "tiif", "imgedit"))
    verb.add_argument("observations", type=Path, metavar="OBSERVATIONS")
    verb.add_argument("--prompts", "--questions", dest="reference", type=Path, metavar="FILE",
                      help="GenEval's metadata, or DPG-Bench's table of questions")  # fmt: skip
    verb.add_argument("--complete", action="store_true", help="refuse a run that lacks something")
    verb.add_argument("--per-item", action="store_true", help="add the verdict on every item")
    verb.add_argument("--json", action="store_true", help="in one line")
    for run in (import_published, export_published):
        verb = add_verb(verbs, run)
        verb.add_argument("folder", type=Path, metavar="FOLDER")
        verb.add_argument("out", type=Path, metavar="OUT")
    verb = add_verb(verbs, verify_published)
    verb.add_argument("folder", type=Path, metavar="FOLDER")
    verb.add_argument("--json", action="store_true", help="in one line")
    benchmarks.add_verbs(lambda run: add_verb(verbs, run))
    verb = add_verb(verbs, bench)
    verb.add_argument("what", choices=("curation", "decisions", "step", "sample"))
    verb.add_argument("sizes", nargs="*", type=positive, metavar="N", help="samples or records")
    verb.add_argument("--size", choices=("tiny", "mid", "paper"), default="mid",
                      help="of the models of step and sample (%(default)s)")  # fmt: skip
    verb.add_argument("--pairs", type=positive, default=7, help="of both ways (%(default)s)")
    verb.add_argument("--steps", type=positive, default=20, help="of sample (%(default)s)")
    verb.add_argument("--device", choices=("cpu", "cuda"), default="cpu",
                      help="of step (%(default)s)")  # fmt: skip
    verb.add_argument("--json", action="store_true", help="in one line")
    add_stage(verbs, cell, part=("train", "evaluate"))
    add_stage(verbs, power)
    verb = add_stage(verbs, plan)
    for name, kind, default, text in (
        ("caption", positive, 60, "tokens of a caption"),
        ("devices", positive, 8, "GPUs, of all nodes"),
        ("memory", above_zero, 80.0, "GiB of a GPU"),
        ("speed", above_zero, 990.0, "TFLOP/s of a GPU at its best"),
        ("use", above_zero, 0.4, "share of that speed that is reached"),
    ):
        verb.add_argument(f"--{name}", type=kind, default=default, help=f"{text} (%(default)s)")
    add_verb(verbs, report)
    add_verb(verbs, execute).add_argument("notebook", type=Path, metavar="NOTEBOOK")
    verb = add_verb(verbs, compare)
    verb.add_argument("arm", metavar="ARM")
    verb.add_argument("control", metavar="CONTROL")
    verb.add_argument("--seeds", nargs="+", type=int, default=[0, 1], metavar="SEED")
    verb.add_argument("--study", choices=("ablation", "full"),
                      help="take the cells of this profile (runs of the main job)")  # fmt: skip
    verb = add_verb(verbs, sweep)
    verb.add_argument("notebook", type=Path, metavar="NOTEBOOK")
    verb.add_argument(
        "-p",
        dest="parameters",
        action="append",
        default=[],
        metavar="NAME=VALUES",
        help="such as scheme=last_n,uniform or seed=0..4; again for another parameter",
    )
    verb.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="for cells and table")
    verb.add_argument("--jobs", type=positive, default=1, help="cells at a time (%(default)s)")
    verb = add_verb(verbs, watch)
    verb.add_argument("folder", type=Path, metavar="RUN", help="such as runs/ladder-0")
    verb.add_argument("--every", type=positive, default=2, help="seconds (%(default)s)")
    verb.add_argument("--once", action="store_true", help="show it, and end")
    inference.add_verbs(lambda run: add_verb(verbs, run))
    verb = add_verb(verbs, playground)
    serve.add_options(verb)
    inference.add_model(verb)
    add_verb(verbs, completion).add_argument("shell", choices=("bash", "zsh", "tcsh"))
    return parser


def add_stage(
    verbs: argparse._SubParsersAction, run: Callable[..., None], **choices: Sequence[str]
) -> argparse.ArgumentParser:
    """A verb that takes a configuration; `choices` name a word that it needs besides."""
    verb = add_verb(verbs, run)
    verb.epilog = "key=value, such as model.queries=8, changes one setting of params.yaml"
    for name, names in choices.items():
        verb.add_argument(name, choices=names)
    words = "".join(" {" + ",".join(names) + "}" for names in choices.values())
    verb.usage = f"ladder {run.__name__}{words} [--profile NAME] [--arm NAME] [key=value ...]"
    verb.add_argument(
        "--profile", metavar="NAME", help="lay experiments/profiles/NAME.yaml over it"
    )
    verb.add_argument("--arm", metavar="NAME", help="lay experiments/arms/NAME.yaml over that")
    return verb


def add_verb(
    verbs: argparse._SubParsersAction, run: Callable[..., None]
) -> argparse.ArgumentParser:
    """A verb named as the function that it runs, and explained by its docstring."""
    line = (run.__doc__ or "").partition("\n")[0]
    verb = verbs.add_parser(run.__name__.replace("_", "-"), help=line, description=line)
    verb.set_defaults(run=run, parser=verb)
    return verb


if __name__ == "__main__":
    sys.exit(main())
