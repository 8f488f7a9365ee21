"""Scenes drawn for a purpose, with captions true of them: what the raw shards are made of.

A scene is of one of four kinds: one object, a pair of different shapes, a group of one shape, or a
mixture. The kind decides which captions can be said, and every scene is shown under many of them.

Pairs and groups are composed, as pictures are: the objects of a pair face each other across the
centre, those of a group stand in a line or as on a die. One object and mixtures stand anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ladder.world import language, reasoning_prompts
from ladder.world.language import Caption, held_out
from ladder.world.scenes import (
    COLORS,
    GRID,
    SHAPES,
    SIZES,
    Scene,
    draw_background,
    draw_scene,
    draw_thing,
)

SCENE_KINDS = {"one": 0.20, "pair": 0.34, "group": 0.22, "mixture": 0.24}
"""Share of each kind of scene in the raw text-to-image set."""
LAYOUTS = {
    2: ((3, 5), (1, 7), (0, 8), (2, 6)),
    3: ((3, 4, 5), (1, 4, 7), (0, 4, 8), (2, 4, 6)),
    4: ((0, 2, 6, 8), (1, 3, 5, 7)),
}
"""The cells of a composed scene of so many objects."""
MIXTURE_SIZES = (2, 3, 4, 5, 6)

Speaker = Callable[[np.random.Generator, Scene], Caption]


def _colored(speaker: Callable[..., Caption]) -> Speaker:
    return lambda rng, scene: speaker(rng, scene, colored=True)


SPEAKERS: dict[str, dict[Speaker, int]] = {
    "one": {
        language.single_object: 2, language.colors: 3, language.dense: 2,
        reasoning_prompts.color_fact: 2, reasoning_prompts.shape_fact: 2,
        reasoning_prompts.negation: 2,
    },
    "pair": {
        language.two_object: 2, language.position: 4, _colored(language.position): 1,
        language.color_attr: 3, language.dense: 2, reasoning_prompts.comparison: 2,
        reasoning_prompts.reference: 2,
    },
    "group": {
        language.counting: 4, _colored(language.counting): 1, language.dense: 2,
        reasoning_prompts.arithmetic: 3,
    },
    "mixture": {language.dense: 1},
}  # fmt: skip
"""Which captions are said of each kind of scene, and how often."""
_CHOICES = {
    kind: ([*speakers], np.cumsum([*speakers.values()]) / sum(speakers.values()))
    for kind, speakers in SPEAKERS.items()
}
"""The captions of each kind of scene with the upper bounds of their shares."""
REASONING: dict[str, tuple[str, Speaker]] = {
    "color_fact": ("one", reasoning_prompts.color_fact),
    "shape_fact": ("one", reasoning_prompts.shape_fact),
    "arithmetic": ("group", reasoning_prompts.arithmetic),
    "comparison": ("pair", reasoning_prompts.comparison),
    "reference": ("pair", reasoning_prompts.reference),
    "negation": ("one", reasoning_prompts.negation),
}
LITERALS: dict[str, tuple[str, Speaker]] = {
    "single_object": ("one", language.single_object),
    "two_object": ("pair", language.two_object),
    "counting": ("group", language.counting),
    "colors": ("one", language.colors),
    "position": ("pair", language.position),
    "color_attr": ("pair", language.color_attr),
}


@dataclass(frozen=True)
class Captioned:
    """A scene and captions that are true of it."""

    scene: Scene
    captions: tuple[Caption, ...]


def draw_kind(rng: np.random.Generator, kind: str) -> Scene:
    """A scene of the kind `one`, `pair`, `group` or `mixture`."""
    if kind == "mixture":
        return draw_scene(rng, int(language.choose(rng, MIXTURE_SIZES)))
    background = draw_background(rng)
    if kind == "group":
        cells = language.choose(rng, LAYOUTS[int(language.choose(rng, [*LAYOUTS]))])
        shared = {"shape": language.choose(rng, SHAPES), "color": language.choose(rng, [*COLORS])}
        return Scene(tuple(draw_thing(rng, cell, **shared) for cell in cells), background)
    anywhere = (int(rng.integers(GRID**2)),)
    cells = anywhere if kind == "one" else rng.permutation(language.choose(rng, LAYOUTS[2]))
    shapes, colors = rng.permutation(SHAPES), rng.permutation([*COLORS])
    sizes = rng.permutation([*SIZES])
    things = tuple(
        draw_thing(rng, cell, shape=str(shapes[i]), color=str(colors[i]), size=str(sizes[i]))
        for i, cell in enumerate(cells)
    )
    return Scene(things, background)


def draw_captioned(rng: np.random.Generator, captions: int) -> Captioned:
    """A scene with `captions` training captions; held-out prompts are never among them."""
    kind = str(rng.choice([*SCENE_KINDS], p=[*SCENE_KINDS.values()]))
    scene = draw_kind(rng, kind)
    return Captioned(scene, tuple(draw_caption(rng, scene, kind) for _ in range(captions)))


def draw_caption(rng: np.random.Generator, scene: Scene, kind: str) -> Caption:
    """A training caption of a scene of that kind."""
    speakers, bounds = _CHOICES[kind]
    while True:
        speaker = speakers[bounds.searchsorted(rng.random(), side="right")]
        caption = speaker(rng, scene)
        if (
            speaker is language.single_object
            or caption.tag == "dense"
            or not held_out(caption.text)
        ):
            return caption
