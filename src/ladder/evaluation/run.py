"""`ladder evaluate`: draws, observes and scores what the last stage of a run left.

experiments/results/<arm>-<seed>.json    scores with 95% intervals, configuration, provenance
             .../<arm>-<seed>.outcomes.parquet  the table that all scores are computed from
experiments/pictures/<arm>-<seed>/       t2i.png, reasoning.png, edits.png: what the scores stand
                                         for, and scores.csv: the main ones, to plot
runs/<arm>-<seed>/evaluation/            what was observed (prompts, pictures, edits, answers
                                         .jsonl; dpg, tiif and imgedit for `ladder score`), and
                                         cost.json: seconds and memory. Nothing depends on these.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch

from ladder.config.files import read_json, replacing, write_text
from ladder.config.load import Config, Evaluation, require_same
from ladder.config.old_names import renamed
from ladder.config.schema import Dtype
from ladder.evaluation import outcomes
from ladder.evaluation.bounds import of_another
from ladder.evaluation.cost import Cost
from ladder.evaluation.outcomes import Outcome, aggregate, table
from ladder.evaluation.provenance import provenance
from ladder.evaluation.toy.dpg import DpgToy
from ladder.evaluation.toy.edits import EditsToy
from ladder.evaluation.toy.geneval import GenevalToy
from ladder.evaluation.toy.tiif import TiifToy
from ladder.evaluation.toy.vqa import QuestionsToy
from ladder.inference.pipeline import LadderPipeline
from ladder.models.device import Device, find_device
from ladder.models.ladder import Ladder

PLOTTED = {"geneval_toy": None, "reasoning": ("overall",), "edit": ("followed", "kept", "exact")}
"""Groups of metrics in scores.csv, and which of them; None for all."""
Metrics = dict[str, Any]
Seen = TypeVar("Seen")
"""What a benchmark observes of one prompt."""


@runtime_checkable
class Benchmark(Protocol[Seen]):
    """A benchmark of the toy world, from what is asked to a row for each thing that is judged."""

    name: str
    """Of its part in the costs."""

    @property
    def prompts(self) -> Sequence[Any]:
        """What is asked, drawn from the seed of the evaluation."""

    @property
    def groups(self) -> Sequence[Hashable]:
        """The task of each prompt: the floor judges it by another one's pictures of its task."""

    def observe(self, pipeline: LadderPipeline) -> list[Seen]:
        """What the ladder makes of each prompt, and what the oracle sees in it."""

    def ceiling(self, pipeline: LadderPipeline) -> list[Seen] | None:
        """What would be observed of a perfect generator; None where there is no such thing."""

    def score(self, seen: Sequence[Seen]) -> list[Outcome]:
        """Judge what was observed of each prompt, once."""

    def save(
        self, seen: Sequence[Seen], outcomes: Sequence[Outcome], notes: Path, grids: Path
    ) -> None:
        """Write what was observed into `notes`, and pictures for people into `grids`."""


def benchmarks(config: Config) -> list[Benchmark]:
    """Those of an evaluation, in their order."""
    asked = (config.evaluation, config.sampling)
    return [
        GenevalToy(*asked),
        DpgToy(*asked),
        TiifToy(*asked, f"{config.arm}-{config.seed}"),
        EditsToy(*asked),
        QuestionsToy(*asked, config.foundations),
    ]


@dataclass
class Judged:
    """The outcomes of benchmarks, and those of their floors and ceilings."""

    own: list[Outcome] = field(default_factory=list)
    floor: list[Outcome] = field(default_factory=list)
    ceiling: list[Outcome] = field(default_factory=list)

    def add(
        self, benchmark: Benchmark[Seen], pipeline: LadderPipeline, notes: Path, grids: Path
    ) -> None:
        """Ask a ladder a benchmark and judge what it makes of it; what was seen is saved."""
        seen = benchmark.observe(pipeline)
        judged = benchmark.score(seen)
        benchmark.save(seen, judged, notes, grids)
        self.own += judged
        if (best := benchmark.ceiling(pipeline)) is not None:
            self.floor += benchmark.score(of_another(seen, benchmark.groups))
            self.ceiling += benchmark.score(best)

    def metrics(self, evaluation: Evaluation) -> Metrics:
        """Every score with its interval, and those of `floor` and `ceiling`."""
        draws = evaluation.resamples, evaluation.seed
        bounds = {"floor": self.floor, "ceiling": self.ceiling}
        return aggregate(table(self.own), *draws) | {
            name: aggregate(table(outcomes), *draws) for name, outcomes in bounds.items()
        }


def evaluate(
    config: Config,
    runs: Path = Path("runs"),
    curated: Path = Path("data/curated"),
    experiments: Path = Path("experiments"),
    study: str = "",
    device: Device = "auto",
    dtype: Dtype = "float32",
) -> Path:
    """Score the ladder of `config.arm` and `config.seed`; returns the file with the results.

    Of a `study` all stands in folders of that name, in runs, results and pictures. All but the
    MLLM, which has a setting, computes in `dtype`. Raises ValueError if that ladder was trained
    under other settings or the device isn't here, FileNotFoundError if the ladder or the curated
    data aren't there.
    """
    name, cost = f"{config.arm}-{config.seed}", Cost()
    origin = provenance(curated)
    pipeline = load(config, runs / study / name / "finetune/ladder", find_device(device), dtype)
    notes, grids = runs / study / name / "evaluation", experiments / "pictures" / study / name
    for folder in (notes, grids):
        folder.mkdir(parents=True, exist_ok=True)
    all_judged = Judged()
    for benchmark in benchmarks(config):
        with cost.of(benchmark.name):
            all_judged.add(benchmark, pipeline, notes, grids)
    rows, metrics = table(all_judged.own), all_judged.metrics(config.evaluation)
    result = {
        "arm": config.arm,
        "seed": config.seed,
        "metrics": metrics,
        "config": config.as_dict(),
        "provenance": origin,
    }
    if dtype != "float32":
        result["dtype"] = dtype
    write_scores(metrics, grids / "scores.csv")
    write_text(notes / "cost.json", json.dumps(cost.as_json(), indent=1) + "\n")
    path = experiments / "results" / study / f"{name}.json"
    outcomes.write(rows, path.with_name(name + outcomes.ENDING))
    # Last: a result says that the evaluation is finished.
    write_text(path, json.dumps(result, indent=1) + "\n")
    return path


def load(config: Config, folder: Path, device: torch.device, dtype: Dtype) -> LadderPipeline:
    """The pipeline around the ladder in `folder`, on `device`; all but the MLLM is in `dtype`.

    Raises ValueError, naming the keys, if it was trained under another configuration.
    """
    if not (folder / "training.json").is_file():
        raise FileNotFoundError(f"{folder} must hold a ladder; `ladder train finetune` writes it")
    trained = renamed(read_json(folder / "training.json"), str(folder))
    wanted = config.as_dict()
    require_same({section: wanted[section] for section in trained}, trained, str(folder))
    types = (getattr(torch, name) for name in (dtype, config.foundations.dtype))
    ladder = Ladder.from_pretrained(folder, *types).eval()
    pipeline = LadderPipeline.from_ladder(ladder, config.foundations, config.sampling)
    torch.nn.Module.to(pipeline.vae, getattr(torch, dtype))  # diffusers' own warns
    return pipeline.to(device)


def write_scores(metrics: Metrics, path: Path) -> None:
    """Write the main scores with their intervals, floors and ceilings as a table."""
    with replacing(path) as part, part.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["score", "mean", "low", "high", "floor", "ceiling"])
        for group, names in PLOTTED.items():
            for name in names or metrics[group]:
                found = metrics[group][name]
                bounds = [metrics[bound][group][name]["mean"] for bound in ("floor", "ceiling")]
                values = [found["mean"], found["low"], found["high"], *bounds]
                table.writerow([f"{group} {name}", *(f"{value:.4f}" for value in values)])
