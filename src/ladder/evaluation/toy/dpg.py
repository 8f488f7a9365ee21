"""DPG-Bench in the toy world: dense prompts, each with a graph of yes-no questions.

A prompt names all there is in a scene of four objects of different shapes: colours, sizes, places
and the background. Its questions have DPG-Bench's columns and categories. Whether an object is
there stands above its colour, size and place; where two stand to each other depends on both. Every
prompt has as many questions of each category, so that the scorer's number, over all or of a
category, is the mean of the prompts' own and gets its interval from them.

The texts are too many to be held out: what training draws is hardly ever one of them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from ladder.config.files import replacing, write_text
from ladder.config.load import Evaluation, Sampling
from ladder.evaluation.bounds import reconstructed
from ladder.evaluation.generate import draw
from ladder.evaluation.outcomes import DPG_CATEGORIES, Outcome
from ladder.evaluation.scorers import dpg
from ladder.evaluation.toy.observe import Observed
from ladder.evaluation.vlm_judges.oracle import reply
from ladder.inference.pipeline import LadderPipeline
from ladder.world.language import PLACES, dense, describe, noun, relations
from ladder.world.oracle import Detections
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


@dataclass(frozen=True)
class DpgToy:
    """The benchmark; of each prompt it sees `evaluation.images` pictures."""

    evaluation: Evaluation
    sampling: Sampling
    name = "dense"

    @cached_property
    def prompts(self) -> list[Dense]:
        return prompts(self.evaluation.seed)

    @property
    def groups(self) -> list[str]:
        """One group; the floor stays within it."""
        return ["dense"] * len(self.prompts)

    def observe(self, pipeline: LadderPipeline) -> list[list[Observed]]:
        """Draw every prompt and look at the pictures."""
        texts, sources = [prompt.text for prompt in self.prompts], [None] * len(self.prompts)
        images, seed = self.evaluation.images, self.evaluation.seed
        drawn = draw(pipeline, texts, sources, images, self.sampling, seed, "dense prompts")
        return [[Observed.of(picture) for picture in pictures] for pictures in drawn]

    def ceiling(self, pipeline: LadderPipeline) -> list[list[Observed]]:
        """The reconstruction of the scene that each prompt describes."""
        scenes = [prompt.scene for prompt in self.prompts]
        best = reconstructed(pipeline.vae, scenes, self.sampling.batch)
        return [[Observed.of(picture)] for picture in best]

    def score(self, seen: Sequence[Sequence[Observed]]) -> list[Outcome]:
        """The scorer's numbers for each prompt and all its pictures, from 0 to 1: over all
        questions and by category without faults, and over all with the official faults."""
        questions = self.table()
        said = {
            prompt.item: [answers(prompt, picture.found) for picture in pictures]
            for prompt, pictures in zip(self.prompts, seen, strict=True)
        }
        official = dpg.official(questions, said)["prompts"]
        outcomes = []
        for number, prompt in enumerate(self.prompts):
            own = dpg.QuestionTable({prompt.item: questions.prompts[prompt.item]}, prompt.item,
                            questions.readable)  # fmt: skip
            found = dpg.fixed(own, {prompt.item: said[prompt.item]})
            scores = {"dpg_toy": found["dpg"]}
            scores |= {f"dpg_toy.{name}": found["l1"][name] for name in DPG_CATEGORIES}
            if prompt.item in official:
                scores["dpg_toy.official"] = 100 * official[prompt.item]
            outcomes += [
                Outcome(
                    metric, "dense", number, prompt.text, None, percent / 100, said[prompt.item]
                )
                for metric, percent in scores.items()
            ]
        return outcomes

    def table(self) -> dpg.QuestionTable:
        """The questions of all prompts as the scorer reads them."""
        return dpg.read_questions(row for prompt in self.prompts for row in prompt.rows)

    def save(
        self,
        seen: Sequence[Sequence[Observed]],
        outcomes: Sequence[Outcome],
        notes: Path,
        grids: Path,
    ) -> None:
        """Write dpg.json and dpg.csv, answers and questions in DPG-Bench's forms, into `notes`."""
        with replacing(notes / "dpg.csv") as part, part.open("w", newline="") as file:
            rows = csv.DictWriter(file, [*self.prompts[0].rows[0]], lineterminator="\n")
            rows.writeheader()
            rows.writerows(row for prompt in self.prompts for row in prompt.rows)
        answers = [
            {"item_id": self.prompts[one.number].item, "answers": one.said}
            for one in outcomes
            if one.metric == "dpg_toy"
        ]
        write_text(notes / "dpg.json", json.dumps({"prompts": answers}) + "\n")


def answers(prompt: Dense, found: Detections) -> Said:
    """What the oracle answers to the questions of a prompt about one picture."""
    return {number: reply(found, text) for number, text in prompt.questions.items()}
