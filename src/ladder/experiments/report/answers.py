"""The answers that the report begins with: a paragraph for each question, in plain words.

Every sentence is made from the verdicts and numbers of the runs that are there; none is typed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ladder.experiments.hypotheses import Finding, findings, secondary
from ladder.experiments.mixed_model import fit
from ladder.experiments.report import text
from ladder.experiments.results import Run
from ladder.experiments.statistics import Analysis
from ladder.experiments.study import Study

OPENINGS = {
    "supported": "Yes.",
    "refuted": "No, or too little to matter.",
    "undecided": "Not decided.",
    "no runs": "Not tested yet as planned.",
}


@dataclass(frozen=True)
class Answer:
    """A question of a study with what the runs say."""

    name: str
    """Of the hypothesis."""
    question: str
    claim: str
    verdict: str
    opening: str
    sentences: list[str]
    numbers: pd.DataFrame
    """A row for each comparison by each outcome, with its check; empty without runs."""


def answers(study: Study, runs: Sequence[Run]) -> list[Answer]:
    """An answer to each hypothesis of a study."""
    mine = [run for run in runs if run.arm in study.arms]
    beside: dict[str, list[Finding]] = {}
    for place in range(max((len(one.secondary) for one in study.hypotheses.values()), default=0)):
        for found in secondary(study, mine, place):
            if found.differences:
                beside.setdefault(found.name, []).append(found)
    return [_answer(study, one, beside.get(one.name, []), mine) for one in findings(study, mine)]


def _answer(study: Study, one: Finding, beside: list[Finding], runs: Sequence[Run]) -> Answer:
    hypothesis, family = one.hypothesis, len(study.hypotheses)
    sentences = _said(one, family)
    if not one.differences:
        compared = text.listed([hypothesis.better, *hypothesis.than])
        sentences = [
            f"What decides it is the {text.label(one.outcome)}, and no two seeds of {compared} "
            "have it."
        ]
        if beside:
            sentences += ["The runs that are there give a lead.", *_said(beside[0], family)]
    rows = [row for found in (one, *beside) for row in _numbers(found, runs, family)]
    return Answer(
        one.name, hypothesis.question, hypothesis.claim, one.verdict, OPENINGS[one.verdict],
        sentences, pd.DataFrame(rows),
    )  # fmt: skip


def _said(found: Finding, family: int) -> list[str]:
    """Effect and interval of each comparison, and how sure the finding is."""
    if not found.differences:
        return []
    better, outcome = found.hypothesis.better, found.outcome
    sentences = []
    for other, one in found.differences.items():
        sure = not one.low <= 0 <= one.high
        side = ("above" if one.mean > 0 else "below") if sure else "from"
        ends = sorted((abs(one.low), abs(one.high))) if sure else (one.low, one.high)
        far = text.amount(abs(one.mean), outcome) if sure else text.amount(one.mean, outcome, "+")
        sentences.append(
            f"In {text.label(outcome)} `{better}` lies {far}{text.unit(outcome)} "
            f"{text.interval(*ends, outcome)} {side} `{other}`."
        )
    if found.verdict == "supported":
        return [*sentences, text.sureness(found.p)]
    least = text.amount(found.weakest[1].detectable(family), outcome)
    return [
        *sentences,
        f"That can't be told from chance ({text.p_equals(found.p)}); a true difference of "
        f"{least}{text.unit(outcome)} would be found in four of five such studies.",
    ]


def _numbers(found: Finding, runs: Sequence[Run], family: int) -> list[dict[str, str | int]]:
    """A row for each comparison of a finding, with the mixed model beside it."""
    rows = []
    better, outcome = found.hypothesis.better, found.outcome
    for other, one in found.differences.items():
        analysis = Analysis.of(runs, outcome)
        check = fit(analysis.values(better, other), analysis.strata)
        rows.append(
            {
                "comparison": f"{better} minus {other}",
                "outcome": text.label(outcome) + (" (lower is better)" * one.lower_is_better),
                "difference": text.amount(one.mean, outcome, "+"),
                "95% interval": text.interval(one.low, one.high, outcome),
                "mixed model": text.interval(check.low, check.high, outcome),
                "p (Holm)": text.p_value(found.p),
                "would be found": text.amount(one.detectable(family), outcome),
                "seeds": one.seeds,
                "prompts": one.prompts,
            }
        )
    return rows


def overview(table: pd.DataFrame, control: str) -> list[str]:
    """For each outcome, which arms are better and worse than the control."""
    sentences = []
    for metric in table["metric"].unique():
        rows = table[table["metric"] == metric]
        rows = rows.sort_values("difference", ascending=text.is_loss(metric))
        parts = []
        for verdict in ("better", "worse"):
            arms = rows[rows["verdict"] == verdict]["arm"].tolist()
            if arms:
                parts.append(f"{text.listed(arms)} {'is' if len(arms) == 1 else 'are'} {verdict}")
        rest = rows[rows["verdict"] == "not distinguishable"]["detectable"]
        if len(rest):
            least = dict.fromkeys(text.amount(x, metric) for x in (rest.min(), rest.max()))
            parts.append(
                f"{len(rest)} can't be told from `{control}` (a difference of {' to '.join(least)}"
                f"{text.unit(metric)} would be found)"
            )
        sentences.append(f"{text.capital(text.label(metric))}: {'; '.join(parts)}.")
    return sentences


def monitors_sentence(table: pd.DataFrame, unwatched: str, clean: str, metric: str) -> str:
    """Where trainings with faults end, by one metric; empty if no watched one has it."""
    ends = table.set_index("arm")[metric].dropna() if metric in table else pd.Series(dtype=float)
    watched = ends.drop([name for name in (unwatched, clean) if name in ends])
    if not len(watched):
        return ""
    sides = dict.fromkeys(text.amount(value, metric) for value in (watched.min(), watched.max()))
    parts = [f"at {' to '.join(sides)} with a monitor"]
    if unwatched in ends:
        parts.insert(0, f"at {text.amount(ends[unwatched], metric)} unwatched")
    if clean in ends:
        parts.append(f"at {text.amount(ends[clean], metric)} without faults")
    seeds = int(table["seeds"].max())
    many = "one seed each, so that monitors can't be ranked" if seeds == 1 else f"{seeds} seeds"
    return f"With faults put in, {text.label(metric)} ends {', '.join(parts)} ({many})."
