"""The tables of the report: scores of every arm and how sure they are, cost, monitors, failures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ladder.experiments.results import Run, runs_of
from ladder.experiments.statistics import Difference, arm_mean, paired, verdicts
from ladder.experiments.study import Study

PUBLISHED = {
    "GenEval, points": ("87", "geneval_toy", 100),
    "DPG-Bench, points": ("80.97", "dpg_toy", 100),
    "TIIF-Bench short, points": ("62.37", "tiif_toy.short", 100),
    "TIIF-Bench long, points": ("61.18", "tiif_toy.long", 100),
    "ImgEdit-Bench, grade of 1 to 5": ("3.25", "imgedit_toy", 1),
}
"""The paper's scores (TBAC-UniImage-3B, arXiv 2508.08098), the metric by which the same scorer is
run in the toy world, and its unit."""
PUBLISHED_EDITS = {"add": "3.79", "recolor": "3.20", "replace": "3.85", "remove": "2.54",
                   "background": "3.91"}  # fmt: skip
"""Of the types of ImgEdit-Bench that the toy world has; "recolor" is the paper's Adjust."""
CLEAN = "ladder"
"""The arm that monitors are tried on, by itself: without faults."""
NOT_COMPARED = "not compared"
COMPARED = ("difference", "difference_low", "difference_high", "p_holm", "improvement")
"""Columns of an arm that was compared."""


def scores(study: Study, every: Sequence[Run]) -> pd.DataFrame:
    """A row for each arm and metric: mean, interval, spread over seeds, and difference to control.

    p is corrected over the arms of one metric by Holm's method. An arm with fewer than two seeds
    in common with the control is "not compared", and one without any run has no row here.
    """
    rows = []
    for metric in study.outcomes:
        found = differences(study, every, metric)
        judged = verdicts(found)
        for arm in study.arms:
            runs = runs_of(every, arm)
            if not runs:
                continue
            mean = arm_mean(runs, metric)
            row = {"metric": metric, "arm": arm, "seeds": len(runs), "prompts": mean.prompts,
                   "mean": mean.mean, "low": mean.low, "high": mean.high,
                   "seed_spread": mean.spread}  # fmt: skip
            if arm in found:
                difference, (p, verdict) = found[arm], judged[arm]
                row |= {"difference": difference.mean, "difference_low": difference.low,
                        "difference_high": difference.high, "p_holm": p, "verdict": verdict,
                        "improvement": difference.improvement}  # fmt: skip
            else:
                row["verdict"] = "control" if arm == study.control else NOT_COMPARED
            rows.append(row)
    return pd.DataFrame(rows)


def differences(study: Study, every: Sequence[Run], metric: str) -> dict[str, Difference]:
    """The difference of each arm to the control, where at least two seeds have both."""
    control, found = runs_of(every, study.control), {}
    for arm in study.arms:
        runs = runs_of(every, arm)
        shared = {run.seed for run in runs} & {run.seed for run in control}
        if arm != study.control and len(shared) > 1:
            found[arm] = paired(runs, control, metric)
    return found


def full_length(study: Study, every: Sequence[Run], full: Sequence[Run]) -> pd.DataFrame:
    """Arms trained at full length beside their short runs: a row for each metric and arm, the best
    at full length first, in points of 100."""
    rows = []
    for metric in study.outcomes:
        known = [arm for arm in study.arms if runs_of(full, arm) and runs_of(every, arm)]
        means = {arm: arm_mean(runs_of(full, arm), metric) for arm in known}
        for arm in sorted(known, key=lambda arm: -means[arm].mean):
            long, short = means[arm], arm_mean(runs_of(every, arm), metric)
            rows.append({"metric": metric, "arm": arm,
                         "full length [95%]": _points(long.mean, long.low, long.high),
                         "seeds": len(runs_of(full, arm)),
                         "short [95%]": _points(short.mean, short.low, short.high),
                         "seeds of short": len(runs_of(every, arm))})  # fmt: skip
    return pd.DataFrame(rows)


def published(every: Sequence[Run], arms: Sequence[str]) -> pd.DataFrame:
    """The paper's scores, and beside them those of the same scorers in the toy world: a row a
    benchmark, then one for each type of edit; a column for each of `arms` that has runs."""
    known = {arm: runs for arm in arms if (runs := runs_of(every, arm))}
    rows = []
    for name, (score, metric, unit) in PUBLISHED.items():
        row = {"benchmark": name, "paper": score, "in the toy world": metric}
        for arm, runs in known.items():
            mean = arm_mean(runs, metric)
            low, high = (f"{unit * value:.2f}" for value in (mean.low, mean.high))
            row[arm] = f"{unit * mean.mean:.2f} [{low}, {high}]"
        rows.append(row)
    kinds = by_task(every, [*known], "imgedit_toy")
    for kind, score in PUBLISHED_EDITS.items():
        row = {"benchmark": f"ImgEdit-Bench, {kind}", "paper": score}
        row |= {"in the toy world": "imgedit_toy"}
        rows.append(row | {arm: f"{kinds.loc[arm, kind]:.2f}" for arm in known})
    return pd.DataFrame(rows)


def by_task(every: Sequence[Run], arms: Sequence[str], metric: str) -> pd.DataFrame:
    """The mean of each group of a metric: a row an arm, a column a group."""
    rows = {}
    for arm in arms:
        if runs := runs_of(every, arm):
            outcomes = pd.concat([run.of_metric(metric) for run in runs])
            rows[arm] = outcomes.groupby("group", sort=False)["score"].mean()
    return pd.DataFrame(rows).T


def cost(arms: Sequence[str], every: Sequence[Run]) -> pd.DataFrame:
    """What an arm costs: trained parameters, layers of the MLLM that run, seconds of training."""
    rows = []
    for arm in arms:
        known = [run.cost for run in every if run.arm == arm and run.cost]
        if known:
            parameters = sum(known[0]["parameters"].values())
            seconds = float(np.median([one["seconds"]["total"] for one in known]))
            memory = max(one["peak_bytes"]["process"] for one in known) / 2**30
            rows.append({"arm": arm, "trained_parameters": parameters,
                         "mllm_layers": known[0]["mllm_layers"], "train_seconds": seconds,
                         "threads": known[0]["threads"], "peak_gib": memory})  # fmt: skip
    return pd.DataFrame(rows)


def monitors(study: Study, every: Sequence[Run]) -> pd.DataFrame:
    """How each monitor did: share of faults that it caught, share of good steps that it lost, and
    the scores that remain. Steps of all seeds are taken together. The last row is without faults,
    by the seeds that monitors have run with.
    """
    tried = {run.seed for run in every if run.arm in study.arms and run.steps is not None}
    rows = []
    for arm in (*study.arms, CLEAN):
        mine = [run for run in every if run.arm == arm and run.steps is not None
                and run.seed in tried]  # fmt: skip
        if not mine:
            continue
        steps = pd.concat([run.steps for run in mine])
        spoilt = steps["fault"].notna()
        skipped = steps["skipped"] > 0
        row = {"arm": arm, "seeds": len(mine), "faults": int(spoilt.sum()),
               "caught": float(skipped[spoilt].mean()) if spoilt.any() else np.nan,
               "good_lost": float(skipped[~spoilt].mean()),
               "failed": sum(run.outcomes is None for run in mine)}  # fmt: skip
        if runs := runs_of(mine, arm):
            row |= {metric: arm_mean(runs, metric).mean for metric in study.outcomes}
        rows.append(row)
    return pd.DataFrame(rows)


def caught_by_kind(study: Study, every: Sequence[Run]) -> pd.DataFrame:
    """The share of each kind of fault that a monitor caught: a row a monitor, a column a kind."""
    rows = {}
    for arm in study.arms:
        mine = [run.steps for run in every if run.arm == arm and run.steps is not None]
        if mine:
            steps = pd.concat(mine)
            rows[arm] = (steps["skipped"] > 0).groupby(steps["fault"]).mean()
    return pd.DataFrame(rows).T


def failures(every: Sequence[Run]) -> pd.DataFrame:
    """A row for each arm and each error that left runs without scores, with its end."""
    rows = pd.DataFrame(
        [(run.arm, str(run.seed), run.error) for run in every if run.error],
        columns=["arm", "seeds", "error"],
    )
    seeds = rows.groupby(["arm", "error"], sort=False)["seeds"].agg(", ".join)
    return seeds.reset_index()[["arm", "seeds", "error"]]


def readable(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The scores of a metric as people read them: points of 100, best arm first."""
    rows = table[table["metric"] == metric].sort_values("mean", ascending=False)
    compared = rows.reindex(columns=[*rows.columns.union(COMPARED, sort=False)])
    return pd.DataFrame(
        {
            "arm": rows["arm"],
            "seeds": rows["seeds"],
            "score [95%]": [_points(*x) for x in rows[["mean", "low", "high"]].to_numpy()],
            "± seeds": [f"{100 * x:.1f}" if x == x else "" for x in rows["seed_spread"]],
            "minus control [95%]": [
                _points(*x, sign="+") for x in compared[[*COMPARED[:3]]].to_numpy(float)
            ],
            "p (Holm)": [f"{x:.3f}" if x == x else "" for x in compared["p_holm"]],
            "P(better)": [f"{x:.2f}" if x == x else "" for x in compared["improvement"]],
            "verdict": rows["verdict"],
        }
    )


def _points(mean: float, low: float, high: float, sign: str = "") -> str:
    if np.isnan(mean):
        return ""
    return f"{100 * mean:{sign}.1f} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"
