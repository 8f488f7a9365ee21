"""The tables of the report: scores of every arm and how sure they are, cost, monitors, failures.

`scores` holds numbers, for files and figures; the others are as people read them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ladder.experiments.report import text
from ladder.experiments.results import Run, runs_of
from ladder.experiments.statistics import Analysis, arm_mean, verdicts
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
COLUMNS = ("metric", "arm", "seeds", "prompts", "mean", "low", "high", "seed_spread", "control",
           "difference", "difference_low", "difference_high", "p", "p_holm", "detectable",
           "verdict")  # fmt: skip
"""Of the table of scores; those from `control` to `detectable` are of an arm that was compared."""


def scores(study: Study, every: Sequence[Run]) -> pd.DataFrame:
    """A row for each arm and metric: mean, interval, spread over seeds, and difference to control.

    p is corrected over the arms of one metric by Holm's method; `detectable` is the difference that
    would have been found in 80% of such studies. An arm with fewer than two seeds in common with
    the control is "not compared". An arm, or a metric, that no run has is left out.
    """
    rows = []
    for metric in study.outcomes:
        if not any(run.has(metric) for run in every if run.arm in study.arms):
            continue
        analysis = Analysis.of([run for run in every if run.arm in study.arms], metric)
        compared = analysis.compared(study.control)
        found = {arm: analysis.difference(arm, study.control) for arm in compared}
        judged = verdicts(found)
        for arm in study.arms:
            runs = [run for run in runs_of(every, arm) if run.has(metric)]
            if not runs:
                continue
            mean = arm_mean(runs, metric)
            row = {"metric": metric, "arm": arm, "seeds": len(runs), "prompts": mean.prompts,
                   "mean": mean.mean, "low": mean.low, "high": mean.high,
                   "seed_spread": mean.spread}  # fmt: skip
            if arm in found:
                one, (p, verdict) = found[arm], judged[arm]
                shared = [run for run in runs_of(every, study.control)
                          if run.seed in analysis.seeds(arm, study.control)]  # fmt: skip
                row |= {"control": arm_mean(shared, metric).mean, "difference": one.mean,
                        "difference_low": one.low, "difference_high": one.high, "p": one.p(),
                        "p_holm": p, "detectable": one.detectable(len(found)),
                        "verdict": verdict}  # fmt: skip
            else:
                row["verdict"] = "control" if arm == study.control else NOT_COMPARED
            rows.append(row)
    return pd.DataFrame(rows, columns=[*COLUMNS])


def readable(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The scores of a metric as people read them: best arm first, numbers that subtract.

    Arm and control are means over the seeds that both have.
    """
    rows = table[table["metric"] == metric]
    rows = rows.sort_values("mean", ascending=text.is_loss(metric), kind="stable")
    return pd.DataFrame([_readable(row, metric) for row in rows.to_dict("records")])


def _readable(row: dict[str, Any], metric: str) -> dict[str, str | int]:
    found = {"arm": row["arm"], "seeds": row["seeds"], "score": text.amount(row["mean"], metric),
             "control": "", "difference": "", "95% interval": "", "p (Holm)": "",
             "verdict": row["verdict"]}  # fmt: skip
    if row["verdict"] in ("control", NOT_COMPARED):
        return found
    score, control, gain = text.subtracting(
        row["control"] + row["difference"], row["control"], metric
    )
    verdict = row["verdict"]
    if verdict == "not distinguishable":
        least = text.amount(row["detectable"], metric)
        verdict = f"not distinguishable; {least} would be found"
    return found | {
        "score": score,
        "control": control,
        "difference": gain,
        "95% interval": text.interval(row["difference_low"], row["difference_high"], metric),
        "p (Holm)": text.p_value(row["p_holm"]),
        "verdict": verdict,
    }


def full_length(study: Study, every: Sequence[Run], full: Sequence[Run]) -> pd.DataFrame:
    """Arms trained at full length beside their short runs: a row for each metric and arm, the best
    at full length first."""
    rows = []
    for metric in study.outcomes:
        known = {
            arm: [[run for run in runs_of(runs, arm) if run.has(metric)] for runs in (full, every)]
            for arm in study.arms
        }
        means = {
            arm: [arm_mean(runs, metric) for runs in both]
            for arm, both in known.items()
            if all(both)
        }
        worst = 1 if text.is_loss(metric) else -1
        for arm, (long, short) in sorted(means.items(), key=lambda one: worst * one[1][0].mean):
            row = {"metric": metric, "arm": arm}
            for name, mean, runs in zip(
                ("full length", "short"), (long, short), known[arm], strict=True
            ):
                row[name] = text.amount(mean.mean, metric)
                row[f"95% of {name}"] = text.interval(mean.low, mean.high, metric)
                row[f"seeds of {name}"] = len(runs)
            rows.append(row)
    return pd.DataFrame(rows)


def published(every: Sequence[Run], arms: Sequence[str]) -> pd.DataFrame:
    """The paper's scores, and beside them those of the same scorers in the toy world: a row a
    benchmark, then one for each type of edit; a column for each of `arms` that has runs."""
    known = {arm: runs for arm in arms if (runs := runs_of(every, arm))}
    rows = []
    for name, (score, metric, unit) in PUBLISHED.items():
        row = {"benchmark": name, "paper": score, "in the toy world": metric}
        for arm, runs in known.items():
            if all(run.has(metric) for run in runs):
                mean = arm_mean(runs, metric)
                low, high = (f"{unit * value:.2f}" for value in (mean.low, mean.high))
                row[arm] = f"{unit * mean.mean:.2f} [{low}, {high}]"
        rows.append(row)
    kinds = by_task(every, [*known], "imgedit_toy")
    for kind, score in PUBLISHED_EDITS.items():
        row = {"benchmark": f"ImgEdit-Bench, {kind}", "paper": score}
        row |= {"in the toy world": "imgedit_toy"}
        rows.append(
            row | {arm: f"{kinds.loc[arm, kind]:.2f}" for arm in known if arm in kinds.index}
        )
    return pd.DataFrame(rows).fillna("")


def by_task(every: Sequence[Run], arms: Sequence[str], metric: str) -> pd.DataFrame:
    """The mean of each group of a metric: a row an arm, a column a group."""
    rows = {}
    for arm in arms:
        if runs := [run for run in runs_of(every, arm) if run.has(metric)]:
            outcomes = pd.concat([run.of_metric(metric) for run in runs])
            rows[arm] = outcomes.groupby("group", sort=False)["score"].mean()
    return pd.DataFrame(rows).T


def cost(arms: Sequence[str], every: Sequence[Run]) -> pd.DataFrame:
    """What an arm costs: trained parameters, layers of the MLLM that run, seconds of training."""
    rows = []
    for arm in arms:
        known = [run.cost for run in every if run.arm == arm and run.cost]
        if known:
            times = [one["seconds"]["total"] for one in known]
            memory = max(one["peak_bytes"]["process"] for one in known) / 2**30
            rows.append({"arm": arm,
                         "trained parameters": text.millions(sum(known[0]["parameters"].values())),
                         "layers of the MLLM": known[0]["mllm_layers"],
                         "training, median": text.seconds(float(np.median(times))),
                         "threads": known[0]["threads"],
                         "memory at most": f"{memory:.1f} GiB"})  # fmt: skip
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
        runs = runs_of(mine, arm)
        for metric in study.outcomes:
            if runs and all(run.has(metric) for run in runs):
                row[metric] = arm_mean(runs, metric).mean
        rows.append(row)
    return pd.DataFrame(rows)


def readable_monitors(table: pd.DataFrame, outcomes: Sequence[str]) -> pd.DataFrame:
    """The table of `monitors` as people read it."""
    shown = table[["arm", "seeds", "faults"]].copy()
    shown["faults caught"] = [text.share(value) for value in table["caught"]]
    shown["good steps lost"] = [text.share(value) for value in table["good_lost"]]
    shown["runs without scores"] = table["failed"]
    for metric in outcomes:
        if metric in table:
            shown[text.label(metric)] = [text.amount(value, metric) for value in table[metric]]
    return shown


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
