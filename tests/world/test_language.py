"""Captions are true of their scenes, and mean what they say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from tests.world.reading import NUMBERS, PLACES, attributes, fits

from ladder.evaluation.scorers.geneval import directions, judge
from ladder.evaluation.toy.observe import observe
from ladder.world import language
from ladder.world.language import (
    FRAMES,
    HELD_OUT_SHARE,
    RELATIONS,
    Caption,
    Clause,
    dense,
    grid,
    held_out,
    meaning,
    noun,
    relations,
)
from ladder.world.render import render
from ladder.world.sampling import LITERALS, SPEAKERS, draw_kind
from ladder.world.scenes import (
    BACKGROUNDS,
    CELL,
    CELL_NAMES,
    COLORS,
    GRID,
    SHAPES,
    SIZES,
    Scene,
    Thing,
    draw_scene,
)

SPOKEN = [
    (kind, number, speaker)
    for kind, speakers in SPEAKERS.items()
    for number, speaker in enumerate(speakers)
]


@pytest.mark.parametrize(("kind", "number", "speaker"), SPOKEN)
def test_a_caption_is_true_of_its_picture(kind: str, number: int, speaker: Callable):
    """By GenEval's rules, on what the oracle finds in the picture."""
    rng = np.random.default_rng([0, number])
    for _ in range(25):
        scene = draw_kind(rng, kind)
        caption = speaker(rng, scene)
        if caption.tag == "dense":
            assert caption.row is None
        else:
            assert judge(caption.row, observe(render(scene))).reason == "", (caption, scene)


@pytest.mark.parametrize("task", [*LITERALS])
def test_a_literal_caption_is_false_of_most_other_pictures(task: str):
    """Of pictures of the same kind: what is judged above isn't judged right whatever is shown."""
    rng = np.random.default_rng(1)
    kind, speaker = LITERALS[task]
    scenes = [draw_kind(rng, kind) for _ in range(30)]
    captions = [speaker(rng, scene) for scene in scenes]
    seen = [observe(render(scene)) for scene in scenes[1:] + scenes[:1]]
    right = [
        judge(caption.row, found).correct for caption, found in zip(captions, seen, strict=True)
    ]
    assert np.mean(right) < 0.5


def test_neighbours_on_a_diagonal_stand_as_geneval_has_it():
    """Two neighbours across a corner, one large and one small, at the worst offsets."""
    for one in SHAPES:
        for other in SHAPES:
            a, b = Thing(0, one, "red", "large", 2, -2), Thing(4, other, "blue", "small", -2, 2)
            found = observe(render(Scene((a, b))))
            box = {thing.color: thing.box for things in found.values() for thing in things}
            assert (
                {*directions(box["red"], box["blue"])} == {*relations(a, b)} == {"left of", "above"}
            )


def test_relations_are_geneval_s_between_any_two_cells():
    for first in range(GRID**2):
        for second in {*range(GRID**2)} - {first}:
            a, b = (Thing(cell, "square", "red", "small") for cell in (first, second))
            boxes = [(x - 7, y - 7, x + 7, y + 7) for x, y in (a.center, b.center)]
            assert {*relations(a, b)} == {*directions(*boxes)}
            assert relations(a, b)


def unframed(text: str) -> str:
    """The text within its frame, the longest that fits."""
    frames = sorted(FRAMES, key=len, reverse=True)
    for frame in frames:
        found = re.fullmatch(re.escape(frame).replace(r"\{\}", "(.+)"), text)
        if found:
            return found[1]
    raise AssertionError(f"no frame fits {text!r}")


def as_clause(phrase: str) -> dict:
    """A noun phrase as a clause of GenEval, read by the tests' own reader."""
    first, _, rest = phrase.partition(" ")
    named = attributes(rest)
    count = NUMBERS.index(first) if first in NUMBERS else 1
    clause = {"class": named.pop("shape"), "count": count}
    return clause | named


@pytest.mark.parametrize("task", [*LITERALS])
def test_a_row_asks_for_what_the_text_says(task: str):
    """Read back with regular expressions."""
    rng = np.random.default_rng(2)
    ways = {way: relation for relation, ways in RELATIONS.items() for way in ways}
    longest = "|".join(sorted(ways, key=len, reverse=True))
    kind, speaker = LITERALS[task]
    for _ in range(60):
        caption = speaker(rng, draw_kind(rng, kind))
        text = unframed(caption.text)
        assert caption.row["prompt"] == caption.text
        assert caption.row["tag"] == caption.tag == task
        if task == "position":
            a, way, b = re.fullmatch(rf"(.+?) ({longest}) (.+)", text).groups()
            expected = [as_clause(b), as_clause(a) | {"position": [ways[way], 0]}]
        else:
            expected = [as_clause(part) for part in text.split(" and ")]
        assert caption.row["include"] == expected
        excluded = caption.row.get("exclude", [])
        if task == "counting":
            (clause,) = expected
            assert clause["count"] > 1
            assert excluded == [{"class": clause["class"], "count": clause["count"] + 1}]
        else:
            assert not excluded


def test_attributes_are_named_only_by_tasks_that_ask_for_them():
    named = {
        task: {key for clause in drawn(task).row["include"] for key in clause} - {"class", "count"}
        for task in LITERALS
    }
    nothing = {task: set() for task in ("single_object", "two_object", "counting")}
    asked = {"colors": {"color"}, "color_attr": {"color"}, "position": {"position"}}
    assert named == nothing | asked
    assert {*named} == {*language.TASKS}


def drawn(task: str) -> Caption:
    rng = np.random.default_rng(3)
    kind, speaker = LITERALS[task]
    return speaker(rng, draw_kind(rng, kind))


def test_a_specification_says_what_the_row_asks():
    clauses = [Clause("star", color="red"), Clause("cross", count=3, size="small")]
    assert meaning("", "", clauses).specification == "one any red star , three small any cross"
    with_relation = meaning("", "position", clauses, "left of")
    assert with_relation.specification == "one any red star left of three small any cross"
    assert with_relation.row["include"] == [
        {"class": "cross", "count": 3, "size": "small"},
        {"class": "star", "count": 1, "color": "red", "position": ["left of", 0]},
    ]


@pytest.mark.parametrize(
    ("clause", "expected"),
    [
        (Clause("star"), "a star"),
        (Clause("star", color="orange"), "an orange star"),
        (Clause("heart", color="orange", size="small"), "a small orange heart"),
        (Clause("cross", count=2), "two crosses"),
        (Clause("square", count=4, color="red"), "four red squares"),
    ],
)
def test_nouns_are_english(clause: Clause, expected: str):
    assert noun(clause) == expected


@pytest.mark.parametrize("frame", FRAMES)
def test_frames_hold_one_phrase(frame: str):
    assert frame.count("{}") == 1
    assert "{" not in frame.replace("{}", "")


def test_places_name_one_cell_each():
    for cell, names in enumerate(language.PLACES):
        assert {PLACES[name] for name in names} == {cell}
    assert [names[-1] for names in language.PLACES] == [*CELL_NAMES]


def test_a_dense_caption_names_every_object_at_its_place():
    """Read back part by part: all of the scene and nothing else."""
    rng = np.random.default_rng(4)
    sizes, grounds = Counter(), Counter()
    for _ in range(150):
        scene = draw_scene(rng, int(rng.integers(1, 7)))
        text, ground = re.fullmatch(
            r"(.+?)(?:, on a (\w+) background)?", dense(rng, scene).text
        ).groups()
        grounds[ground is not None] += 1
        assert ground in (None, scene.background)
        left = {*scene.things}
        for part in text.split("; ") if ": " in text else text.split(", "):
            if ": " in part:
                place, what = part.split(": ")
            else:
                what, place = part.split(" at the ")
            thing = scene.at(PLACES[place])
            left.remove(thing)
            named = attributes(what)
            assert {*named} >= {"color", "shape"}
            assert fits(thing, named)
            sizes["size" in named] += 1
        assert not left
    assert 0.3 < sizes[True] / sizes.total() < 0.7
    assert 0.3 < grounds[True] / grounds.total() < 0.7


def test_a_grid_says_everything_but_offsets():
    """Read back, it is the scene; and the grid is one word group a cell, in reading order."""
    rng = np.random.default_rng(5)
    for objects in range(GRID**2 + 1):
        scene = draw_scene(rng, objects)
        pattern = r"background (\w+)" + "".join(rf" {name} (.+)" for name in CELL_NAMES)
        background, *cells = re.fullmatch(pattern, grid(scene)).groups()
        assert background == scene.background
        for cell, what in enumerate(cells):
            thing = scene.at(cell)
            assert what == (" ".join(thing.what) if thing else "empty")


def test_a_dense_specification_is_the_grid_of_what_was_said():
    rng = np.random.default_rng(6)
    for _ in range(60):
        scene = draw_scene(rng, 3)
        caption = dense(rng, scene)
        grounded = caption.text.endswith("background")
        sized = any(size in caption.text.split() for size in SIZES)
        assert caption.specification == grid(scene, sized, grounded)
        assert ("background any" in caption.specification) is not grounded
        assert caption.specification.count(" any ") == (0 if sized else 3) + (not grounded)


def test_a_quarter_of_texts_is_held_out():
    """By the text alone; pinned, since prompts of the evaluation hang on it."""
    texts = [f"{frame} {color} {shape}" for frame in FRAMES for color in COLORS for shape in SHAPES]
    share = np.mean([held_out(text) for text in texts])
    assert abs(share - 1 / HELD_OUT_SHARE) < 5 * (0.25 * 0.75 / len(texts)) ** 0.5
    kept = [f"{color} {shape}" for color in COLORS for shape in SHAPES]
    kept = [text for text in kept if held_out(f"a {text}")]
    assert kept[:6] == [
        "red circle",
        "red star",
        "red heart",
        "yellow triangle",
        "yellow heart",
        "green cross",
    ]


def test_words_are_unambiguous():
    """No colour, shape, size or background shares its name with another."""
    words = [*COLORS, *SHAPES, *SIZES, *BACKGROUNDS]
    assert len({*words}) == len(words)
    assert CELL * GRID == 96
