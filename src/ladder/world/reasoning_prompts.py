"""Prompts that need reasoning: what is to be drawn is not what is literally said.

Facts, arithmetic, comparison, reference and negation need more of the MLLM than the look-up of
words, so shallow and deep layers carry different things about them (a finding of the prototype:
with literal prompts no layer lacks anything).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ladder.world.language import (
    NUMBERS,
    Caption,
    Clause,
    choose,
    describe,
    frame,
    meaning,
    noun,
    shuffled,
)
from ladder.world.scenes import SHAPES, Scene

KINDS = ("color_fact", "shape_fact", "arithmetic", "comparison", "reference", "negation")
COLOR_FACTS = {
    "red": ("blood", "a ripe tomato", "a fire engine"),
    "orange": ("a carrot", "a pumpkin", "a tangerine"),
    "yellow": ("a lemon", "a ripe banana", "the sun"),
    "green": ("grass", "a leaf", "a frog"),
    "blue": ("the sky", "the ocean", "a sapphire"),
    "purple": ("a plum", "lavender", "an eggplant"),
    "pink": ("a flamingo", "a piglet", "bubble gum"),
    "brown": ("chocolate", "coffee", "wood"),
    "black": ("coal", "the night", "a raven"),
    "white": ("snow", "milk", "a swan"),
}
SHAPE_FACTS = {
    "circle": ("shape without corners", "outline of a wheel", "shape of a full moon"),
    "square": ("shape with four equal sides", "outline of a chess board", "face of a cube"),
    "triangle": ("shape with three corners", "outline of a pyramid", "shape with three sides"),
    "star": ("shape with five points", "sign of a sheriff", "top of a christmas tree"),
    "cross": ("sign of addition", "shape of a plus", "sign of a hospital"),
    "heart": ("symbol of love", "sign of a valentine", "suit beside spades"),
}


def color_fact(rng: np.random.Generator, scene: Scene) -> Caption:
    clause = describe(scene.things[0], color=True)
    fact = choose(rng, COLOR_FACTS[clause.color])
    plain = noun(dataclasses.replace(clause, color=None))
    ways = ("{} in the color of {}", "{} with the color of {}", "{} as {} is colored")
    return meaning(frame(rng, choose(rng, ways).format(plain, fact)), "thought", [clause])


def shape_fact(rng: np.random.Generator, scene: Scene) -> Caption:
    thing = scene.things[0]
    fact = choose(rng, SHAPE_FACTS[thing.shape])
    colored = rng.random() < 0.5
    text = f"the {fact} in {thing.color}" if colored else f"the {fact}"
    return meaning(frame(rng, text), "thought", [describe(thing, color=colored)])


def arithmetic(rng: np.random.Generator, scene: Scene) -> Caption:
    """`one more stars than two`: the count is the result of a small sum."""
    shape, count = scene.things[0].shape, len(scene.things)
    plural = noun(Clause(shape, 2)).split(" ", 1)[1]
    step = int(rng.integers(1, 3))
    ways = [
        f"{NUMBERS[step]} more {plural} than {NUMBERS[count - step]}" if count > step else None,
        f"{NUMBERS[step]} fewer {plural} than {NUMBERS[count + step]}",
        f"{NUMBERS[count - step]} plus {NUMBERS[step]} {plural}" if count > step else None,
        f"{NUMBERS[count + step]} minus {NUMBERS[step]} {plural}",
        f"twice {NUMBERS[count // 2]} {plural}" if count % 2 == 0 else None,
    ]
    text = choose(rng, [way for way in ways if way])
    clause = Clause(shape, count)
    return meaning(frame(rng, text), "thought", [clause], excluded=[Clause(shape, count + 1)])


def comparison(rng: np.random.Generator, scene: Scene) -> Caption:
    """`a star bigger than a circle`; needs a pair of different sizes."""
    a, b = shuffled(rng, scene.things)
    way = choose(rng, ("bigger than", "larger than") if a.size == "large" else ("smaller than",))
    text = f"{noun(describe(a))} {way} {noun(describe(b))}"
    clauses = [describe(a, size=True), describe(b, size=True)]
    return meaning(frame(rng, text), "thought", clauses)


def reference(rng: np.random.Generator, scene: Scene) -> Caption:
    """`a star and a circle, the latter blue, the former red`."""
    a, b = shuffled(rng, scene.things)
    told = [f"the former is {a.color}", f"the latter is {b.color}"]
    if rng.random() < 0.5:
        told.reverse()
    text = f"{noun(describe(a))} and {noun(describe(b))}, {told[0]} and {told[1]}"
    clauses = [describe(a, color=True), describe(b, color=True)]
    return meaning(frame(rng, text), "thought", clauses)


def negation(rng: np.random.Generator, scene: Scene) -> Caption:
    """`a circle, not a star`: what is named and denied must not be drawn."""
    thing = scene.things[0]
    other = choose(rng, [shape for shape in SHAPES if shape != thing.shape])
    wanted, denied = noun(describe(thing)), noun(Clause(other))
    ways = (
        f"{wanted}, not {denied}",
        f"not {denied} but {wanted}",
        f"{wanted} instead of {denied}",
    )
    clause = describe(thing)
    return meaning(frame(rng, choose(rng, ways)), "thought", [clause], excluded=[Clause(other)])
