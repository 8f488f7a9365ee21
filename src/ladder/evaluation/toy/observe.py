"""What the oracle sees in pictures of the toy world, in the forms that the scorers take.

Letters: H and W height and width.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from ladder.evaluation.scorers.geneval import Detected, Observation
from ladder.world.oracle import SURE, Detections, detect
from ladder.world.scenes import Scene


@dataclass(frozen=True)
class Observed:
    """A picture with what the oracle found in it."""

    pixels: UInt8[np.ndarray, "H W 3"]
    found: Detections

    @classmethod
    def of(cls, pixels: UInt8[np.ndarray, "H W 3"]) -> Observed:
        return cls(pixels, detect(pixels))


def observe(image: UInt8[np.ndarray, "H W 3"]) -> Observation:
    """GenEval's observation of a picture: the shapes are the classes."""
    return by_class(detect(image))


def by_class(found: Detections) -> Observation:
    """GenEval's observation of what was found."""
    observation: dict[str, list[Detected]] = defaultdict(list)
    for thing in found.things:
        observation[thing.shape].append(Detected(thing.box, thing.score, thing.color, thing.size))
    return dict(observation)


def by_cell(found: Detections) -> dict[int, tuple[str, str, str]]:
    """(size, colour, shape) of what stands in each cell; of two, the more certain."""
    sure = [thing for thing in found.things if thing.score > SURE]
    ascending = sorted(sure, key=lambda thing: thing.score)
    return {thing.cell: (thing.size, thing.color, thing.shape) for thing in ascending}


def looks(scene: Scene) -> dict[int, tuple[str, str, str]]:
    """(size, colour, shape) of what should stand in each cell."""
    return {thing.cell: thing.what for thing in scene.things}
