"""Linear probes: what does a layer of the MLLM know, in a form that a linear map can read?

Letters: K layers, P prompts, N training prompts, M test prompts, F features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from ladder.models.ladder import Ladder
from ladder.models.layer_selection import Taps

PENALTY = 1.0
"""Of the ridge regression, for features of variance 1 and in units of their number."""
BATCH = 64


@torch.no_grad()
def layer_states(
    ladder: Ladder, texts: Sequence[str], images: Sequence[Sequence[Image.Image]]
) -> Float[np.ndarray, "K P F"]:
    """The states of the ladder's queries after each prompt, at the embedding and every layer."""
    depth = ladder.understanding.depth
    taps = Taps("mean", tuple(range(depth + 1)), blocks=1, depth=depth)
    parts = []
    for start in range(0, len(texts), BATCH):
        part = slice(start, start + BATCH)
        prompts = ladder.understanding.prepare(texts[part], images[part])
        states: Tensor = ladder.understanding.rungs(prompts, ladder.queries, taps)
        parts.append(states.flatten(2).float().numpy())
    return np.concatenate(parts, axis=1)


def probe(
    states: Float[np.ndarray, "N F"],
    labels: Sequence[str],
    test_states: Float[np.ndarray, "M F"],
    test_labels: Sequence[str],
) -> float:
    """The share of test labels that a ridge regression on one-hot labels finds.

    Features are standardised by the training prompts. A label that never occurs in training can't
    be found, and counts as an error.
    """
    model = make_pipeline(StandardScaler(), RidgeClassifier(alpha=PENALTY * states.shape[1]))
    model.fit(states.astype(float), labels)
    return float(model.score(test_states.astype(float), test_labels))
