"""Prompts that need reasoning: solved here by other means than the code that posed them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from tests.world.reading import NUMBERS, PLURALS, attributes

from ladder.world.language import Caption
from ladder.world.reasoning_prompts import COLOR_FACTS, KINDS, SHAPE_FACTS
from ladder.world.sampling import REASONING, draw_kind
from ladder.world.scenes import COLORS, SHAPES, Scene

DRAWS = 60


def drawn(kind: str) -> list[tuple[Scene, Caption]]:
    rng = np.random.default_rng([0, KINDS.index(kind)])
    scene_kind, speaker = REASONING[kind]
    scenes = [draw_kind(rng, scene_kind) for _ in range(DRAWS)]
    return [(scene, speaker(rng, scene)) for scene in scenes]


def words(text: str) -> set[str]:
    return {*re.findall(r"\w+", text)}


@pytest.mark.parametrize("kind", KINDS)
def test_all_are_scored_as_reasoning(kind: str):
    for _, caption in drawn(kind):
        assert caption.tag == caption.row["tag"] == "thought"
        assert caption.row["prompt"] == caption.text


def test_a_fact_is_of_one_colour_or_shape():
    """And never names it, nor any other."""
    for facts, names in ((COLOR_FACTS, COLORS), (SHAPE_FACTS, SHAPES)):
        assert {*facts} == {*names}
        told = [fact for several in facts.values() for fact in several]
        assert len({*told}) == len(told)
        for fact in told:
            assert not words(fact) & {*COLORS, *SHAPES, *PLURALS}, fact


def test_a_colour_fact_means_its_colour():
    meant = {fact: color for color, facts in COLOR_FACTS.items() for fact in facts}
    seen = set()
    for _, caption in drawn("color_fact"):
        (fact,) = (fact for fact in meant if re.search(rf"(of|as) {fact}\b", caption.text))
        (shape,) = words(caption.text) & {*SHAPES}
        assert caption.row["include"] == [{"class": shape, "count": 1, "color": meant[fact]}]
        assert not words(caption.text) & {*COLORS}
        seen.add(fact)
    assert len(seen) > 10


def test_a_shape_fact_means_its_shape():
    meant = {fact: shape for shape, facts in SHAPE_FACTS.items() for fact in facts}
    seen = set()
    for _, caption in drawn("shape_fact"):
        fact, color = re.search(rf"the ({'|'.join(meant)})(?: in (\w+))?$", caption.text).groups()
        clause = {"class": meant[fact], "count": 1} | ({"color": color} if color else {})
        assert caption.row["include"] == [clause]
        assert not words(caption.text) & {*SHAPES}
        seen.add((fact, color is None))
    assert len(seen) > 15


def test_sums_come_out():
    """Reckoned here from the words."""
    ways = {
        r"(\w+) more (\w+) than (\w+)": lambda a, b: b + a,
        r"(\w+) fewer (\w+) than (\w+)": lambda a, b: b - a,
        r"(\w+) plus (\w+) (\w+)": lambda a, b: a + b,
        r"(\w+) minus (\w+) (\w+)": lambda a, b: a - b,
        r"(twice) (\w+) (\w+)": lambda _, b: 2 * b,
    }
    seen = set()
    for scene, caption in drawn("arithmetic"):
        ((way, found),) = (
            (way, found) for way in ways if (found := re.search(way + "$", caption.text))
        )
        (shape,) = (PLURALS[word] for word in found.groups() if word in PLURALS)
        terms = [word for word in found.groups() if word not in PLURALS]
        count = ways[way](*(NUMBERS.index(term) if term in NUMBERS else 0 for term in terms))
        assert caption.row["include"] == [{"class": shape, "count": count}]
        assert caption.row["exclude"] == [{"class": shape, "count": count + 1}]
        assert count == len(scene.things)
        seen.add(way)
    assert seen == {*ways}


def test_comparisons_order_the_sizes():
    for _, caption in drawn("comparison"):
        a, way, b = re.search(
            r"an? (\w+) (bigger|larger|smaller) than an? (\w+)$", caption.text
        ).groups()
        sizes = ("small", "large") if way == "smaller" else ("large", "small")
        expected = [
            {"class": shape, "count": 1, "size": size}
            for shape, size in zip((a, b), sizes, strict=True)
        ]
        assert caption.row["include"] == expected


def test_former_and_latter_are_told_apart():
    orders = set()
    for _, caption in drawn("reference"):
        a, b, one, color, other, other_color = re.search(
            r"an? (\w+) and an? (\w+), the (\w+) is (\w+) and the (\w+) is (\w+)$", caption.text
        ).groups()
        told = {one: color, other: other_color}
        assert caption.row["include"] == [
            {"class": a, "count": 1, "color": told["former"]},
            {"class": b, "count": 1, "color": told["latter"]},
        ]
        orders.add(one)
    assert orders == {"former", "latter"}


def test_what_is_denied_must_not_be_drawn():
    seen = set()
    for scene, caption in drawn("negation"):
        ways = {
            r"(an? \w+), not (an? \w+)$": (1, 2),
            r"not (an? \w+) but (an? \w+)$": (2, 1),
            r"(an? \w+) instead of (an? \w+)$": (1, 2),
        }
        ((way, found),) = ((way, found) for way in ways if (found := re.search(way, caption.text)))
        wanted, denied = (attributes(found[group])["shape"] for group in ways[way])
        assert wanted != denied
        assert caption.row["include"] == [{"class": wanted, "count": 1}]
        assert caption.row["exclude"] == [{"class": denied, "count": 1}]
        assert {thing.shape for thing in scene.things} == {wanted}
        seen.add(way)
    assert len(seen) == 3
