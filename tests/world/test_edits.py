"""Edits do what they say, exactly, and nothing else."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter

import numpy as np
import pytest
from tests.world.reading import PLACES, attributes, fits, meant

from ladder.world.edits import KINDS, Edit, draw_edit, name_thing
from ladder.world.render import render
from ladder.world.scenes import BACKGROUNDS, CELL, COLORS, GRID, Scene, Thing, draw_scene

DRAWS = 60


@pytest.fixture(scope="module")
def edits() -> dict[str, list[Edit]]:
    """Of each kind, in three wordings each."""
    rng = np.random.default_rng(0)
    found: dict[str, list[Edit]] = {kind: [] for kind in KINDS}
    while min(map(len, found.values())) < DRAWS:
        kind = min(KINDS, key=lambda kind: len(found[kind]))
        edit = draw_edit(rng, 3, kind)
        found[edit.kind].append(edit)
    return found


def recolored(scene: Scene, text: str) -> Scene:
    name, color = re.fullmatch(
        r"(?:make|change|paint|turn|color) (the .+?) (?:to )?(\w+)", text
    ).groups()
    assert color in COLORS
    return changed(scene, meant(name, scene), color=color)


def replaced(scene: Scene, text: str) -> Scene:
    name, what = re.fullmatch(
        r"(?:replace|turn|change|swap) (the .+?) (?:with|into|for) (an? .+)", text
    ).groups()
    return changed(scene, meant(name, scene), **attributes(what))


def removed(scene: Scene, text: str) -> Scene:
    (name,) = re.fullmatch(r"(?:remove|delete|erase|take away|get rid of) (the .+)", text).groups()
    thing = meant(name, scene)
    return dataclasses.replace(
        scene, things=tuple(other for other in scene.things if other != thing)
    )


def moved(scene: Scene, text: str) -> Scene:
    name, place = re.fullmatch(r"(?:move|shift|bring) (the .+?) to the (.+)", text).groups()
    return changed(scene, meant(name, scene), cell=PLACES[place])


def swapped(scene: Scene, text: str) -> Scene:
    a, b = re.fullmatch(
        r"(?:swap|exchange|let) (the .+?) and (the .+?)(?: trade places)?", text
    ).groups()
    a, b = meant(a, scene), meant(b, scene)
    assert a != b
    others = tuple(thing for thing in scene.things if thing not in (a, b))
    crossed = (dataclasses.replace(a, cell=b.cell), dataclasses.replace(b, cell=a.cell))
    return dataclasses.replace(scene, things=others + crossed)


def repainted(scene: Scene, text: str) -> Scene:
    (style,) = {*text.split()} & {*BACKGROUNDS}
    assert "background" in text
    return dataclasses.replace(scene, background=style)


def changed(scene: Scene, thing: Thing, **attributes: object) -> Scene:
    others = tuple(other for other in scene.things if other != thing)
    return dataclasses.replace(scene, things=(*others, dataclasses.replace(thing, **attributes)))


FOLLOWED = {
    "recolor": recolored, "replace": replaced, "remove": removed, "move": moved,
    "swap": swapped, "background": repainted,
}  # fmt: skip
"""What an instruction asks for, read by regular expressions; to add is the test after."""


@pytest.mark.parametrize("kind", FOLLOWED)
def test_the_target_is_what_every_wording_asks_for(kind: str, edits: dict[str, list[Edit]]):
    """Down to offsets: each phrase names exactly one object, and what isn't named stays."""
    for edit in edits[kind]:
        assert edit.before != edit.after
        assert len(edit.instructions) == 3
        for text in edit.instructions:
            assert FOLLOWED[kind](edit.before, text) == edit.after, (text, edit)


def test_what_is_added_is_what_every_wording_asks_for(edits: dict[str, list[Edit]]):
    """In a free cell; but for its offset, which no text gives, all of it is said."""
    for edit in edits["add"]:
        (new,) = {*edit.after.things} - {*edit.before.things}
        assert {*edit.after.things} - {new} == {*edit.before.things}
        assert edit.after.background == edit.before.background
        for text in edit.instructions:
            what, place = re.fullmatch(
                r"(?:add|put|draw|place) (an? .+) at the (.+)", text
            ).groups()
            assert PLACES[place] == new.cell
            assert {*attributes(what)} == {"size", "color", "shape"}
            assert fits(new, attributes(what))


@pytest.mark.parametrize("kind", sorted({*KINDS} - {"background"}))
def test_pixels_of_other_cells_are_the_same(kind: str, edits: dict[str, list[Edit]]):
    for edit in edits[kind][:20]:
        differ = (render(edit.before) != render(edit.after)).any(-1)
        cells = differ.reshape(GRID, CELL, GRID, CELL).any((1, 3)).ravel()
        touched = {cell for cell in range(GRID**2) if edit.before.at(cell) != edit.after.at(cell)}
        assert {*np.flatnonzero(cells)} == touched
        assert len(touched) == (2 if kind in ("move", "swap") else 1)


def test_wordings_vary(edits: dict[str, list[Edit]]):
    for kind, several in edits.items():
        first = Counter(text.split()[0] for edit in several for text in edit.instructions)
        assert len(first) >= 3, kind
        assert any(len({*edit.instructions}) > 1 for edit in several)


def test_a_name_fits_one_object():
    """Of crowded scenes too, where colours and shapes are shared."""
    rng = np.random.default_rng(1)
    short = 0
    for _ in range(100):
        scene = draw_scene(rng, 7)
        for thing in scene.things:
            name = name_thing(rng, scene, thing)
            assert meant(name, scene) == thing
            short += " at the " not in name
    assert short > 100


def test_twins_are_told_apart_by_place():
    rng = np.random.default_rng(2)
    scene = Scene(tuple(Thing(cell, "star", "red", "large") for cell in (0, 4)))
    for thing in scene.things:
        assert all(" at the " in name_thing(rng, scene, thing) for _ in range(20))


@pytest.mark.parametrize("objects", [2, 3, 8])
def test_an_edit_of_a_given_scene_is_about_that_scene(objects: int):
    rng = np.random.default_rng(3)
    for _ in range(40):
        scene = draw_scene(rng, objects)
        assert draw_edit(rng, 1, scene=scene).before == scene


def test_an_edit_of_a_given_scene_with_one_object_is_about_that_scene():
    """And never a swap, for which there is no second one."""
    rng = np.random.default_rng(3)
    scene = draw_scene(rng, 1)
    assert all(draw_edit(rng, 1, scene=scene).before == scene for _ in range(40))


@pytest.mark.parametrize(("kind", "objects"), [("swap", 1), ("remove", 0), ("swap", 0)])
def test_an_edit_without_the_objects_that_it_needs_is_an_error(kind: str, objects: int):
    rng = np.random.default_rng(3)
    message = f"{kind} needs more objects, the scene has {objects}"
    with pytest.raises(ValueError, match=message):
        draw_edit(rng, 1, kind, draw_scene(rng, objects))


def test_kinds_are_drawn_about_equally():
    rng = np.random.default_rng(4)
    kinds = Counter(draw_edit(rng, 1).kind for _ in range(350))
    assert {*kinds} == {*KINDS}
    assert min(kinds.values()) > 20
