"""The oracle: questions of the toy world, answered from what its detector sees.

It understands the wordings of `ladder.world.questions`, and the questions of DPG-toy, TIIF-toy and
GenEval-2-toy, and no others. Yes-no questions are about any object that fits; where another doesn't
allow an answer (two circles, but "where is the circle?") it says `unclear`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ladder.evaluation.scorers.geneval import directions
from ladder.evaluation.vlm_judges import Answer, JudgeQuestion, only_picture
from ladder.world.language import NUMBERS, PLACES, RELATIONS
from ladder.world.oracle import SURE, Detection, Detections, detect
from ladder.world.scenes import BACKGROUNDS, CELL_NAMES, COLORS, SHAPES, SIZES

UNCLEAR = "unclear"
COLOR, SHAPE, SIZE = (f"(?:{'|'.join(words)})" for words in (COLORS, SHAPES, SIZES))
PLACE = {name: cell for cell, names in enumerate(PLACES) for name in names}
WHERE = "|".join(sorted(PLACE, key=len, reverse=True))
PLURAL = rf"(?P<shape>{SHAPE})(?:s|es)"
THING = (
    rf"the (?:(?:shape|object) at the (?P<place>{WHERE})"
    rf"|(?:(?P<color>{COLOR}) )?(?:(?P<shape>{SHAPE})|one|shape|object))"
)
"""The ways in which an object is named."""
LOOK = rf"(?:(?P<size>{SIZE}) )?(?:(?P<color>{COLOR}) )?"
SIZES_COMPARED = {"larger than": ("large", "small"), "smaller than": ("small", "large")}
PAIR = (
    rf"the (?:(?P<color>{COLOR}) )?(?P<shape>{SHAPE}) "
    rf"(?P<relation>{'|'.join((*RELATIONS, *SIZES_COMPARED))}) "
    rf"the (?:(?P<color2>{COLOR}) )?(?P<shape2>{SHAPE})"
)


class Oracle:
    """Answers from the objects that are believed, as GenEval does."""

    name = "oracle"
    version = "1"
    temperature = 0.0
    prompt = "{question}"
    settings: Mapping[str, Any] = {}

    def answer(self, questions: Sequence[JudgeQuestion]) -> list[Answer]:
        """Raises ValueError for a question in other words."""
        return [
            Answer(reply(detect(np.asarray(only_picture(question))), question.text))
            for question in questions
        ]


def reply(found: Detections, text: str) -> str:
    """The answer to a question about what was found; ValueError for one in other words."""
    for pattern, answer in REPLIES.items():
        if match := re.fullmatch(pattern, text.strip().lower()):
            return answer(found, match.groupdict())
    raise ValueError(f"the oracle knows the toy world's questions only, got {text!r}")


def sure(found: Detections, asked: dict[str, str | None]) -> list[Detection]:
    """The believed objects of the colour, shape, size and place that are named."""
    place, color, shape, size = (asked.get(name) for name in ("place", "color", "shape", "size"))
    return [
        thing
        for thing in found.things
        if thing.score > SURE
        and color in (None, thing.color)
        and shape in (None, thing.shape)
        and size in (None, thing.size)
        and (place is None or thing.cell == PLACE[place])
    ]


def exists(found: Detections, asked: dict[str, str | None]) -> str:
    return "yes" if sure(found, asked) else "no"


def as_many(found: Detections, asked: dict[str, str | None]) -> str:
    return "yes" if len(sure(found, asked)) == NUMBERS.index(asked["number"]) else "no"


def related(found: Detections, asked: dict[str, str | None]) -> str:
    """Does any object of the first kind stand so to any of the second?"""
    first = sure(found, asked)
    second = sure(found, {"shape": asked["shape2"], "color": asked.get("color2")})
    relation = asked["relation"]
    if relation in SIZES_COMPARED:
        held = any((a.size, b.size) == SIZES_COMPARED[relation] for a in first for b in second)
    else:
        held = any(relation in directions(a.box, b.box) for a in first for b in second)
    return "yes" if held else "no"


def all_colored(found: Detections, asked: dict[str, str | None]) -> str:
    """Is every object of the shape of that colour?"""
    colors = {thing.color for thing in sure(found, {"shape": asked["shape"]})}
    return "yes" if colors == {asked["color"]} else "no"


def all_related(found: Detections, asked: dict[str, str | None]) -> str:
    """Does every object of the first shape stand so to every one of the second?"""
    first, second = (sure(found, {"shape": asked[name]}) for name in ("shape", "shape2"))
    held = [asked["relation"] in directions(a.box, b.box) for a in first for b in second]
    return "yes" if held and all(held) else "no"


def on_background(found: Detections, asked: dict[str, str | None]) -> str:
    return "yes" if found.background == asked["style"] else "no"


def count(found: Detections, asked: dict[str, str | None]) -> str:
    number = len(sure(found, asked))
    return NUMBERS[number] if number < len(NUMBERS) else str(number)


def of_one(read: Callable[[Detection], str]) -> Callable[..., str]:
    """What `read` says of the one object that is meant."""

    def reply(found: Detections, asked: dict[str, str | None]) -> str:
        things = sure(found, asked)
        return read(things[0]) if len(things) == 1 else UNCLEAR

    return reply


def what_at(found: Detections, asked: dict[str, str | None]) -> str:
    things = sure(found, asked)
    if not things:
        return "nothing"
    thing = things[0]
    return f"{thing.size} {thing.color} {thing.shape}"


def background(found: Detections, asked: dict[str, str | None]) -> str:
    return found.background or UNCLEAR


REPLIES: dict[str, Callable[[Detections, dict[str, str | None]], str]] = {
    rf"(?:is there|do you see|can you see) an? {LOOK}(?P<shape>{SHAPE})\?": exists,
    rf"is the (?P<shape>{SHAPE}) (?:(?P<color>{COLOR})|(?P<size>{SIZE}))\?": exists,
    rf"is the (?P<shape>{SHAPE}) at the (?P<place>{WHERE})\?": exists,
    rf"are there (?P<number>{'|'.join(NUMBERS)}) {LOOK}{PLURAL}\?": as_many,
    rf"is {PAIR}\?": related,
    rf"are the {PLURAL} (?P<color>{COLOR})\?": all_colored,
    rf"are the {PLURAL} (?P<relation>{'|'.join(RELATIONS)}) "
    rf"the (?P<shape2>{SHAPE})(?:s|es)\?": all_related,
    rf"is the background (?P<style>{'|'.join(BACKGROUNDS)})\?": on_background,
    rf"how many (?:(?P<color>{COLOR}) )?(?:shapes|objects|{PLURAL}) are there\?": count,
    rf"what color is {THING}\?": of_one(lambda thing: thing.color),
    rf"what shape is {THING}\?": of_one(lambda thing: thing.shape),
    rf"is {THING} {' or '.join(SIZES)}\?": of_one(lambda thing: thing.size),
    rf"where is {THING}\?": of_one(lambda thing: CELL_NAMES[thing.cell]),
    rf"what is at the (?P<place>{WHERE})\?": what_at,
    r"what is the background\?": background,
}
"""By the wordings of a question."""
