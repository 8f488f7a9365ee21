"""DPG-Bench in the toy world: dense prompts, each with a graph of yes-no questions.

A prompt names all there is in a scene of four objects of different shapes: colours, sizes, places
and the background. Its questions have DPG-Bench's columns and categories. Whether an object is
there stands above its colour, size and place; where two stand to each other depends on both. Every
prompt has as many questions of each category, so that the scorer's number, over all or of a
category, is the mean of the prompts' own and gets its interval from them.

The texts are too many to be held out: what training draws is hardly ever one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ladder.config.load import Evaluation
from ladder.evaluation.confidence import interval
from ladder.evaluation.scorers import dpg
from ladder.world.language import PLACES, dense, describe, noun, relations
from ladder.world.scenes import GRID, SHAPES, Scene, draw_background, draw_thing

PROMPTS = 24
"""However many prompts of other kinds are asked: a run of few is compared with one of many."""
OBJECTS = 4
ROOT = (dpg.NO_PARENT,)

Said = Mapping[str, str]
"""The answers about one picture, by the number of the question."""


@dataclass(frozen=True)
class Dense:
    """A prompt and the scene that it describes."""

    item: str
    text: str
    scene: Scene
    rows: tuple[dict[str, str], ...]
    """Its questions as rows of the benchmark's CSV."""

    @property
    def questions(self) -> dict[str, str]:
        """The questions' texts by their numbers."""
        return {row["proposition_id"]: row["question_natural_language"] for row in self.rows}


def prompts(seed: int) -> list[Dense]:
    rng = np.random.default_rng([seed, 3])
    found = []
    for number in range(PROMPTS):
        cells, shapes = rng.permutation(GRID**2)[:OBJECTS], rng.permutation(SHAPES)
        things = (
            draw_thing(rng, cell, shape=str(shape))
            for cell, shape in zip(cells, shapes, strict=False)
        )
        scene = Scene(tuple(things), draw_background(rng))
        item, text = f"toy{number:02}", told_in_full(rng, scene)
        found.append(Dense(item, text, scene, tuple(graph(item, text, scene))))
    return found


def told_in_full(rng: np.random.Generator, scene: Scene) -> str:
    """A dense caption that leaves out neither the sizes nor the background."""
    while "any" in (caption := dense(rng, scene)).specification.split():
        pass
    return caption.text


def graph(item: str, text: str, scene: Scene) -> list[dict[str, str]]:
    """The questions about a scene whose objects differ in shape, as rows of DPG-Bench's CSV."""
    asked: list[tuple[str, str, tuple[int, ...], str]] = []
    wholes = {thing: 1 + 4 * index for index, thing in enumerate(scene.things)}
    for thing, whole in wholes.items():
        name, place = thing.shape, PLACES[thing.cell][0]
        asked += [
            ("entity - whole", name, ROOT, f"is there {noun(describe(thing))}?"),
            ("attribute - color", f"{name}, {thing.color}", (whole,),
             f"is the {name} {thing.color}?"),
            ("attribute - size", f"{name}, {thing.size}", (whole,), f"is the {name} {thing.size}?"),
            ("relation - spatial", f"{name}, {place}", (whole,), f"is the {name} at the {place}?"),
        ]  # fmt: skip
    for a, b in pairwise(scene.things):
        relation = relations(a, b)[0]
        asked.append(
            ("relation - spatial", f"{a.shape}, {b.shape}, {relation}", (wholes[a], wholes[b]),
             f"is the {a.shape} {relation} the {b.shape}?")
        )  # fmt: skip
    style = scene.background
    asked.append(("global - background", style, ROOT, f"is the background {style}?"))
    return [
        {
            "item_id": item,
            "text": text,
            "proposition_id": str(number),
            "dependency": ",".join(map(str, parents)),
            "category_broad": category.split(" - ")[0],
            "category_detailed": category.split(" - ")[1],
            "tuple": f"{category} ({what})",
            "question_natural_language": question,
        }
        for number, (category, what, parents, question) in enumerate(asked, 1)
    ]


def scores(
    asked: Sequence[Dense], answers: Sequence[Sequence[Said]], evaluation: Evaluation
) -> dict[str, dict]:
    """The metrics of what was said of each prompt's pictures, from 0 to 1.

    `overall` and the categories are those of the scorer without faults; `official` has its faults.
    """
    table, said = table_of(asked), by_item(asked, answers)
    official = dpg.official(table, said)["prompts"].values()
    own = one_by_one(table, said)
    values = {"overall": [one["dpg"] for one in own], "official": [100 * x for x in official]}
    values |= {name: [one["l1"][name] for one in own] for name in own[0]["l1"]}
    draws = (evaluation.resamples, evaluation.seed)
    return {
        name: asdict(interval([x / 100 for x in group], *draws)) for name, group in values.items()
    }


def by_prompt(asked: Sequence[Dense], answers: Sequence[Sequence[Said]]) -> list[float]:
    """The score of each prompt, from 0 to 1."""
    found = one_by_one(table_of(asked), by_item(asked, answers))
    return [one["dpg"] / 100 for one in found]


def one_by_one(
    table: dpg.QuestionTable, said: Mapping[str, Sequence[Said]]
) -> list[dict[str, Any]]:
    """What the scorer finds for each prompt by itself."""
    return [
        dpg.fixed(dpg.QuestionTable({item: questions}, item, table.readable), {item: said[item]})
        for item, questions in table.prompts.items()
    ]


def table_of(asked: Sequence[Dense]) -> dpg.QuestionTable:
    return dpg.read_questions(row for one in asked for row in one.rows)


def by_item(asked: Sequence[Dense], answers: Sequence[Sequence[Said]]) -> dict[str, Sequence[Said]]:
    return {one.item: pictures for one, pictures in zip(asked, answers, strict=True)}
