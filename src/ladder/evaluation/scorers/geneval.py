"""GenEval's scoring rules: from detections to right or wrong, with the reason.

The rules and the wording of reasons are those of the official scorer
(https://github.com/djghosh13/geneval), so that its verdicts are reproduced string for string. The
toy world's prompts use the same rows, with `size` as one more attribute that a clause may ask for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

COLORS = (
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white",
)  # fmt: skip
SURE, SURE_WHEN_COUNTING = 0.3, 0.9
"""A detection counts from above this score; higher where a number is asked."""
MOST_OF_A_CLASS = 16
OVERLAP = 0.1
"""How far the boxes' sizes are taken off an offset before it says where something stands."""
DIRECTIONS = ("right of", "above", "below", "left of")
"""In the order in which the recorded reasons name two of them."""


@dataclass(frozen=True)
class Detected:
    """One detection: `box` is (x1, y1, x2, y2) in pixels; colour and size where looked at."""

    box: tuple[float, float, float, float]
    score: float
    color: str | None = None
    size: str | None = None


Observation = Mapping[str, Sequence[Detected]]
"""What was found in a picture, by class."""


@dataclass(frozen=True)
class Verdict:
    """Whether a picture is right."""

    correct: bool
    reason: str
    """One line for each thing that is wrong."""


def judge(row: dict, observation: Observation) -> Verdict:
    """Does a picture show what `row` (a line of GenEval's metadata) asks for?"""
    limit = SURE_WHEN_COUNTING if row["tag"] == "counting" else SURE
    found = {name: _kept(detections, limit) for name, detections in observation.items()}
    reasons: list[str] = []
    matched: list[list[Detected] | None] = []
    for clause in row.get("include", []):
        objects = found.get(clause["class"], [])[: clause["count"]]
        wrong = _wrong(clause, objects, matched)
        reasons += [wrong] if wrong else []
        matched.append(None if wrong else objects)
    for clause in row.get("exclude", []):
        number = len(found.get(clause["class"], []))
        if number >= clause["count"]:
            reasons.append(f"expected {clause['class']}<{clause['count']}, found {number}")
    return Verdict(not reasons, "\n".join(reasons))


def _kept(detections: Sequence[Detected], limit: float) -> list[Detected]:
    # In float32, as the official scorer compares: there 0.3 is above 0.3 in float64.
    limit = np.float32(limit)
    sure = [detection for detection in detections if np.float32(detection.score) > limit]
    return sorted(sure, key=lambda detection: -detection.score)[:MOST_OF_A_CLASS]


def _wrong(
    clause: dict, objects: list[Detected], matched: list[list[Detected] | None]
) -> str | None:
    """What is wrong about an included clause; later checks are made only if earlier ones hold."""
    name, count = clause["class"], clause["count"]
    if len(objects) < count:
        return f"expected {name}>={count}, found {len(objects)}"
    for attribute, known in (("color", COLORS), ("size", ("small", "large"))):
        values = [getattr(detection, attribute) for detection in objects]
        wanted = clause.get(attribute)
        if wanted and values.count(wanted) < count:
            others = ", ".join(f"{values.count(v)} {v}" for v in known if v in values)
            number = f"{values.count(wanted)} {wanted}"
            return f"expected {wanted} {name}>={count}, found {number}; and {others}"
    if "position" in clause:
        relation, index = clause["position"]
        targets = matched[index]
        if targets is None:
            return f"no target for {name} to be {relation}"
        for detection in objects:
            for target in targets:
                held = directions(detection.box, target.box)
                if relation not in held:
                    return f"expected {name} {relation} target, found {' and '.join(held)} target"
    return None


def directions(box: Sequence[float], target: Sequence[float]) -> list[str]:
    """Where `box` stands as seen from `target`: none, one or (on a diagonal) two directions.

    The offset of the centres is shrunk by a tenth of the boxes' widths and heights together, and
    compared with the length of the whole offset.
    """
    box, target = np.asarray(box, float), np.asarray(target, float)
    offset = ((box[:2] + box[2:]) - (target[:2] + target[2:])) / 2
    slack = OVERLAP * ((box[2:] - box[:2]) + (target[2:] - target[:2]))
    shrunk = np.maximum(abs(offset) - slack, 0) * np.sign(offset)
    length = np.linalg.norm(offset)
    if length == 0:
        return []
    x, y = shrunk / length
    held = {"left of": x < -0.5, "right of": x > 0.5, "above": y < -0.5, "below": y > 0.5}
    return [direction for direction in DIRECTIONS if held[direction]]
