"""GenEval 2 in the toy world: several groups of shapes in one prompt, asked about atom by atom.

A prompt names one to three groups, each of one shape, one colour and one to four objects, and
perhaps how the first group stands to the second. Each group has three atoms (is it there, how many,
its colour), a relation is one more: 3, 6, 7, 9 or 10 atoms, as many as GenEval 2's prompts have.
Training shows groups and mixtures, but no caption with several groups.

The oracle answers the benchmark's own questions, and is sure of it: a question scores 1 or 0, a
picture the geometric mean of its questions, which is 1 if all are right and else 0, and a prompt
the mean of its pictures.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ladder.config.files import write_text
from ladder.evaluation.image_grids import Tile, save_grid
from ladder.evaluation.outcomes import Outcome
from ladder.evaluation.scorers import geneval2
from ladder.evaluation.toy.geneval import GenevalToy
from ladder.evaluation.toy.observe import Observed
from ladder.evaluation.vlm_judges.oracle import Oracle, reply
from ladder.world.language import RELATIONS, Clause, choose, frame, held_out, noun
from ladder.world.oracle import Detections
from ladder.world.scenes import COLORS, GRID, SHAPES, Scene, draw_background, draw_thing

KINDS = ((1, False), (2, False), (2, True), (3, False), (3, True))
"""How many groups a prompt names, and whether it relates two of them."""
MOST = 4
"""Objects of a group, as the world counts."""
SHOWN = 6
"""Prompts of each kind in a grid."""
LINES = {
    "left of": lambda line: [GRID * row + line for row in range(GRID)],
    "right of": lambda line: [GRID * row + GRID - 1 - line for row in range(GRID)],
    "above": lambda line: [GRID * line + column for column in range(GRID)],
    "below": lambda line: [GRID * (GRID - 1 - line) + column for column in range(GRID)],
}
"""The cells of a line of the grid, from the side on which the first group of a relation stands."""


@dataclass(frozen=True)
class Composition:
    """A prompt, the scene that it describes, and its questions with their answers."""

    text: str
    scene: Scene
    questions: tuple[tuple[str, str], ...]
    skills: tuple[str, ...]

    @property
    def kind(self) -> str:
        """Its number of atoms."""
        return str(len(self.questions))

    @property
    def row(self) -> dict[str, Any]:
        """As it stands in the benchmark's own file."""
        pairs = [[*pair] for pair in self.questions]
        return {"prompt": self.text, "atom_count": len(pairs), "vqa_list": pairs,
                "skills": [*self.skills]}  # fmt: skip


def prompts(count: int, seed: int) -> list[Composition]:
    """`count` different ones of each kind, held out from training captions."""
    rng = np.random.default_rng([seed, 5])
    found: dict[str, Composition] = {}
    for index, (groups, related) in enumerate(KINDS, 1):
        while len(found) < index * count:
            one = compose(rng, groups, related)
            if held_out(one.text):
                found.setdefault(one.text, one)
    return [*found.values()]


def compose(rng: np.random.Generator, groups: int, related: bool) -> Composition:
    """A prompt about so many groups."""
    shapes, colors = rng.permutation(SHAPES), rng.permutation([*COLORS])
    # A related group stands in one line of the grid, and three groups share the nine cells.
    most = GRID if related or groups == GRID else MOST
    counts = rng.integers(1, most + 1, groups)
    clauses = [Clause(str(shapes[i]), int(count), str(colors[i])) for i, count in enumerate(counts)]
    relation = choose(rng, [*RELATIONS]) if related else None
    cells = places(rng, clauses, relation)
    things = [
        draw_thing(rng, cell, shape=clause.shape, color=str(clause.color))
        for clause, own in zip(clauses, cells, strict=True)
        for cell in own
    ]
    asked = [atom for clause in clauses for atom in atoms(clause)]
    names = [noun(clause) for clause in clauses]
    if relation:
        first, second = clauses[:2]
        names = [f"{names[0]} {choose(rng, RELATIONS[relation])} {names[1]}", *names[2:]]
        text = f"are the {plural(first)} {relation} the {plural(second)}?"
        asked.append(("position", text, "Yes"))
    told = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
    scene = Scene(tuple(things), draw_background(rng))
    questions = tuple((question, answer) for _, question, answer in asked)
    return Composition(frame(rng, told), scene, questions, tuple(skill for skill, *_ in asked))


def places(
    rng: np.random.Generator, clauses: Sequence[Clause], relation: str | None
) -> list[list[int]]:
    """Cells for the objects of each group."""
    if relation is None:
        cells, ends = rng.permutation(GRID**2), np.cumsum([clause.count for clause in clauses])
        return [part.tolist() for part in np.split(cells, ends)[: len(clauses)]]
    lines = (0, GRID - 1, 1)  # the third group stands between the two
    return [
        rng.permutation(LINES[relation](line))[: clause.count].tolist()
        for line, clause in zip(lines, clauses, strict=False)
    ]


def atoms(clause: Clause) -> list[tuple[str, str, str]]:
    """Skill, question and answer of each atom of a group."""
    count = geneval2.NUMBERS[clause.count - 1]
    return [
        ("object", f"is there {noun(Clause(clause.shape))}?", "Yes"),
        ("count", f"{geneval2.COUNTED} {plural(clause)} are there?", count),
        ("attribute", f"are the {plural(clause)} {clause.color}?", "Yes"),
    ]


def plural(clause: Clause) -> str:
    return noun(Clause(clause.shape, 2)).partition(" ")[2]


@dataclass(frozen=True)
class Geneval2Toy(GenevalToy):
    """The benchmark; it asks `evaluation.prompts` of each kind, and of each prompt it sees
    `evaluation.images` pictures."""

    name = "compositions"

    @cached_property
    def prompts(self) -> list[Composition]:
        return prompts(self.evaluation.prompts, self.evaluation.seed)

    @property
    def groups(self) -> list[str]:
        """The number of atoms of each prompt; the floor stays within it."""
        return [one.kind for one in self.prompts]

    def score(self, seen: Sequence[Sequence[Observed]]) -> list[Outcome]:
        """The geometric mean and the mean of each picture's atoms, and what the oracle said."""
        outcomes = []
        for number, (one, pictures) in enumerate(zip(self.prompts, seen, strict=True)):
            for place, picture in enumerate(pictures):
                said = answers(one, picture.found)
                scores = [
                    geneval2.atom(*asked, answer, exact=False)
                    for asked, answer in zip(one.questions, said, strict=True)
                ]
                where = (one.kind, number, one.text, place)
                outcomes += [
                    Outcome("geneval2_toy", *where, geneval2.geometric_mean(scores), said),
                    Outcome("geneval2_toy.am", *where, float(np.mean(scores))),
                ]
        return outcomes

    def save(
        self,
        seen: Sequence[Sequence[Observed]],
        outcomes: Sequence[Outcome],
        notes: Path,
        grids: Path,
    ) -> None:
        """Write geneval2_data.jsonl and geneval2.json, prompts and answers in GenEval 2's forms,
        into `notes`, and geneval2.png, first pictures of the first prompts, into `grids`."""
        lines = "".join(json.dumps(one.row) + "\n" for one in self.prompts)
        write_text(notes / "geneval2_data.jsonl", lines)
        judged = [one for one in outcomes if one.metric == "geneval2_toy"]
        items = [
            self.prompts[one.number].row
            | {"key": f"{one.number}/{one.picture}", "answers": one.said}
            for one in judged
        ]
        file = {"judge": Oracle.name, "judge_version": Oracle.version, "items": items}
        write_text(notes / "geneval2.json", json.dumps(file) + "\n")
        tiles: dict[str, list[Tile]] = {}
        for one in (one for one in judged if one.picture == 0):
            tile = Tile(seen[one.number][0].pixels, one.prompt, one.score == 1)
            tiles.setdefault(f"{one.group} atoms", []).append(tile)
        save_grid([(kind, row[:SHOWN]) for kind, row in tiles.items()], grids / "geneval2.png")


def answers(one: Composition, found: Detections) -> list[dict[str, Any]]:
    """What the oracle answers to the questions of a prompt about one picture; it has no doubt."""
    texts = [reply(found, question) for question, _ in one.questions]
    return [{"text": text, "probabilities": {text: 1.0}} for text in texts]
