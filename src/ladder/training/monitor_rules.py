"""Rules that decide whether a training step is taken, as pure functions of two numbers and a state.

`check_step(loss, norm, state, config)` sees the loss and the gradient's norm of one step, before
clipping, and what is remembered of the steps before. Three rules can be compared:

published  the rule as its authors printed it, faults included. Its averages take in every value
           *before* the test, so 25 times the average really is 33 times the old one, the first
           step can't fail, and one NaN or spike makes both averages useless for good.
ema        that rule as it was meant: tested against the averages of accepted steps only.
robust     median and MAD (median absolute deviation) of the last accepted log norms: a burst of bad
           steps can't shift them, and the ordinary spread of this very run sets the limit.

Everything here is JSON's types, so that a state can be kept in a checkpoint or replayed in a
notebook.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from statistics import median

from ladder.config.load import Monitor

LOSS_SHARE = 20 / 25
"""published, ema: how many times its average the loss may be, as a share of the same for norms."""
PUBLISHED_FLOOR = 1.0
"""published: smaller norms never fail by their ratio."""
PUBLISHED_CEILING = 1e6
"""published: larger norms always fail."""
MAD_TO_SIGMA = 1.4826
"""The standard deviation of a normal distribution, in units of its MAD."""
LEAST_RATIO = 3.0
"""robust: norms up to this many times the median pass, however small the spread is."""


@dataclass(frozen=True)
class State:
    """What a rule remembers between steps; the default is a run's beginning."""

    accepted: int = 0
    """Steps taken since the baseline was begun."""
    rejected: int = 0
    """Skips in a row up to now."""
    loss: float | None = None
    """published, ema: running average of the loss."""
    norm: float | None = None
    """published, ema: running average of the norm."""
    window: tuple[float, ...] = ()
    """robust: the last accepted natural logs of the norm, oldest first."""


@dataclass(frozen=True)
class Decision:
    """What a rule says of one step."""

    take: bool
    """Whether the optimizer may make the step."""
    reason: str
    """The limit that the step broke and by which value; empty where it is taken."""
    exhausted: bool
    """Whether this was the skip that used up the patience: skipping alone doesn't help."""
    state: State
    """To be passed to the check of the next step."""


def check_step(loss: float, norm: float, state: State, config: Monitor) -> Decision:
    """Check one step by `config.rule`.

    `loss` is the mean over the step's micro-batches and ranks, `norm` the L2 norm of the whole
    gradient before clipping; both may be NaN or infinite. After `config.patience` skips in a row
    ema and robust begin their baseline anew: one that refuses everything is no longer one.
    """
    if config.rule == "off":
        return Decision(take=True, reason="", exhausted=False, state=state)
    if config.rule == "published":
        learned = renewed = _averaged(loss, norm, state, config.decay)
        reason = _published_fault(loss, norm, learned, config.threshold)
    else:
        reason = _fault(loss, norm, state, config)
        learned = state if reason else _learned(loss, norm, state, config)
        renewed = State()
    if not reason:
        learned = replace(learned, accepted=state.accepted + 1, rejected=0)
        return Decision(take=True, reason="", exhausted=False, state=learned)
    if state.rejected + 1 < config.patience:
        learned = replace(learned, rejected=state.rejected + 1)
        return Decision(take=False, reason=reason, exhausted=False, state=learned)
    return Decision(take=False, reason=reason, exhausted=True, state=replace(renewed, rejected=0))


def _averaged(loss: float, norm: float, state: State, decay: float) -> State:
    """The state after both averages took in their value; the first value is the average."""
    if state.loss is None or state.norm is None:
        return replace(state, loss=loss, norm=norm)
    return replace(
        state,
        loss=decay * state.loss + (1 - decay) * loss,
        norm=decay * state.norm + (1 - decay) * norm,
    )


def _published_fault(loss: float, norm: float, state: State, threshold: float) -> str:
    """`state` has already taken in the values. A NaN average makes both comparisons false."""
    if math.isnan(norm) or norm > PUBLISHED_CEILING:
        return f"norm {norm:.3g} is NaN or above {PUBLISHED_CEILING:g}"
    if loss > LOSS_SHARE * threshold * state.loss:
        return f"loss {loss:.3g} > {LOSS_SHARE * threshold:g} x average {state.loss:.3g}"
    if norm > threshold * state.norm and norm > PUBLISHED_FLOOR:
        return f"norm {norm:.3g} > {threshold:g} x average {state.norm:.3g}"
    return ""


def _fault(loss: float, norm: float, state: State, config: Monitor) -> str:
    """What ema and robust have against a step, by the baseline of the steps before it."""
    if not (math.isfinite(loss) and math.isfinite(norm)):
        return f"loss {loss:.3g} or norm {norm:.3g} is not finite"
    if state.accepted < max(config.warmup, 1):
        return ""
    return (_ema_fault if config.rule == "ema" else _robust_fault)(loss, norm, state, config)


def _ema_fault(loss: float, norm: float, state: State, config: Monitor) -> str:
    if loss > LOSS_SHARE * config.threshold * state.loss:
        return f"loss {loss:.3g} > {LOSS_SHARE * config.threshold:g} x average {state.loss:.3g}"
    if norm > config.threshold * state.norm:
        return f"norm {norm:.3g} > {config.threshold:g} x average {state.norm:.3g}"
    return ""


def _robust_fault(loss: float, norm: float, state: State, config: Monitor) -> str:
    middle = median(state.window)
    deviation = MAD_TO_SIGMA * median(abs(value - middle) for value in state.window)
    limit = middle + max(config.threshold * deviation, math.log(LEAST_RATIO))
    if _log(norm) > limit:
        return f"norm {norm:.3g} > limit {math.exp(limit):.3g} around median {math.exp(middle):.3g}"
    return ""


def _learned(loss: float, norm: float, state: State, config: Monitor) -> State:
    """The baseline of ema or robust after an accepted step."""
    if config.rule == "ema":
        return _averaged(loss, norm, state, config.decay)
    return replace(state, window=(*state.window, _log(norm))[-config.window :])


def _log(norm: float) -> float:
    """Natural log of a norm; that of the smallest float where there is no gradient at all."""
    return math.log(max(norm, sys.float_info.min))
