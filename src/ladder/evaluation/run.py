"""`ladder evaluate`: draws, observes and scores what the last stage of a run left.

experiments/results/<arm>-<seed>.json    metrics with 95% intervals, configuration, provenance
experiments/results/<arm>-<seed>.csv     the score of every prompt, to compare runs by
experiments/pictures/<arm>-<seed>/       t2i.png, thought.png, edits.png: what the scores stand for,
                                         and scores.csv: the main ones, to plot
runs/<arm>-<seed>/evaluation/            what was observed (prompts, pictures, edits, answers
                                         .jsonl; dpg, tiif and imgedit for `ladder score`), and
                                         cost.json: seconds and memory. Nothing depends on these.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import torch

from ladder.config.load import Config, require_same
from ladder.config.old_names import renamed
from ladder.evaluation import outcomes
from ladder.evaluation.asking import evaluate_dense, evaluate_lengths
from ladder.evaluation.parts import (
    Metrics,
    evaluate_edits,
    evaluate_generation,
    evaluate_understanding,
)
from ladder.evaluation.provenance import Cost, provenance
from ladder.inference.pipeline import LadderPipeline
from ladder.models.ladder import Ladder

PLOTTED = {"geneval_toy": None, "thought": ("overall",), "edit": ("followed", "kept", "exact")}
"""Groups of metrics in scores.csv, and which of them; None for all."""


def evaluate(
    config: Config,
    runs: Path = Path("runs"),
    curated: Path = Path("data/curated"),
    experiments: Path = Path("experiments"),
    study: str = "",
) -> Path:
    """Score the ladder of `config.arm` and `config.seed`; returns the file with the results.

    Of a `study` all stands in folders of that name, in runs, results and pictures. Raises
    ValueError if that ladder was trained under other settings, FileNotFoundError if it or the
    curated data aren't there.
    """
    name, cost = f"{config.arm}-{config.seed}", Cost()
    origin = provenance(curated)
    pipeline = load(config, runs / study / name / "finetune/ladder")
    notes, grids = runs / study / name / "evaluation", experiments / "pictures" / study / name
    notes.mkdir(parents=True, exist_ok=True)
    with cost.of("generation"):
        generated = evaluate_generation(config, pipeline, notes, grids)
    with cost.of("dense"):
        dense = evaluate_dense(config, pipeline, notes)
    with cost.of("lengths"):
        lengths = evaluate_lengths(config, pipeline, notes)
    with cost.of("edits"):
        edited = evaluate_edits(config, pipeline, notes, grids)
    with cost.of("understanding"):
        understood = evaluate_understanding(config, pipeline, notes)
    parts = (generated, dense, lengths, edited, understood)
    metrics = {name: scores for part in parts for name, scores in part.metrics.items()}
    metrics["floor"] = {name: scores for part in parts for name, scores in part.floor.items()}
    metrics["ceiling"] = {name: scores for part in parts for name, scores in part.ceiling.items()}
    result = {
        "arm": config.arm,
        "seed": config.seed,
        "metrics": metrics,
        "config": config.as_dict(),
        "provenance": origin,
    }
    path = experiments / "results" / study / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    outcomes.write((one for part in parts for one in part.outcomes), path.with_suffix(".csv"))
    write_scores(metrics, grids / "scores.csv")
    (notes / "cost.json").write_text(json.dumps(cost.as_json(), indent=1) + "\n")
    return path


def load(config: Config, folder: Path) -> LadderPipeline:
    """The pipeline around the ladder in `folder`, on a GPU if there is one.

    Raises ValueError, naming the keys, if it was trained under another configuration.
    """
    if not (folder / "training.json").is_file():
        raise FileNotFoundError(f"{folder} must hold a ladder; `ladder train finetune` writes it")
    trained = renamed(json.loads((folder / "training.json").read_text()), str(folder))
    wanted = config.as_dict()
    require_same({section: wanted[section] for section in trained}, trained, str(folder))
    ladder = Ladder.from_pretrained(folder).eval()
    ladder.understanding.to(getattr(torch, config.foundations.dtype))
    pipeline = LadderPipeline.from_ladder(ladder, config.foundations, config.sampling)
    return pipeline.to("cuda" if torch.cuda.is_available() else "cpu")


def write_scores(metrics: Metrics, path: Path) -> None:
    """Write the main scores with their intervals, floors and ceilings as a table."""
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["score", "mean", "low", "high", "floor", "ceiling"])
        for group, names in PLOTTED.items():
            for name in names or metrics[group]:
                found = metrics[group][name]
                bounds = [metrics[bound][group][name]["mean"] for bound in ("floor", "ceiling")]
                values = [found["mean"], found["low"], found["high"], *bounds]
                table.writerow([f"{group} {name}", *(f"{value:.4f}" for value in values)])
