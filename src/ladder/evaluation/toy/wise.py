"""WISE in the toy world: prompts that say what is to be drawn by what one knows, or has to think.

The prompts are those of `ladder.world.reasoning_prompts`: facts of colour and shape, arithmetic,
comparison, reference and negation take the places of WISE's six categories. The oracle gives its
three marks from 0 to 2, as WISE's judges do, and the benchmark's scorer reads its text:

Consistency        2 if the picture is what the prompt means, by GenEval's rules; 1 if it holds at
                   least an object of a shape that is meant; else 0
Realism            the share of objects that are believed, out of 2, rounded down
Aesthetic Quality  the share of objects that are beyond doubt, out of 2, rounded down

A picture without objects, or without a background, gets 0 for the last two. The overall score is
the mean of the six kinds, which WISE itself weighs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ladder.config.files import write_text
from ladder.evaluation.image_grids import Tile, save_grid
from ladder.evaluation.outcomes import Outcome
from ladder.evaluation.scorers import wise
from ladder.evaluation.scorers.geneval import SURE, SURE_WHEN_COUNTING, judge
from ladder.evaluation.toy.geneval import GenevalToy
from ladder.evaluation.toy.observe import Observed, by_class
from ladder.evaluation.toy.test_set import REASONING, HeldOutPrompt, evaluation_prompts
from ladder.evaluation.vlm_judges.oracle import Oracle
from ladder.world.oracle import Detections
from ladder.world.reasoning_prompts import KINDS

SHOWN = 7
"""Prompts of each kind in a grid."""
CATEGORIES = dict(zip(KINDS, wise.LEGACY, strict=True))
"""WISE's category in whose place a kind stands."""


def judge_text(prompt: HeldOutPrompt, found: Detections) -> str:
    """The three marks, a line each."""
    scores = [thing.score for thing in found.things if found.background]
    shapes = {thing.shape for thing in found.things if thing.score > SURE}
    meant = {clause["class"] for clause in prompt.row["include"]}
    right = judge(prompt.row, by_class(found)).correct
    marks = {
        "Consistency": wise.HIGHEST if right else int(bool(meant & shapes)),
        "Realism": share(scores, SURE),
        "Aesthetic Quality": share(scores, SURE_WHEN_COUNTING),
    }
    return "\n".join(f"{name}: {mark}" for name, mark in marks.items())


def share(scores: Sequence[float], limit: float) -> int:
    """Of the scores above a limit, out of the highest mark, rounded down; 0 of none."""
    above = sum(score > limit for score in scores)
    return wise.HIGHEST * above // len(scores) if scores else 0


@dataclass(frozen=True)
class WiseToy(GenevalToy):
    """The benchmark; it asks `evaluation.prompts` of each kind, and of each prompt it sees
    `evaluation.images` pictures."""

    name = "knowledge"

    @cached_property
    def prompts(self) -> list[HeldOutPrompt]:
        number = len(KINDS) * self.evaluation.prompts
        return evaluation_prompts(REASONING, number, self.evaluation.seed)

    @property
    def groups(self) -> list[str]:
        """The kind of each prompt; the floor stays within it."""
        return [prompt.kind for prompt in self.prompts]

    def score(self, seen: Sequence[Sequence[Observed]]) -> list[Outcome]:
        """The WiScore of each picture, from 0 to 1, with the judge's text."""
        outcomes = []
        for number, (prompt, pictures) in enumerate(zip(self.prompts, seen, strict=True)):
            for place, picture in enumerate(pictures):
                text = judge_text(prompt, picture.found)
                found = (prompt.kind, number, prompt.text, place, wise.fixed_wiscore(text), text)
                outcomes.append(Outcome("wise_toy", *found))
        return outcomes

    def save(
        self,
        seen: Sequence[Sequence[Observed]],
        outcomes: Sequence[Outcome],
        notes: Path,
        grids: Path,
    ) -> None:
        """Write wise.json, the marks in the form that WISE's scorer reads, into `notes`, and
        wise.png, first pictures of the first prompts, into `grids`."""
        file = {"judge": Oracle.name, "judge_version": Oracle.version,
                "items": [self.item(one) for one in outcomes]}  # fmt: skip
        write_text(notes / "wise.json", json.dumps(file) + "\n")
        tiles: dict[str, list[Tile]] = {}
        for one in (one for one in outcomes if one.picture == 0):
            right = one.said.startswith(f"Consistency: {wise.HIGHEST}")
            tile = Tile(seen[one.number][0].pixels, one.prompt, right)
            tiles.setdefault(one.group, []).append(tile)
        save_grid([(kind, row[:SHOWN]) for kind, row in tiles.items()], grids / "wise.png")

    def item(self, one: Outcome) -> dict[str, Any]:
        """A picture as WISE's scorer reads it: its number puts it into a category."""
        place = [number for number, kind in enumerate(self.groups) if kind == one.group]
        first = wise.LEGACY[CATEGORIES[one.group]].first
        about = {"prompt_id": first + place.index(one.number), "prompt": one.prompt}
        return about | {"key": f"{one.number}/{one.picture}", "answers": [{"text": one.said}]}
