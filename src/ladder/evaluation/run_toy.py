"""`ladder toy`: the toy world's counterpart of one published benchmark, by itself.

    ladder toy geneval2 --out results/toy     score.json (with floor and ceiling), the table of
                                              outcomes, what was observed, and pictures

`ladder evaluate` asks the older four of a run of the main job; these are for any ladder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ladder.config.files import write_text
from ladder.config.load import Evaluation, Sampling
from ladder.evaluation import outcomes
from ladder.evaluation.json_files import dumps
from ladder.evaluation.outcomes import table
from ladder.evaluation.run import Benchmark, Judged, Metrics
from ladder.evaluation.toy.dpg import DpgToy
from ladder.evaluation.toy.edits import EditsToy
from ladder.evaluation.toy.geneval import GenevalToy
from ladder.evaluation.toy.geneval2 import Geneval2Toy
from ladder.evaluation.toy.tiif import TiifToy
from ladder.evaluation.toy.wise import WiseToy
from ladder.evaluation.vlm_judges.oracle import Oracle
from ladder.inference.pipeline import LadderPipeline

TOYS: dict[str, Callable[[Evaluation, Sampling, str], Benchmark]] = {
    "geneval": lambda asked, drawn, _: GenevalToy(asked, drawn),
    "dpg": lambda asked, drawn, _: DpgToy(asked, drawn),
    "tiif": TiifToy,
    "imgedit": lambda asked, drawn, _: EditsToy(asked, drawn),
    "geneval2": lambda asked, drawn, _: Geneval2Toy(asked, drawn),
    "wise": lambda asked, drawn, _: WiseToy(asked, drawn),
}
"""By the names of the benchmarks whose places they take; the text names who draws."""
COLUMNS = ("mean", "low", "high", "floor", "ceiling", "n")


def run_toy(
    name: str,
    pipeline: LadderPipeline,
    model: str,
    evaluation: Evaluation,
    sampling: Sampling,
    out: Path,
) -> Metrics:
    """Ask `pipeline` a benchmark, write all into `out`, and return the scores."""
    out.mkdir(parents=True, exist_ok=True)
    judged = Judged()
    judged.add(TOYS[name](evaluation, sampling, model), pipeline, out, out)
    metrics = judged.metrics(evaluation)
    outcomes.write(table(judged.own), out / f"{name}{outcomes.ENDING}")
    about = {"benchmark": f"{name}-toy", "model": model, "judge": Oracle.name}
    write_text(out / "score.json", dumps(about | {"metrics": metrics}, indent=1) + "\n")
    return metrics


def lines_of(metrics: Metrics) -> list[str]:
    """The scores as a table of Markdown, a row each."""
    rows = [["score", *COLUMNS], ["---"] * (1 + len(COLUMNS))]
    bounds = {name: metrics[name] for name in ("floor", "ceiling")}
    for path, found in leaves({k: v for k, v in metrics.items() if k not in bounds}):
        values = {name: f"{found[name]:.3f}" for name in ("mean", "low", "high")}
        values |= {name: f"{at(bound, path)['mean']:.3f}" for name, bound in bounds.items()}
        values |= {"n": str(found["n"])}
        rows.append([" ".join(path), *(values[name] for name in COLUMNS)])
    return ["| " + " | ".join(row) + " |" for row in rows]


def leaves(
    metrics: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """The scores with their paths."""
    for name, value in metrics.items():
        if "mean" in value:
            yield (*path, name), value
        else:
            yield from leaves(value, (*path, name))


def at(metrics: Mapping[str, Any], path: tuple[str, ...]) -> Mapping[str, Any]:
    for name in path:
        metrics = metrics[name]
    return metrics
