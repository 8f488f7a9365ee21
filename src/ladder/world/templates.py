"""Finds captions written as the prompts of GenEval-toy are: those that teach to the test.

`ladder.world.caption_templates` finds those of GenEval itself.
"""

from __future__ import annotations

import re

from ladder.world.language import FRAMES, NUMBERS, RELATIONS, Clause, noun
from ladder.world.scenes import COLORS, SHAPES


def _grammar() -> re.Pattern[str]:
    color = f"(?:(?:{'|'.join(COLORS)}) )?"
    one = f"an? {color}(?:{'|'.join(SHAPES)})"
    plurals = [noun(Clause(shape, 2)).split()[-1] for shape in SHAPES]
    several = f"(?:{'|'.join(NUMBERS[2:])}) {color}(?:{'|'.join(plurals)})"
    joint = "|".join(["and", *(way for ways in RELATIONS.values() for way in ways)])
    frames = "|".join(frame.removesuffix("{}") for frame in FRAMES)
    return re.compile(f"(?:{frames})(?:{several}|{one}(?: (?:{joint}) {one})?)")


GRAMMAR = _grammar()


def follows_geneval_toy(caption: str) -> bool:
    """Whether a caption is one that a task of GenEval-toy could ask for."""
    return GRAMMAR.fullmatch(caption) is not None
