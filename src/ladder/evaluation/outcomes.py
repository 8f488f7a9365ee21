"""What became of everything that was asked: one table, from which every score is computed.

A benchmark of the toy world judges each picture or answer once and notes its score in a row of this
table. Scores with their intervals (`aggregate`), comparisons of runs and the check that a run is
reproduced all read the same rows. The table lies beside a result as a Parquet file:

metric, group, number, prompt, picture, score

Letters: P prompts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from ladder.config.files import replacing
from ladder.evaluation.confidence import mean_of_groups

COLUMNS = {"metric": str, "group": str, "number": int, "prompt": str, "picture": "Int64",
           "score": float}  # fmt: skip
"""Of the table, with their types; `Outcome` says what they mean."""
OF_A_PROMPT = ["metric", "group", "number", "prompt"]
RENAMED = {"thought": "reasoning"}
"""Metrics of older tables, with their names of today."""
ENDING = ".outcomes.parquet"


@dataclass(frozen=True)
class Outcome:
    """The score of one picture or answer, from 0 to 1 (of imgedit_toy from 1 to 5), or a loss."""

    metric: str
    """A key of METRICS."""
    group: str
    """The task or kind of what was asked."""
    number: int
    """The place of the prompt among those of its benchmark, equal in all runs of an evaluation."""
    prompt: str
    """The text of the prompt, instruction or question."""
    picture: int | None
    """The place of the picture among those of its prompt. None where all of them have one score,
    and where a text was judged."""
    score: float
    said: Any = None
    """What the judge said, such as a reason or its answers; for notes, not in the table."""


@dataclass(frozen=True)
class Metric:
    """Where the scores of a metric stand in a result, and how they are averaged."""

    overall: str
    """Dotted path of the score over all groups."""
    of_group: str = ""
    """Dotted path of the score of each {group}; empty where these are not shown."""
    pooled: bool = False
    """Whether the overall score is the mean of all prompts, not of the means of the groups."""
    lower_is_better: bool = False
    """As of a loss or an error, which also is no share of 1."""


def _by_group(name: str, pooled: bool = False) -> Metric:
    return Metric(f"{name}.overall", f"{name}.{{group}}", pooled)


DPG_CATEGORIES = ("entity", "attribute", "relation", "global")
EDIT_SCORES = ("followed", "kept", "kept_share", "exact")
DETAILS = ("offset", "hue", "size", "rotation")
"""Errors, of which less is better."""
METRICS = {
    "geneval_toy": _by_group("geneval_toy"),
    # One task of GenEval's form with kinds in it, so that all its prompts count the same.
    "reasoning": _by_group("reasoning", pooled=True),
    "dpg_toy": Metric("dpg_toy.overall"),
    **{f"dpg_toy.{name}": Metric(f"dpg_toy.{name}") for name in ("official", *DPG_CATEGORIES)},
    "tiif_toy.short": _by_group("tiif_toy.short"),
    "tiif_toy.short.yes_rate": Metric("tiif_toy.short.yes_rate", pooled=True),
    "tiif_toy.long": _by_group("tiif_toy.long"),
    "tiif_toy.long.yes_rate": Metric("tiif_toy.long.yes_rate", pooled=True),
    # Of these two every prompt counts the same, or every kind, as their scorers have it.
    "geneval2_toy": Metric("geneval2_toy.overall", "geneval2_toy.atoms.{group}", pooled=True),
    "geneval2_toy.am": Metric("geneval2_toy.am", pooled=True),
    "wise_toy": _by_group("wise_toy"),
    **{f"edit.{name}": Metric(f"edit.{name}", f"edit.kinds.{{group}}.{name}")
       for name in EDIT_SCORES},
    **{f"edit.detail.{name}": Metric(f"edit.detail.{name}", pooled=True) for name in DETAILS},
    "imgedit_toy": Metric("imgedit_toy.overall", "imgedit_toy.kinds.{group}"),
    "imgedit_toy.official": Metric("imgedit_toy.official"),
    "understanding": _by_group("understanding"),
    "understanding.as_foundation": Metric("understanding.as_foundation", pooled=True),
    # Of a run of a study: what `ladder.experiments.heldout_loss` takes.
    "heldout_loss.t2i": Metric("heldout_loss.t2i", lower_is_better=True),
    "heldout_loss.ti2i": Metric("heldout_loss.ti2i", lower_is_better=True),
    # Of the foundations by themselves.
    "autoencoder.psnr": Metric("autoencoder.psnr"),
    "autoencoder.exact": Metric("autoencoder.exact"),
    "questions": _by_group("questions"),
    "edits": _by_group("edits"),
    "prompts": _by_group("prompts"),
    "generator": _by_group("generator"),
}  # fmt: skip
"""By their names in the table."""


def table(outcomes: Iterable[Outcome]) -> pd.DataFrame:
    """The outcomes as a table with COLUMNS, a row each."""
    rows = [tuple(getattr(outcome, name) for name in COLUMNS) for outcome in outcomes]
    return pd.DataFrame(rows, columns=[*COLUMNS]).astype(COLUMNS)


def by_prompt(rows: pd.DataFrame) -> pd.DataFrame:
    """The same table with one row a prompt: the mean over its pictures."""
    return rows.groupby(OF_A_PROMPT, sort=False)["score"].mean().reset_index()


def aggregate(rows: pd.DataFrame, resamples: int, seed: int) -> dict[str, Any]:
    """Every score of a table with its interval, as nested dictionaries (paths of METRICS).

    The means of prompts are averaged in each group, and the means of groups to the overall score;
    whole prompts are resampled, in each group by itself. Raises ValueError for an unknown metric.
    """
    scores: dict[str, Any] = {}
    for name, found in by_prompt(rows).groupby("metric", sort=False):
        metric = metric_of(str(name))
        whole = mean_of_groups(strata(str(name), found["group"], found["score"]), resamples, seed)
        _put(scores, metric.overall, asdict(whole))
        if metric.of_group:
            for group, values in found.groupby("group", sort=False)["score"]:
                alone = mean_of_groups({group: values.tolist()}, resamples, seed)
                _put(scores, metric.of_group.format(group=group), asdict(alone))
    return scores


def strata(name: str, groups: Iterable[str], scores: Iterable[float]) -> dict[str, list[float]]:
    """The scores of prompts by the groups whose means are averaged; one for a pooled metric."""
    found: dict[str, list[float]] = {}
    pooled = metric_of(name).pooled
    for group, score in zip(groups, scores, strict=True):
        found.setdefault("all" if pooled else group, []).append(score)
    return found


def weights(name: str, groups: Iterable[str]) -> Float[np.ndarray, " P"]:
    """What each prompt counts in the overall score, 1 on average."""
    names, inverse, counts = np.unique([*groups], return_inverse=True, return_counts=True)
    if metric_of(name).pooled:
        return np.ones(len(inverse))
    return len(inverse) / (len(names) * counts[inverse])


def metric_of(name: str) -> Metric:
    """Raises ValueError, naming those that there are, for an unknown metric."""
    if name not in METRICS:
        raise ValueError(f"a metric is one of {', '.join(METRICS)}, got {name!r}")
    return METRICS[name]


def _put(scores: dict[str, Any], path: str, value: dict[str, float]) -> None:
    *folders, last = path.split(".")
    for folder in folders:
        scores = scores.setdefault(folder, {})
    scores[last] = value


# ---- files ----


def write(rows: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet."""
    with replacing(path) as part:
        rows.to_parquet(part, index=False, compression="zstd")


def read(result: Path) -> pd.DataFrame:
    """The table that lies beside the result <arm>-<seed>.json.

    The table of an older result is a CSV file, with one row a prompt. Raises FileNotFoundError if
    there is neither.
    """
    path = result.with_name(result.stem + ENDING)
    if path.is_file():
        return parse(path.read_bytes())
    return parse(result.with_suffix(".csv").read_bytes())


def parse(content: bytes) -> pd.DataFrame:
    """The table in the bytes of a Parquet file or of an older CSV file.

    Metrics of older tables get their names of today.
    """
    if content.startswith(b"PAR1"):
        rows = pd.read_parquet(BytesIO(content))
    else:
        rows = pd.read_csv(BytesIO(content), keep_default_na=False).assign(picture=pd.NA)
    return rows[[*COLUMNS]].astype(COLUMNS).replace({"metric": RENAMED})
