"""The figures of the report, readable in black and white: markers and hatches beside colours.

Each function draws one and returns it; `ladder.experiments.report.page` saves them.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

import numpy as np
import pandas as pd
import seaborn as sns
from jaxtyping import UInt8
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from PIL import Image

from ladder.experiments.results import Run

VERDICTS = {"better": "^", "worse": "v", "not distinguishable": "o", "control": "D",
            "not compared": "."}  # fmt: skip
GREY, DARK = "#777777", "#222222"
GAP = 6
"""Pixels between pictures."""
SMOOTH = 9
"""Steps of the running median of curves."""


def score_figure(table: pd.DataFrame) -> Figure:
    """The score of each arm with its interval; the marker is the verdict."""
    metrics = [*table["metric"].unique()]
    order = table[table["metric"] == metrics[0]].sort_values("mean")["arm"].tolist()
    figure = Figure(figsize=(3.2 * len(metrics), 0.3 * len(order) + 1.6), layout="constrained")
    axes = figure.subplots(1, len(metrics), sharey=True)
    for axis, metric in zip(axes, metrics, strict=True):
        rows = table[table["metric"] == metric].set_index("arm").reindex(order)
        for place, row in enumerate(rows.itertuples()):
            if not np.isnan(row.mean):
                axis.plot([100 * row.low, 100 * row.high], [place, place], color=GREY, lw=2)
                axis.plot(100 * row.mean, place, VERDICTS[row.verdict], color=DARK, ms=7)
        if (control := rows[rows["verdict"] == "control"]["mean"]).size:
            axis.axvline(100 * control.iloc[0], color=GREY, ls=":")
        axis.set(xlabel=f"{metric} (% right)", yticks=range(len(order)), yticklabels=order)
        axis.grid(axis="x", alpha=0.3)
    handles = [
        axes[0].plot([], [], marker, color=DARK, ls="", label=name)[0]
        for name, marker in VERDICTS.items()
        if name in set(table["verdict"])
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def assignment_figure(arms: Sequence[str], every: Sequence[Run]) -> Figure:
    """Which layer of the MLLM feeds which block, for each arm; the darker, the larger the share.

    An arm whose seeds differ in it is shown by the first of these, which is named.
    """
    known: dict[str, list] = {}
    for arm in arms:
        mine = [(run.seed, run.cost["rungs"]) for run in every if run.arm == arm and run.cost]
        if mine:
            seed, rungs = mine[0]
            same = all(other == rungs for _, other in mine)
            known[arm if same else f"{arm}, seed {seed}"] = rungs
    columns = 6
    rows = -(-len(known) // columns)
    figure = Figure(figsize=(2.1 * columns, 2.4 * rows), layout="constrained")
    axes = [*figure.subplots(rows, columns, squeeze=False, sharey=True).flat]
    layers = sorted(
        {int(k) for rungs in known.values() for rung in rungs for k in rung if k != "norm"}
    )
    names = [*map(str, range(max(layers, default=0) + 1)), "norm"]
    for axis, (arm, rungs) in zip(axes, known.items(), strict=False):
        shares = pd.DataFrame(rungs, index=range(1, len(rungs) + 1)).reindex(columns=names).T
        sns.heatmap(
            shares.fillna(0.0), ax=axis, cmap="Greys", norm=PowerNorm(0.5, 0, 1), cbar=False,
            linewidths=0.3, linecolor="#dddddd", yticklabels=True,
        )  # fmt: skip
        axis.invert_yaxis()
        axis.set_title(arm, fontsize=9)
        axis.set(xlabel="block", ylabel="")
        axis.tick_params(labelsize=6)
    for axis in axes[len(known) :]:
        axis.axis("off")
    figure.supylabel("layer of the MLLM")
    return figure


def task_figure(shares: pd.DataFrame, title: str) -> Figure:
    """The mean of each group of a metric for each arm, in percent."""
    size = (0.9 * len(shares.columns) + 2.2, 0.32 * len(shares) + 1.4)
    figure = Figure(figsize=size, layout="constrained")
    axis = figure.subplots()
    sns.heatmap(
        100 * shares, ax=axis, annot=True, fmt=".0f", cmap="Greys", vmin=0, vmax=100,
        cbar_kws={"label": "% right"},
    )  # fmt: skip
    axis.set(title=title, xlabel="", ylabel="")
    axis.tick_params(axis="x", rotation=30)
    axis.tick_params(axis="y", rotation=0)
    return figure


def curve_figure(every: Sequence[Run], arms: Sequence[str]) -> Figure:
    """Loss and gradient norm of one seed of each arm, stage after stage; crosses are skips."""
    shown = [
        next((run for run in every if run.arm == arm and run.steps is not None), None)
        for arm in arms
    ]
    shown = [run for run in shown if run]
    figure = Figure(figsize=(9, 2.3 * max(len(shown), 1)), layout="constrained")
    axes = figure.subplots(max(len(shown), 1), 2, squeeze=False, sharex=True)
    for row, run in zip(axes, shown, strict=False):
        steps = run.steps.reset_index(drop=True)
        for axis, name in zip(row, ("loss", "norm"), strict=True):
            axis.plot(steps.index, steps[name], color=GREY, lw=0.5)
            smooth = steps[name].rolling(SMOOTH, min_periods=1, center=True).median()
            axis.plot(steps.index, smooth, color=DARK, lw=1.5)
            for mark, where in (("x", steps["skipped"] > 0), ("|", steps["fault"].notna())):
                values = steps[name][where].fillna(steps[name].median())
                label = "skipped" if mark == "x" else "fault put in"
                axis.plot(values.index, values, mark, color="black", ms=7, ls="", label=label)
            axis.set(yscale="log", ylabel="loss (MSE)" if name == "loss" else "gradient norm")
            for end in np.flatnonzero(steps["stage"] != steps["stage"].shift())[1:]:
                axis.axvline(end, color=GREY, ls="--", lw=0.8)
        row[0].set_title(f"{run.arm}, seed {run.seed}", loc="left", fontsize=9)
        row[1].legend(frameon=False, fontsize=7)
    for axis in axes[-1]:
        axis.set_xlabel("step, over all stages")
    return figure


def roc_figure(table: pd.DataFrame) -> Figure:
    """Share of faults that each monitor caught against the share of good steps that it lost, and
    against its threshold."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    names = table["arm"].str.extract(r"faults_(?P<judge>[a-z]+)_?(?P<threshold>\d*)")
    judges = names["judge"].dropna().unique()
    for place, (judge, marker) in enumerate(zip(judges, "os^D", strict=False)):
        rows = table[names["judge"] == judge].assign(threshold=names["threshold"])
        # Equal points lie within each other.
        how = {"ls": "-", "lw": 0.8, "color": DARK, "markerfacecolor": "none", "ms": 13 - 3 * place}
        left.plot(100 * rows["good_lost"], 100 * rows["caught"], marker, label=judge, **how)
        rows = rows[rows["threshold"] != ""]
        rows = rows.assign(threshold=rows["threshold"].astype(int)).sort_values("threshold")
        right.plot(rows["threshold"], 100 * rows["caught"], marker, **how)
    left.set(xlabel="good steps lost (%)", ylabel="faults caught (%)", ylim=(-4, 106))
    left.set_xlim(-0.5, max(5.0, 110 * table["good_lost"].max()))
    left.legend(title="judge", frameon=False)
    right.set(xscale="log", xlabel="threshold (robust: deviations; others: ratio of norms)")
    thresholds = sorted(names["threshold"].replace("", np.nan).dropna().astype(int).unique())
    right.set_xticks(thresholds, thresholds)
    right.minorticks_off()
    for axis in (left, right):
        axis.grid(alpha=0.3)
    return figure


def cost_figure(table: pd.DataFrame) -> Figure:
    """Seconds of training and trained parameters of each arm."""
    figure = Figure(figsize=(9, 0.26 * len(table) + 1.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    axes[0].barh(table["arm"], table["train_seconds"], color="white", edgecolor=DARK, hatch="//")
    axes[1].barh(table["arm"], table["trained_parameters"] / 1e6, color="white", edgecolor=DARK)
    axes[0].set(xlabel="training (seconds, median over seeds)")
    axes[1].set(xlabel="trained parameters (millions)")
    axes[0].invert_yaxis()
    return figure


def strip_figure(every: Sequence[Run], arms: Sequence[str], seed: int) -> Figure:
    """Pictures of the same prompts from the same noise, a row for each arm."""
    found = {run.arm: run for run in every if run.seed == seed and run.picture}
    shown = [found[arm] for arm in arms if arm in found]
    figure = Figure(figsize=(13, 1.06 * max(len(shown), 1) + 0.9), layout="constrained")
    if not shown:
        return figure
    axes = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
    for axis, run in zip(axes, shown, strict=True):
        strip = np.asarray(Image.open(run.picture).convert("RGB"))
        side = len(strip)
        axis.imshow(_apart(strip, side))
        axis.axis("off")
        axis.text(-0.1 * side, side / 2, run.arm, ha="right", va="center", fontsize=9)
    for place, prompt in enumerate(_prompts(shown[0], strip.shape[1] // side)):
        middle = (place + 0.5) * side + place * GAP
        axes[0].text(middle, -0.05 * side, fill(prompt, 16), ha="center", va="bottom", fontsize=7)
    return figure


def _apart(strip: UInt8[np.ndarray, "H W C"], side: int) -> UInt8[np.ndarray, "H V C"]:
    """The square pictures of a strip with white between them."""
    white = np.full((side, GAP, strip.shape[2]), 255, strip.dtype)
    pictures = np.split(strip, range(side, strip.shape[1], side), axis=1)
    return np.concatenate([part for one in pictures for part in (one, white)][:-1], axis=1)


def _prompts(run: Run, count: int) -> list[str]:
    """Those of the pictures in a strip: the first few of each task."""
    outcomes = run.of_metric("geneval_toy")
    tasks = outcomes.groupby("group", sort=False)
    each = count // tasks.ngroups
    return [prompt for _, rows in tasks for prompt in rows["prompt"].head(each)]
