"""True captions of scenes: GenEval's six tasks, dense captions, and what each caption means.

A caption carries its meaning twice: as the row of a GenEval-like prompt file (`row`, for scoring a
picture) and as a plain `specification` (what the MLLM is taught to answer when it reads the
caption). Prompts that need reasoning are in `ladder.world.reasoning_prompts`; all captions of a
scene come from `draw_captions`.

A quarter of all short prompts, chosen by a hash of the text, never become a training caption:
evaluation draws its prompts from that quarter (see `held_out`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import xxhash

from ladder.world.scenes import CELL_NAMES, GRID, Scene, Thing

Option = TypeVar("Option")
TASKS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RELATIONS = {
    "left of": ("left of", "to the left of", "on the left of"),
    "right of": ("right of", "to the right of", "on the right of"),
    "above": ("above", "over", "on top of"),
    "below": ("below", "under", "beneath"),
}
"""GenEval's relations and the ways to say them; y points down."""
FRAMES = (
    "a photo of {}", "a picture of {}", "an image of {}", "{}", "a drawing of {}", "draw {}",
    "show {}", "show me {}", "please draw {}", "i want to see {}", "a scene with {}",
    "an icon of {}", "a painting of {}", "a sketch of {}", "a view of {}",
)  # fmt: skip
PLACES = (
    ("top left", "upper left", "northwest"), ("top", "top center", "north"),
    ("top right", "upper right", "northeast"), ("left", "middle left", "west"),
    ("center", "middle", "center"), ("right", "middle right", "east"),
    ("bottom left", "lower left", "southwest"), ("bottom", "bottom center", "south"),
    ("bottom right", "lower right", "southeast"),
)  # fmt: skip
"""The ways to name each cell, in reading order."""
HELD_OUT_SHARE = 4
"""One in this many short prompts is kept for evaluation."""


@dataclass(frozen=True)
class Clause:
    """`count` things of a shape, with a colour or size if the text names one."""

    shape: str
    count: int = 1
    color: str | None = None
    size: str | None = None

    def specification(self) -> str:
        words = (NUMBERS[self.count], self.size or "any", self.color or "any", self.shape)
        return " ".join(words)

    def include(self) -> dict:
        """The clause in GenEval's `include` form, plus `size` where named."""
        named = {"color": self.color, "size": self.size}
        return {"class": self.shape, "count": self.count} | {k: v for k, v in named.items() if v}


@dataclass(frozen=True)
class Caption:
    """A text, its task, and its meaning; `row` is None where nothing can be scored by clauses."""

    text: str
    tag: str
    specification: str
    row: dict | None = None


def meaning(
    text: str,
    tag: str,
    clauses: Sequence[Clause],
    relation: str | None = None,
    excluded: Sequence[Clause] = (),
) -> Caption:
    """A caption made of clauses; `relation` is that of the first clause to the second.

    As in GenEval, the positioned object is listed last and points at the index of its target;
    `excluded` clauses fail a picture that has at least `count` of the shape.
    """
    link = f" {relation} " if relation else " , "
    specification = link.join(clause.specification() for clause in clauses)
    include = [clause.include() for clause in clauses]
    if relation:
        include = [include[1], include[0] | {"position": [relation, 0]}]
    row = {"tag": tag, "include": include, "prompt": text}
    if excluded:
        row["exclude"] = [{"class": clause.shape, "count": clause.count} for clause in excluded]
    return Caption(text, tag, specification, row)


def held_out(text: str) -> bool:
    """True if `text` is kept for evaluation: a pure function of the text."""
    return xxhash.xxh64_intdigest(text.encode()) % HELD_OUT_SHARE == 0


def choose(rng: np.random.Generator, options: Sequence[Option]) -> Option:
    """One of `options`, each equally likely."""
    return options[rng.integers(len(options))]


def noun(clause: Clause) -> str:
    """`three small red stars`, `an orange cross`."""
    plural = {"cross": "crosses"}.get(clause.shape, clause.shape + "s")
    words = [clause.size, clause.color, clause.shape if clause.count == 1 else plural]
    text = " ".join(word for word in words if word)
    if clause.count > 1:
        return f"{NUMBERS[clause.count]} {text}"
    return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"


def frame(rng: np.random.Generator, text: str) -> str:
    return choose(rng, FRAMES).format(text)


def describe(thing: Thing, color: bool = False, size: bool = False) -> Clause:
    return Clause(thing.shape, 1, thing.color if color else None, thing.size if size else None)


def relations(a: Thing, b: Thing) -> list[str]:
    """GenEval's relations of `a` to `b` that hold beyond doubt, from the cells alone."""
    x, y = a.column - b.column, a.row - b.row
    found = []
    if abs(x) >= abs(y):
        found.append("left of" if x < 0 else "right of")
    if abs(y) >= abs(x):
        found.append("above" if y < 0 else "below")
    return found


def single_object(rng: np.random.Generator, scene: Scene) -> Caption:
    clause = describe(scene.things[0])
    return meaning(frame(rng, noun(clause)), "single_object", [clause])


def colors(rng: np.random.Generator, scene: Scene) -> Caption:
    clause = describe(scene.things[0], color=True)
    return meaning(frame(rng, noun(clause)), "colors", [clause])


def two_object(rng: np.random.Generator, scene: Scene) -> Caption:
    a, b = (describe(thing) for thing in shuffled(rng, scene.things))
    return meaning(frame(rng, f"{noun(a)} and {noun(b)}"), "two_object", [a, b])


def color_attr(rng: np.random.Generator, scene: Scene) -> Caption:
    a, b = (describe(thing, color=True) for thing in shuffled(rng, scene.things))
    return meaning(frame(rng, f"{noun(a)} and {noun(b)}"), "color_attr", [a, b])


def position(rng: np.random.Generator, scene: Scene, colored: bool = False) -> Caption:
    a, b = shuffled(rng, scene.things)
    relation = choose(rng, relations(a, b))
    first, second = describe(a, colored), describe(b, colored)
    text = f"{noun(first)} {choose(rng, RELATIONS[relation])} {noun(second)}"
    return meaning(frame(rng, text), "position", [first, second], relation)


def counting(rng: np.random.Generator, scene: Scene, colored: bool = False) -> Caption:
    thing = scene.things[0]
    clause = Clause(thing.shape, len(scene.things), thing.color if colored else None)
    excluded = [Clause(thing.shape, len(scene.things) + 1)]
    return meaning(frame(rng, noun(clause)), "counting", [clause], excluded=excluded)


def dense(rng: np.random.Generator, scene: Scene) -> Caption:
    """Every object with its place; sizes and background are named in half of the captions each."""
    sized, grounded, place_first = (rng.random(3) < 0.5).tolist()
    parts = []
    for thing in shuffled(rng, scene.things) if rng.random() < 0.5 else scene.things:
        what, place = noun(describe(thing, True, sized)), choose(rng, PLACES[thing.cell])
        parts.append(f"{place}: {what}" if place_first else f"{what} at the {place}")
    text = ("; " if place_first else ", ").join(parts)
    text += f", on a {scene.background} background" if grounded else ""
    return Caption(text, "dense", grid(scene, sized, grounded))


def grid(scene: Scene, sized: bool = True, grounded: bool = True) -> str:
    """The scene cell by cell: the MLLM's description of a picture."""
    cells = []
    for cell, name in enumerate(CELL_NAMES):
        thing = scene.at(cell)
        what = f"{thing.size if sized else 'any'} {thing.color} {thing.shape}" if thing else "empty"
        cells.append(f"{name} {what}")
    return " ".join([f"background {scene.background if grounded else 'any'}", *cells])


def shuffled(rng: np.random.Generator, things: Sequence[Thing]) -> list[Thing]:
    return [things[i] for i in rng.permutation(len(things))]


assert len(PLACES) == len(CELL_NAMES) == GRID**2
