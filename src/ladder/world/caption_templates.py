"""Finds captions written by GenEval's template: those that teach to a published test.

GenEval's prompts say "a photo of" one thing, two things, several of a thing, a coloured thing, two
coloured things, or one thing beside another, of 80 classes and 10 colours
(https://github.com/djghosh13/geneval). Some training sets hold thousands of such captions, and a
model tuned on them does better on GenEval than elsewhere. The finder is a grammar, so it knows
prompts that GenEval could have, too, and takes nothing that merely speaks of a dog or a car.
"""

from __future__ import annotations

import re

OBJECTS = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant",
    "bed", "dining table", "toilet", "tv", "laptop", "computer mouse", "tv remote",
    "computer keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator",
    "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
"""COCO's classes, by the names that GenEval's prompts use."""
COLORS = (
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white",
)  # fmt: skip
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
RELATIONS = ("left of", "right of", "above", "below")
IRREGULAR = {
    "person": "people", "knife": "knives", "sheep": "sheep", "skis": "skis", "scissors": "scissors",
    "computer mouse": "computer mice", "tv": "tvs",
}  # fmt: skip


def plural(name: str) -> str:
    """Several of a class."""
    if name in IRREGULAR:
        return IRREGULAR[name]
    return name + ("es" if name.endswith(("s", "ch", "sh", "x")) else "s")


def _grammar() -> re.Pattern[str]:
    one = "(?:" + "|".join(OBJECTS) + ")"
    # GenEval itself writes "benchs" and "sheeps" now and then.
    several = "(?:" + "|".join(f"{plural(name)}|{name}s" for name in OBJECTS) + ")"
    color = "(?:" + "|".join(COLORS) + ")"
    thing = f"an? (?:{color} )?{one}"
    joint = "(?:and|" + "|".join(RELATIONS) + ")"
    counted = f"(?:{'|'.join(NUMBERS)}) (?:{color} )?{several}"
    return re.compile(f"an? (?:photo|image|picture) of (?:{counted}|{thing}(?: {joint} {thing})?)")


GRAMMAR = _grammar()


def follows_geneval(caption: str) -> bool:
    """Whether a caption is a sentence of GenEval's template, whatever its case and full stop."""
    plain = " ".join(caption.lower().split()).rstrip(".! ")
    return GRAMMAR.fullmatch(plain) is not None
