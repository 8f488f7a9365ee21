"""Verdicts on the hypotheses of a study, by rules that stand in it before it is run.

A claim is supported if every comparison in it gains with p < .05 after Holm's correction over all
hypotheses of the study, those without runs counted. It is refuted if the 95% interval of one
comparison ends below the smallest gain that matters. Between the two it is undecided.
`experiments/studies/PREREGISTERED.md` says the same for readers; a test holds them equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ladder.evaluation.outcomes import metric_of
from ladder.experiments.results import Run
from ladder.experiments.statistics import LEVEL, MINUS, Analysis, Difference, holm
from ladder.experiments.study import Hypothesis, Study

Judged = Literal["supported", "refuted", "undecided", "no runs"]


@dataclass(frozen=True)
class Finding:
    """What runs say of a hypothesis, by one outcome."""

    name: str
    hypothesis: Hypothesis
    outcome: str
    differences: dict[str, Difference]
    """`better` minus each arm of `than`; empty without runs."""
    p: float
    """Of the weakest comparison, corrected; 1 without runs."""
    verdict: Judged

    @property
    def weakest(self) -> tuple[str, Difference]:
        """The comparison that gains least surely."""
        return max(self.differences.items(), key=lambda one: _against(self.hypothesis, one[1]))


def findings(study: Study, runs: Sequence[Run]) -> list[Finding]:
    """What runs say of each hypothesis of a study, by the outcome that decides it."""
    return _found(study, runs, {name: one.outcome for name, one in study.hypotheses.items()})


def secondary(study: Study, runs: Sequence[Run], place: int = 0) -> list[Finding]:
    """What they say by the secondary outcome at `place`, of hypotheses that have one.

    It may support a claim; it refutes none, since what matters is set for the other outcome.
    """
    asked = {
        name: one.secondary[place]
        for name, one in study.hypotheses.items()
        if place < len(one.secondary)
    }
    return _found(study, runs, asked)


def _found(study: Study, runs: Sequence[Run], outcomes: Mapping[str, str]) -> list[Finding]:
    hypotheses = {name: study.hypotheses[name] for name in outcomes}
    found = {name: _differences(one, runs, outcomes[name]) for name, one in hypotheses.items()}
    raw = [
        max((_against(one, difference) for difference in found[name].values()), default=1.0)
        for name, one in hypotheses.items()
    ]
    return [
        Finding(name, one, outcomes[name], found[name], p,
                _judge(one, found[name], p, outcomes[name] == one.outcome))
        for (name, one), p in zip(hypotheses.items(), holm(raw), strict=True)
    ]  # fmt: skip


def _differences(one: Hypothesis, runs: Sequence[Run], outcome: str) -> dict[str, Difference]:
    """Each comparison of a hypothesis; none unless all have two seeds in common.

    Raises ValueError for an outcome that is none.
    """
    metrics = outcome.split(MINUS)
    for metric in metrics:
        metric_of(metric)
    if not any(all(map(run.has, metrics)) for run in runs):
        return {}
    analysis = Analysis.of(runs, outcome)
    if any(len(analysis.seeds(one.better, other)) < 2 for other in one.than):
        return {}
    return {other: analysis.difference(one.better, other) for other in one.than}


def _against(one: Hypothesis, found: Difference) -> float:
    """Two-sided p of no gain (or, for "no worse", of a loss as large as matters); 1 where the
    difference is on the other side."""
    least = 0.0 if one.expect == "better" else -one.matters
    return found.p(than=least) if found.gain[0] > least else 1.0


def _judge(one: Hypothesis, found: Mapping[str, Difference], p: float, primary: bool) -> Judged:
    if not found:
        return "no runs"
    least = one.matters if one.expect == "better" else -one.matters
    if primary and any(difference.gain[2] < least for difference in found.values()):
        return "refuted"
    return "supported" if p < LEVEL else "undecided"
