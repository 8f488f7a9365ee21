"""The figures of the report: each says in its title what it shows, computed from what it shows.

Colours are those of seaborn's palette for the colour-blind, and every colour has a marker, a line
style or a number beside it that survives grey. Figures are narrow, so that a phone shows them
whole. Each function draws one and returns it; `ladder.experiments.report.page` saves them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ladder.experiments.report import text
from ladder.experiments.report.curves import (
    BLUE,
    DARK,
    GREY,
    ORANGE,
    PALETTE,
    narrow,
    titled,
)
from ladder.experiments.results import Run

VERDICTS = {"better": ("^", BLUE), "worse": ("v", ORANGE), "not distinguishable": ("o", GREY)}
"""The marker and the colour of each."""
FARTHEST = 4.0
"""Times the median: an interval that ends farther out is drawn at the edge."""
WINDOW = 25
"""Steps of the running mean of differences of losses."""
LINES = ("-", "--", "-.", ":")
MARKERS = "osD^vPX*"


def difference_figure(table: pd.DataFrame, metric: str, control: str) -> Figure:
    """Every arm minus the control in one metric, with 95% intervals; the marker is the verdict."""
    rows = table[(table["metric"] == metric) & table["verdict"].isin([*VERDICTS])]
    rows = rows.sort_values("difference", ascending=not text.is_loss(metric))
    scale = 1 if text.is_loss(metric) else 100
    ends = scale * rows[["difference_low", "difference_high"]].abs().max(axis=1)
    reach = min(ends.max(), FARTHEST * ends.median())
    figure, (axis,) = narrow(0.23 * len(rows) + 1.6)
    for place, row in enumerate(rows.to_dict("records")):
        marker, color = VERDICTS[row["verdict"]]
        low, mean, high = (scale * row[f"difference{end}"] for end in ("_low", "", "_high"))
        if abs(mean) > reach:  # at the edge, pointing outwards; its number tells
            axis.plot(np.sign(mean) * reach, place, "<" if mean < 0 else ">", color=color, ms=8)
        else:
            axis.plot([low, high], [place, place], color=color, lw=2, solid_capstyle="butt")
            axis.plot(mean, place, marker, color=color, ms=6.5)
        axis.annotate(
            text.amount(row["difference"], metric, "+"), (1.01, place), fontsize=7.5, va="center",
            xycoords=("axes fraction", "data"),
        )  # fmt: skip
    axis.axvline(0, color=DARK, lw=1)
    axis.set_xlim(-1.05 * reach, 1.05 * reach)
    axis.set_yticks(range(len(rows)), rows["arm"], fontsize=8)
    axis.set_ylim(-0.7, len(rows) - 0.3)
    what = "loss" if text.is_loss(metric) else "points of 100"
    axis.set_xlabel(f"arm minus {control}, {what} (95% interval)", fontsize=8.5)
    axis.tick_params(axis="x", labelsize=8)
    axis.grid(axis="x", alpha=0.3)
    titled(figure, text.capital(difference_title(table, metric, control)))
    for verdict, (marker, color) in VERDICTS.items():
        axis.plot([], [], marker, color=color, label=verdict)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=7.5)
    return figure


def difference_title(table: pd.DataFrame, metric: str, control: str) -> str:
    """What the figure of differences shows, in a sentence."""
    rows = table[(table["metric"] == metric) & table["verdict"].isin([*VERDICTS])]
    counts = rows["verdict"].value_counts()
    better, worse = (int(counts.get(name, 0)) for name in ("better", "worse"))
    subject = text.label(metric)
    if not better and not worse:
        return f"{subject}: none of {len(rows)} arms can be told from {control}"
    best = rows.sort_values("difference", ascending=text.is_loss(metric)).iloc[0]["arm"]
    first = f"{better} of {len(rows)} arms are better than {control}, {best} most"
    if not better:
        first = f"no arm of {len(rows)} is better than {control}"
    return f"{subject}: {first}; {worse} {'is' if worse == 1 else 'are'} worse"


def task_figure(shares: pd.DataFrame, metric: str) -> Figure:
    """The mean of each group of a metric for each arm, in percent."""
    order = shares.mean(axis=1).sort_values(ascending=False).index
    names = [str(name).replace("_", "\n") for name in shares.columns]
    figure, (axis,) = narrow(0.22 * len(shares) + 1.3)
    sns.heatmap(
        100 * shares.loc[order].set_axis(names, axis=1), ax=axis, annot=True, fmt=".0f",
        cmap="cividis", vmin=0, vmax=100, cbar=False, annot_kws={"fontsize": 7},
        linewidths=0.4,
    )  # fmt: skip
    axis.set(xlabel="", ylabel="")
    axis.tick_params(axis="x", labelsize=7, rotation=0, length=0)
    axis.tick_params(axis="y", labelsize=8, rotation=0, length=0)
    titled(figure, text.capital(task_title(shares, metric)))
    return figure


def task_title(shares: pd.DataFrame, metric: str) -> str:
    """Which group of a metric is the hardest, and in which the arms differ most."""
    hardest = shares.median().idxmin()
    spread = (shares.quantile(0.9) - shares.quantile(0.1)).idxmax()
    also = "in it" if spread == hardest else f"in {spread}"
    return (
        f"{text.label(metric)}, percent right by kind: {hardest} is the hardest, and arms differ "
        f"most {also}"
    )


def loss_figure(every: Sequence[Run], arms: Sequence[str], control: str, stage: str) -> Figure:
    """How much lower the loss of each arm is than that of the control while a stage trains.

    On held-out samples where runs took it, else on the batches: both meet the same samples and the
    same noise, so that a step is compared with a step. Means over the seeds that both have.
    """
    name, curves = loss_curves(every, arms, control, stage)
    figure, (axis,) = narrow(3.4)
    for place, curve in enumerate(curves.values()):
        how = {"color": PALETTE[place % len(PALETTE)], "ls": LINES[place % len(LINES)]}
        axis.plot(curve.index, curve, lw=1.8, marker=MARKERS[place % len(MARKERS)],
                  markevery=max(len(curve) // 6, 1), ms=4.5, **how)  # fmt: skip
    _label_ends(axis, curves)
    axis.axhline(0, color=DARK, lw=1)
    axis.set_xlabel(f"step of {stage}", fontsize=8.5)
    axis.set_ylabel(f"{name}, minus {control}", fontsize=8.5)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.3)
    titled(figure, loss_title(name, curves, control, stage))
    return figure


def loss_curves(
    every: Sequence[Run], arms: Sequence[str], control: str, stage: str
) -> tuple[str, dict[str, pd.Series]]:
    """The name of the loss, and for each arm its difference to the control by step."""
    held_out = f"validation_{stage}"
    known = {(run.arm, run.seed): run.steps for run in every if run.steps is not None}
    taken = any(held_out in steps and steps[held_out].notna().any() for steps in known.values())
    column = held_out if taken else "loss"
    curves = {}
    for arm in arms:
        pairs = []
        for seed in [seed for name, seed in known if name == arm and (control, seed) in known]:
            own, other = (
                steps[steps["stage"] == stage].set_index("step")[column].dropna()
                for steps in (known[arm, seed], known[control, seed])
            )
            pairs.append(own - other)
        if pairs:
            mean = pd.concat(pairs, axis=1).mean(axis=1).dropna()
            curves[arm] = mean if taken else mean.rolling(WINDOW).mean().dropna()
    return ("held-out loss" if taken else "training loss"), curves


def loss_title(name: str, curves: dict[str, pd.Series], control: str, stage: str) -> str:
    """Which arm ends lowest, and how far below the control."""
    ends = {arm: float(curve.iloc[-1]) for arm, curve in curves.items() if len(curve)}
    if not ends:
        return f"No run has a {name} of {stage} beside that of {control}"
    best = min(ends, key=ends.__getitem__)
    side = "below" if ends[best] < 0 else "above"
    return (
        f"On the same noise {best} ends {stage} with a {name} {abs(ends[best]):.3f} {side} that of "
        f"{control}"
    )


def _label_ends(axis: Axes, curves: dict[str, pd.Series]) -> None:
    """Names of curves at their right ends, moved apart where they would cover each other."""
    ends = sorted((float(curve.iloc[-1]), arm) for arm, curve in curves.items() if len(curve))
    low, high = axis.get_ylim()
    apart, last = 0.055 * (high - low), -np.inf
    colors = {arm: PALETTE[place % len(PALETTE)] for place, arm in enumerate(curves)}
    for value, arm in ends:
        last = max(value, last + apart)
        axis.annotate(arm, (1.01, last), xycoords=("axes fraction", "data"), fontsize=8,
                      va="center", color=colors[arm], annotation_clip=False)  # fmt: skip


def caught_figure(kinds: pd.DataFrame, monitors: pd.DataFrame) -> Figure:
    """The share of each kind of fault that each monitor caught, and of good steps that it lost."""
    shares = kinds.copy()
    shares["good steps\nlost"] = monitors.set_index("arm")["good_lost"].reindex(shares.index)
    shares.index = [name.removeprefix("faults_").replace("_", " ") for name in shares.index]
    figure, (axis,) = narrow(0.25 * len(shares) + 1.3)
    sns.heatmap(
        100 * shares, ax=axis, annot=True, fmt=".0f", cmap="cividis", vmin=0, vmax=100, cbar=False,
        annot_kws={"fontsize": 7.5}, linewidths=0.4,
    )  # fmt: skip
    axis.axvline(len(kinds.columns), color="white", lw=6)
    axis.set(xlabel="", ylabel="")
    axis.tick_params(axis="x", labelsize=8, rotation=0, length=0)
    axis.tick_params(axis="y", labelsize=8, rotation=0, length=0)
    titled(figure, caught_title(kinds, monitors))
    return figure


def caught_title(kinds: pd.DataFrame, monitors: pd.DataFrame) -> str:
    """Whether monitors lost good steps, and which of them caught most."""
    watched = monitors.set_index("arm").loc[[*kinds.index]]
    lost, most = watched["good_lost"].max(), watched["caught"].max()
    best = watched.index[watched["caught"] == most]
    said = best[0].removeprefix("faults_").replace("_", " ")
    more = f" and {len(best) - 1} more" if len(best) > 1 else ""
    first = f"No more than {100 * lost:.0f}% of good steps were lost"
    if lost == 0:
        first = "No monitor lost a good step"
    return f"{first}; {said}{more} caught most faults, {100 * most:.0f}% (percent, by kind)"
