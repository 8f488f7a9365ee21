"""Pictures of runs, to be laid beside each other: which prompts they show, and which are right."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from PIL import Image

from ladder.experiments.results import Run

METRIC = "geneval_toy"
"""Whose first prompts of each task stand in the row of pictures of a run."""


@dataclass(frozen=True)
class Row:
    """The pictures of a run, side by side in one file."""

    arm: str
    seed: int
    source: str
    """A data URI."""
    prompts: list[str]
    marks: list[str]
    """For each picture `right`, `wrong`, or how many of a prompt's pictures are right, where older
    results don't say which."""


def rows(every: Sequence[Run], arms: Sequence[str]) -> list[Row]:
    """A row for each run of `arms` that has pictures, in the order of the arms."""
    found = []
    for arm in arms:
        for run in every:
            if run.arm == arm and run.picture and run.has(METRIC):
                width, height = Image.open(run.picture).size
                shown = pictured(run, width // height)
                source = base64.b64encode(run.picture.read_bytes()).decode()
                found.append(
                    Row(arm, run.seed, f"data:image/webp;base64,{source}",
                        shown["prompt"].tolist(), [*map(_mark, shown.itertuples())])
                )  # fmt: skip
    return found


def pictured(run: Run, count: int) -> pd.DataFrame:
    """The prompts of `count` pictures in a row of a run, the first few of each task: prompt, score
    of its first picture (`first`, NaN if unknown), mean score and number of its pictures."""
    outcomes = run.outcomes[run.outcomes["metric"] == METRIC]
    by_prompt = outcomes.groupby(["group", "number", "prompt"], sort=False).agg(
        score=("score", "mean"), pictures=("score", "size")
    )
    first = outcomes[outcomes["picture"].eq(0).fillna(False)]
    by_prompt["first"] = first.set_index(["group", "number", "prompt"])["score"]
    table = by_prompt.reset_index().sort_values("number", kind="stable")
    tasks = table.groupby("group", sort=False)
    return pd.concat([rows.head(count // tasks.ngroups) for _, rows in tasks])


def _mark(row: tuple) -> str:
    score = row.first if row.first == row.first else row.score
    if score in (0.0, 1.0):
        return "right" if score else "wrong"
    return f"{100 * score:.0f}% right"
