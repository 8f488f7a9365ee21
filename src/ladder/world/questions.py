"""Questions about a picture with short answers that follow from its scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ladder.world.edits import name_thing
from ladder.world.language import NUMBERS, PLACES, Clause, choose, noun
from ladder.world.scenes import CELL_NAMES, COLORS, GRID, SHAPES, Scene

KINDS = (
    "exists", "count", "count_shape", "count_color", "color", "shape", "size", "where", "what_at",
    "background",
)  # fmt: skip
OBJECTS = (1, 2, 2, 3, 3, 4, 5, 6)


@dataclass(frozen=True)
class Question:
    """A question of one of `KINDS` about a scene, with its answer."""

    kind: str
    scene: Scene
    text: str
    answer: str


def draw_question(rng: np.random.Generator, scene: Scene, kind: str) -> Question | None:
    """A question of the kind, or None where the scene allows none."""
    asked = globals()[f"_{kind}"](rng, scene)
    return Question(kind, scene, *asked) if asked else None


def _exists(rng: np.random.Generator, scene: Scene) -> tuple[str, str]:
    """Half of the time about an object that is there, else often about one that is nearly there."""
    thing = choose(rng, scene.things)
    color, shape = thing.color, thing.shape
    if rng.random() < 0.5:
        if rng.random() < 0.5:
            color = choose(rng, [*COLORS])
        else:
            shape = choose(rng, SHAPES)
    there = any((other.color, other.shape) == (color, shape) for other in scene.things)
    what = noun(Clause(shape, color=color))
    way = choose(rng, ("is there {}?", "do you see {}?", "can you see {}?"))
    return way.format(what), "yes" if there else "no"


def _count(rng: np.random.Generator, scene: Scene) -> tuple[str, str]:
    return f"how many {choose(rng, ('shapes', 'objects'))} are there?", NUMBERS[len(scene.things)]


def _plural(shape: str) -> str:
    return noun(Clause(shape, 2)).split(" ", 1)[1]


def _count_shape(rng: np.random.Generator, scene: Scene) -> tuple[str, str]:
    shape = choose(rng, scene.things).shape if rng.random() < 0.8 else choose(rng, SHAPES)
    number = sum(thing.shape == shape for thing in scene.things)
    return f"how many {_plural(shape)} are there?", NUMBERS[number]


def _count_color(rng: np.random.Generator, scene: Scene) -> tuple[str, str]:
    color = choose(rng, scene.things).color if rng.random() < 0.8 else choose(rng, [*COLORS])
    number = sum(thing.color == color for thing in scene.things)
    return f"how many {color} {choose(rng, ('shapes', 'objects'))} are there?", NUMBERS[number]


def _color(rng: np.random.Generator, scene: Scene) -> tuple[str, str] | None:
    """Asked by shape, of a shape that stands there once."""
    unique = _unique(scene, "shape")
    if not unique:
        return None
    thing = choose(rng, unique)
    return f"what color is the {thing.shape}?", thing.color


def _shape(rng: np.random.Generator, scene: Scene) -> tuple[str, str] | None:
    unique = _unique(scene, "color")
    if not unique:
        return None
    thing = choose(rng, unique)
    return f"what shape is the {thing.color} {choose(rng, ('one', 'object'))}?", thing.shape


def _size(rng: np.random.Generator, scene: Scene) -> tuple[str, str]:
    thing = choose(rng, scene.things)
    return f"is {name_thing(rng, scene, thing)} small or large?", thing.size


def _where(rng: np.random.Generator, scene: Scene) -> tuple[str, str] | None:
    unique = _unique(scene, "shape")
    if not unique:
        return None
    thing = choose(rng, unique)
    return f"where is the {thing.shape}?", CELL_NAMES[thing.cell]


def _what_at(rng: np.random.Generator, scene: Scene) -> tuple[str, str]:
    occupied = [thing.cell for thing in scene.things]
    cell = choose(rng, occupied) if rng.random() < 0.8 else int(rng.integers(GRID**2))
    thing = scene.at(cell)
    answer = f"{thing.size} {thing.color} {thing.shape}" if thing else "nothing"
    return f"what is at the {choose(rng, PLACES[cell])}?", answer


def _background(rng: np.random.Generator, scene: Scene) -> tuple[str, str]:
    return "what is the background?", scene.background


def _unique(scene: Scene, attribute: str) -> list:
    values = [getattr(thing, attribute) for thing in scene.things]
    return [thing for thing in scene.things if values.count(getattr(thing, attribute)) == 1]
