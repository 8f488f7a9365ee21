"""Numbers and names as the report writes them: points of 100, p < .001, 1,170 s, 4.0 M."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ladder.evaluation.outcomes import metric_of
from ladder.experiments.statistics import MINUS, Difference

LABELS = {
    "geneval_toy": "GenEval-toy",
    "reasoning": "prompts that need reasoning",
    "edit.followed": "edits followed",
    "edit.kept": "edits that keep the rest",
    "edit.exact": "exact edits",
    "edit.detail": "detail kept in edits",
    "heldout_loss.t2i": "held-out loss of text to image",
    "heldout_loss.ti2i": "held-out loss of edits",
    "imgedit_toy": "ImgEdit of the toy world",
}
"""How the text calls a metric; one that isn't here keeps its name."""
WIDEST = 100.0
"""Points: an interval of a difference that is wider than the scale says nothing."""
TOO_FEW = "unknown: too few seeds"
CHANCE = ((0.001, "very unlikely"), (0.01, "unlikely"), (0.05, "rather unlikely"))
"""What chance is as the reason of a difference, by a p below such a value."""


def label(outcome: str) -> str:
    """The name of an outcome in a sentence."""
    return " less ".join(LABELS.get(metric, metric) for metric in outcome.split(MINUS))


def capital(words: str) -> str:
    """With a capital first letter, the others as they are."""
    return words[:1].upper() + words[1:]


def is_loss(outcome: str) -> bool:
    """Whether an outcome is a loss or an error, which has no scale of 100."""
    return metric_of(outcome.split(MINUS)[0]).lower_is_better


def amount(value: float, outcome: str, sign: str = "") -> str:
    """A score in points of 100 with one digit, a loss with four; empty if it is unknown."""
    if math.isnan(value):
        return ""
    if is_loss(outcome):
        return f"{round(value, 4) + 0.0:{sign}.4f}"  # + 0.0: what rounds to 0 has no minus
    return f"{round(100 * value, 1) + 0.0:{sign}.1f}"


def unit(outcome: str) -> str:
    return "" if is_loss(outcome) else " points"


def interval(low: float, high: float, outcome: str) -> str:
    """In brackets; what it is worth where it is wider than the scale."""
    if not is_loss(outcome) and 100 * (high - low) > WIDEST:
        return f"[{TOO_FEW}]"
    return f"[{amount(low, outcome)}, {amount(high, outcome)}]"


def difference(found: Difference, outcome: str) -> str:
    """A difference with its interval: `+10.3 points [5.3, 15.3]`."""
    ends = interval(found.low, found.high, outcome)
    return f"{amount(found.mean, outcome, '+')}{unit(outcome)} {ends}"


def subtracting(mean: float, control: float, outcome: str) -> tuple[str, str, str]:
    """An arm, its control and their difference as texts that subtract to the last digit.

    The arm's gives way: it is at most one last digit from what it is.
    """
    digits = 4 if is_loss(outcome) else 3
    shown, gain = round(control, digits), round(mean - control, digits)
    return (
        amount(shown + gain, outcome),
        amount(shown, outcome),
        amount(gain, outcome, "+"),
    )


def p_value(p: float) -> str:
    """`< .001`, or three digits without the zero before them; empty if it is unknown."""
    if math.isnan(p):
        return ""
    return "< .001" if p < 0.001 else "1" if p >= 0.9995 else f"{p:.3f}"[1:]


def p_equals(p: float) -> str:
    """As it stands in a sentence: `p < .001`, `p = .012`."""
    text = p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def sureness(p: float) -> str:
    """How sure a finding with a p below .05 is, in a sentence."""
    words = next(words for least, words in CHANCE if p < least)
    return f"Chance is {words} to be the reason ({p_equals(p)})."


def seconds(value: float) -> str:
    return f"{value:,.0f} s"


def millions(value: float) -> str:
    return f"{value / 1e6:.1f} M"


def share(value: float) -> str:
    """In percent, without digits; empty if it is unknown."""
    return "" if math.isnan(value) else f"{100 * value:.0f}%"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`, each as code."""
    quoted = [f"`{name}`" for name in names]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)
