"""The loss on held-out samples as outcomes of a run, beside scores of pictures.

It is the sharpest outcome that a run has. Arms with one training seed are asked the same samples
under the same noise, and another seed draws other noise, so that arms are compared pair by pair and
no verdict hangs on one draw of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ladder.models.ladder import Ladder
from ladder.training.validation import heldout_losses

SETS = ("t2i", "ti2i")
"""Text to image, and edits; each is an outcome, heldout_loss.SET."""


def losses_of(ladder: Ladder, encoded: Path, seed: int) -> dict[str, pd.DataFrame]:
    """The losses of each of SETS that has held-out samples, under the noise of `seed`.

    A row a sample, a column a time, as `ladder.training.validation.heldout_losses` has them.
    """
    there = [name for name in SETS if (encoded / name / "evaluation").is_dir()]
    return {name: heldout_losses(ladder, encoded, name, seed=seed) for name in there}


def as_outcomes(losses: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The mean loss of every sample of every set, as a table of outcomes: lower is better."""
    tables = []
    for name, table in losses.items():
        means = table.mean(axis=1)
        tables.append(
            pd.DataFrame(
                {
                    "metric": f"heldout_loss.{name}",
                    "group": name,
                    "number": range(len(means)),
                    "prompt": means.index,
                    "picture": pd.array([None] * len(means), dtype="Int64"),
                    "score": means.to_numpy(),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)
