"""The loss on held-out samples under fixed noise, which tells arms apart before pictures do.

Letters: B samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from datasets import load_from_disk

from ladder.config.load import ConditionDropout
from ladder.data.training.datamodule import Mixture, collate
from ladder.data.training.sampler import Draw
from ladder.models import rectified_flow
from ladder.models.ladder import Ladder

TIMES = (0.2, 0.4, 0.6, 0.8, 0.9, 0.97)
"""At which the loss is taken; the later, the more noise."""
NOTHING_DROPPED = ConditionDropout(t2i_text=0.0, edit_text=0.0, edit_both=0.0, edit_image=0.0)
METRIC = "heldout_loss"


@torch.no_grad()
def heldout_losses(
    ladder: Ladder, encoded: Path, samples: int = 64, times: Sequence[float] = TIMES
) -> pd.DataFrame:
    """The loss of held-out captioned pictures: a row a sample, a column a time.

    The noise is the same for every ladder. Mean squared errors of the velocity.
    """
    held = load_from_disk(encoded / "t2i" / "evaluation")
    samples = min(samples, len(held))
    mixture = Mixture({"t2i": held}, NOTHING_DROPPED)
    items = mixture.__getitems__([Draw("t2i", index, (0, index)) for index in range(samples)])
    batch = collate(items, ladder.understanding.prepare)
    conditions = ladder.conditions(batch.prompts)
    noise = torch.randn(batch.latents.shape, generator=torch.Generator().manual_seed(0))
    wanted = rectified_flow.target(batch.latents, noise)
    found = {}
    for s in times:
        time = torch.full((samples,), s)
        noisy = rectified_flow.noisy(batch.latents, noise, time)
        velocity = ladder.velocity(noisy, time * rectified_flow.TIMESTEPS, conditions)
        found[s] = (velocity.float() - wanted).square().flatten(1).mean(1).tolist()
    index = pd.Index([item.conditions.caption for item in items], name="prompt")
    return pd.DataFrame(found, index=index).rename_axis(columns="time")


def as_outcomes(losses: pd.DataFrame) -> pd.DataFrame:
    """The mean loss of every sample, as a table of outcomes: lower is better."""
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
