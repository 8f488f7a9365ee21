"""A second reader of the toy world's English, for tests: regular expressions, nothing of `ladder`.

It knows only what the words mean (a noun phrase, a place, a number), so that what the product says
about a scene is checked against the scene and not against the code that said it.
"""

from __future__ import annotations

import re

from ladder.world.scenes import COLORS, SHAPES, SIZES, Scene, Thing

PLACES = {
    name: cell
    for cell, names in enumerate(
        (
            "top left/upper left/northwest", "top/top center/north",
            "top right/upper right/northeast", "left/middle left/west", "center/middle",
            "right/middle right/east", "bottom left/lower left/southwest",
            "bottom/bottom center/south", "bottom right/lower right/southeast",
        )
    )
    for name in names.split("/")
}  # fmt: skip
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ATTRIBUTES = {"size": [*SIZES], "color": [*COLORS], "shape": [*SHAPES]}
PLURALS = {"crosses": "cross"} | {f"{shape}s": shape for shape in SHAPES if shape != "cross"}


def attributes(phrase: str) -> dict[str, str]:
    """`a small red star` or `red stars`: the size, colour and shape that it names."""
    words = [PLURALS.get(word, word) for word in phrase.split()]
    named = {name: word for name, values in ATTRIBUTES.items() for word in words if word in values}
    others = [word for word in words if word not in named.values()]
    if not {*others} <= {"a", "an", "the", "one", "object", "shape", "objects", "shapes"}:
        raise AssertionError(f"{phrase!r} is no noun phrase")
    return named


def fits(thing: Thing, named: dict[str, str]) -> bool:
    return all(getattr(thing, name) == value for name, value in named.items())


def meant(phrase: str, scene: Scene) -> Thing:
    """The one thing of the scene that `the red one`, `the shape at the top left` speaks of."""
    found = re.fullmatch(r"(the .+?)(?: at the (.+))?", phrase)
    if not found:
        raise AssertionError(f"{phrase!r} names nothing")
    named, place = attributes(found[1]), found[2]
    things = [
        thing
        for thing in scene.things
        if fits(thing, named) and (place is None or thing.cell == PLACES[place])
    ]
    if len(things) != 1:
        raise AssertionError(f"{phrase!r} names {len(things)} things of {scene}")
    return things[0]
