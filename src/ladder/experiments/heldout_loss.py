"""The loss on held-out samples as an outcome of a run, beside scores of pictures."""

from __future__ import annotations

import pandas as pd

METRIC = "heldout_loss"


def as_outcomes(losses: pd.DataFrame) -> pd.DataFrame:
    """The mean loss of every sample, as a table of outcomes: lower is better.

    `losses` are those of `ladder.training.validation.heldout_losses`.
    """
    means = losses.mean(axis=1)
    return pd.DataFrame(
        {
            "metric": METRIC,
            "group": "t2i",
            "number": range(len(means)),
            "prompt": means.index,
            "picture": pd.array([None] * len(means), dtype="Int64"),
            "score": means.to_numpy(),
        }
    )
