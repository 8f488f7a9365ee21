"""Edits with exact targets: a scene, an instruction in many wordings, and the resulting scene.

What the instruction does not name stays as it is, down to the offset in pixels, so "untouched kept"
can be measured exactly.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from ladder.world.language import PLACES, choose, describe, noun
from ladder.world.scenes import (
    BACKGROUNDS,
    COLORS,
    GRID,
    SHAPES,
    Scene,
    Thing,
    draw_scene,
    draw_thing,
)

KINDS = ("recolor", "replace", "remove", "add", "move", "swap", "background")
OBJECTS = (1, 2, 2, 3, 3, 4, 5)
"""Numbers of objects of the scene before the edit, to draw from."""


@dataclass(frozen=True)
class Edit:
    """`instructions` are wordings of the one change that turns `before` into `after`."""

    before: Scene
    after: Scene
    kind: str
    instructions: tuple[str, ...]


def draw_edit(
    rng: np.random.Generator, wordings: int, kind: str | None = None, scene: Scene | None = None
) -> Edit:
    """An edit of `scene` (or of a random one); of a random kind that is possible if none is named.

    Raises ValueError for a scene without objects, or of one object that can't be swapped.
    """
    scene = scene or draw_scene(rng, choose(rng, OBJECTS if kind != "swap" else OBJECTS[1:]))
    possible = KINDS if len(scene.things) > 1 else tuple(k for k in KINDS if k != "swap")
    kind = kind or choose(rng, possible)
    if kind not in possible or not scene.things:
        raise ValueError(f"{kind} needs more objects, the scene has {len(scene.things)}")
    return _EDITORS[kind](rng, scene, wordings)


def name_thing(rng: np.random.Generator, scene: Scene, thing: Thing) -> str:
    """A phrase that fits this object of the scene and no other, such as `the red star`."""
    ways = [f"the {choose(rng, ('shape', 'object'))} at the {choose(rng, PLACES[thing.cell])}"]
    others = [other for other in scene.things if other != thing]
    if all(other.shape != thing.shape for other in others):
        ways += [f"the {thing.shape}"] * 2
    if all(other.color != thing.color for other in others):
        ways.append(f"the {thing.color} {choose(rng, ('one', 'shape', 'object'))}")
    if all((other.color, other.shape) != (thing.color, thing.shape) for other in others):
        ways += [f"the {thing.color} {thing.shape}"] * 3
    return choose(rng, ways)


def _changed(scene: Scene, old: Thing, *new: Thing) -> Scene:
    kept = tuple(thing for thing in scene.things if thing != old)
    return dataclasses.replace(scene, things=kept + new)


def _recolor(rng: np.random.Generator, scene: Scene, wordings: int) -> Edit:
    thing = choose(rng, scene.things)
    color = choose(rng, [color for color in COLORS if color != thing.color])
    after = _changed(scene, thing, dataclasses.replace(thing, color=color))
    ways = ("make {} {}", "change {} to {}", "paint {} {}", "turn {} {}", "color {} {}")
    texts = (
        choose(rng, ways).format(name_thing(rng, scene, thing), color) for _ in range(wordings)
    )
    return Edit(scene, after, "recolor", tuple(texts))


def _replace(rng: np.random.Generator, scene: Scene, wordings: int) -> Edit:
    """Another shape in the same place, colour and size."""
    thing = choose(rng, scene.things)
    shape = choose(rng, [shape for shape in SHAPES if shape != thing.shape])
    new = dataclasses.replace(thing, shape=shape)
    ways = ("replace {} with {}", "turn {} into {}", "change {} into {}", "swap {} for {}")
    texts = (
        choose(rng, ways).format(name_thing(rng, scene, thing), noun(describe(new)))
        for _ in range(wordings)
    )
    return Edit(scene, _changed(scene, thing, new), "replace", tuple(texts))


def _remove(rng: np.random.Generator, scene: Scene, wordings: int) -> Edit:
    thing = choose(rng, scene.things)
    ways = ("remove {}", "delete {}", "erase {}", "take away {}", "get rid of {}")
    texts = (choose(rng, ways).format(name_thing(rng, scene, thing)) for _ in range(wordings))
    return Edit(scene, _changed(scene, thing), "remove", tuple(texts))


def _free_cell(rng: np.random.Generator, scene: Scene) -> int:
    return choose(rng, [cell for cell in range(GRID**2) if scene.at(cell) is None])


def _add(rng: np.random.Generator, scene: Scene, wordings: int) -> Edit:
    new = draw_thing(rng, _free_cell(rng, scene))
    after = dataclasses.replace(scene, things=(*scene.things, new))
    ways = ("add {} at the {}", "put {} at the {}", "draw {} at the {}", "place {} at the {}")
    what = noun(describe(new, color=True, size=True))
    texts = (choose(rng, ways).format(what, choose(rng, PLACES[new.cell])) for _ in range(wordings))
    return Edit(scene, after, "add", tuple(texts))


def _move(rng: np.random.Generator, scene: Scene, wordings: int) -> Edit:
    thing, cell = choose(rng, scene.things), _free_cell(rng, scene)
    after = _changed(scene, thing, dataclasses.replace(thing, cell=cell))
    ways = ("move {} to the {}", "shift {} to the {}", "bring {} to the {}")
    texts = (
        choose(rng, ways).format(name_thing(rng, scene, thing), choose(rng, PLACES[cell]))
        for _ in range(wordings)
    )
    return Edit(scene, after, "move", tuple(texts))


def _swap(rng: np.random.Generator, scene: Scene, wordings: int) -> Edit:
    """Two objects change places; each keeps its look and its offset from the cell's centre."""
    i, j = rng.permutation(len(scene.things))[:2]
    a, b = scene.things[i], scene.things[j]
    moved = (dataclasses.replace(a, cell=b.cell), dataclasses.replace(b, cell=a.cell))
    kept = tuple(thing for thing in scene.things if thing not in (a, b))
    ways = ("swap {} and {}", "exchange {} and {}", "let {} and {} trade places")
    texts = (
        choose(rng, ways).format(name_thing(rng, scene, a), name_thing(rng, scene, b))
        for _ in range(wordings)
    )
    return Edit(scene, dataclasses.replace(scene, things=kept + moved), "swap", tuple(texts))


def _background(rng: np.random.Generator, scene: Scene, wordings: int) -> Edit:
    style = choose(rng, [style for style in BACKGROUNDS if style != scene.background])
    ways = (
        "make the background {}", "change the background to {}", "use a {} background",
        "put everything on a {} background",
    )  # fmt: skip
    texts = tuple(choose(rng, ways).format(style) for _ in range(wordings))
    return Edit(scene, dataclasses.replace(scene, background=style), "background", texts)


_EDITORS = {
    "recolor": _recolor, "replace": _replace, "remove": _remove, "add": _add, "move": _move,
    "swap": _swap, "background": _background,
}  # fmt: skip
