"""What the oracle sees in pictures of the toy world, in the forms that the scorers take."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from ladder.evaluation.scorers.geneval import Detected, Observation
from ladder.world.oracle import SURE, Detections, detect


def observe(image: np.ndarray) -> Observation:
    """GenEval's observation of a picture, uint8 (H, W, 3): the shapes are the classes."""
    return by_class(detect(image))


def by_class(found: Detections) -> Observation:
    observation: dict[str, list[Detected]] = defaultdict(list)
    for thing in found.things:
        observation[thing.shape].append(Detected(thing.box, thing.score, thing.color, thing.size))
    return dict(observation)


def by_cell(found: Detections) -> dict[int, tuple[str, str, str]]:
    """(size, colour, shape) of what stands in each cell; of two, the more certain."""
    sure = [thing for thing in found.things if thing.score > SURE]
    ascending = sorted(sure, key=lambda thing: thing.score)
    return {thing.cell: (thing.size, thing.color, thing.shape) for thing in ascending}
