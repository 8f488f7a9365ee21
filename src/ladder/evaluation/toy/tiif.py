"""TIIF-Bench in the toy world: the same scene asked for in few words and in many, yes-no questions.

The world has eight of TIIF-Bench's attributes, in five of its nine groups; it knows no texture,
action, depth, lettering, style or photographs. The short prompt is a caption of `ladder.world`,
held out from training; the long one describes the same scene in full, object by object. Both are
asked the same questions. An attribute has as many questions in every prompt, and a group as many
prompts of each of its attributes, so that the scorer's numbers are means over prompts and get
their intervals from them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from ladder.config.files import write_text
from ladder.config.load import Evaluation, Sampling
from ladder.evaluation.bounds import reconstructed
from ladder.evaluation.generate import draw
from ladder.evaluation.outcomes import Outcome
from ladder.evaluation.scorers import tiif
from ladder.evaluation.toy.dpg import told_in_full
from ladder.evaluation.toy.observe import Observed
from ladder.evaluation.vlm_judges.oracle import Oracle, reply
from ladder.inference.pipeline import LadderPipeline
from ladder.world import language, reasoning_prompts
from ladder.world.language import Clause, held_out, noun
from ladder.world.sampling import Speaker, draw_kind
from ladder.world.scenes import Scene

PROMPTS = 8
"""Of each attribute, however many prompts of other kinds are asked."""
ATTRIBUTES: dict[str, tuple[str, Speaker]] = {
    "shape+color": ("pair", language.color_attr),
    "2d_spatial_relation": ("pair", language.position),
    "numeracy": ("group", language.counting),
    "negation": ("one", reasoning_prompts.negation),
    "comparison": ("pair", reasoning_prompts.comparison),
    "color+2d": ("pair", partial(language.position, colored=True)),
    "numeracy+color": ("group", partial(language.counting, colored=True)),
    "differentiation+color": ("pair", reasoning_prompts.reference),
}
"""The kind of scene and the short captions of each attribute."""


@dataclass(frozen=True)
class Pair:
    """A scene with its short and its long prompt."""

    attribute: str
    texts: dict[str, str]
    """By length."""
    scene: Scene
    questions: dict[str, str]
    """With the answers that are expected."""

    @property
    def group(self) -> str:
        """The first words of its group's name in the official summary."""
        names = (name for name, members in tiif.GROUPS.items() if self.attribute in members)
        return next(names).split(" - ")[0]


def prompts(seed: int) -> list[Pair]:
    """`PROMPTS` different ones of every attribute."""
    rng = np.random.default_rng([seed, 4])
    found: dict[str, Pair] = {}
    for index, (attribute, (kind, speaker)) in enumerate(ATTRIBUTES.items(), 1):
        while len(found) < index * PROMPTS:
            scene = draw_kind(rng, kind)
            caption = speaker(rng, scene)
            if held_out(caption.text) and caption.text not in found:
                texts = {"short": caption.text, "long": told_in_full(rng, scene)}
                found[caption.text] = Pair(attribute, texts, scene, questions(caption.row))
    return [*found.values()]


def questions(row: dict) -> dict[str, str]:
    """What follows from a row of GenEval's form: questions and their answers."""
    clauses = [Clause(one["class"], one["count"], one.get("color"), one.get("size"))
               for one in row["include"]]  # fmt: skip
    asked = {
        f"{'is' if clause.count == 1 else 'are'} there {noun(clause)}?": "yes" for clause in clauses
    }
    last = row["include"][-1]
    if "position" in last:
        target, placed = (noun(clause).split(" ", 1)[1] for clause in clauses)
        asked[f"is the {placed} {last['position'][0]} the {target}?"] = "yes"
    if last.get("size"):
        a, b = clauses
        more = "larger" if a.size == "large" else "smaller"
        asked[f"is the {a.shape} {more} than the {b.shape}?"] = "yes"
    for denied in row.get("exclude", ()):
        clause = Clause(denied["class"], denied["count"], last.get("color"))
        asked[f"{'is' if clause.count == 1 else 'are'} there {noun(clause)}?"] = "no"
    return asked


@dataclass(frozen=True)
class TiifToy:
    """The benchmark; of each pair it sees a picture of the short and one of the long prompt."""

    evaluation: Evaluation
    sampling: Sampling
    model: str
    """The name of the run, for the notes."""
    name = "lengths"

    @cached_property
    def prompts(self) -> list[Pair]:
        return prompts(self.evaluation.seed)

    @property
    def groups(self) -> list[str]:
        """The attribute of each pair; the floor stays within it."""
        return [pair.attribute for pair in self.prompts]

    def observe(self, pipeline: LadderPipeline) -> list[dict[str, Observed]]:
        """Draw both prompts of every pair and look at the pictures, by length."""
        seen: list[dict[str, Observed]] = [{} for _ in self.prompts]
        seed, sources = self.evaluation.seed, [None] * len(self.prompts)
        for length in tiif.LENGTHS:
            texts = [pair.texts[length] for pair in self.prompts]
            drawn = draw(pipeline, texts, sources, 1, self.sampling, seed, f"{length} prompts")
            for pictures, picture in zip(seen, drawn[:, 0], strict=True):
                pictures[length] = Observed.of(picture)
        return seen

    def ceiling(self, pipeline: LadderPipeline) -> list[dict[str, Observed]]:
        """The reconstruction of the scene of each pair, for both lengths."""
        scenes = [pair.scene for pair in self.prompts]
        best = reconstructed(pipeline.vae, scenes, self.sampling.batch)
        return [dict.fromkeys(tiif.LENGTHS, Observed.of(picture)) for picture in best]

    def score(self, seen: Sequence[Mapping[str, Observed]]) -> list[Outcome]:
        """The share of questions answered as expected (the scorer's overall score of that prompt
        alone), and the share of yes among the answers."""
        outcomes = []
        for side, length in enumerate(tiif.LENGTHS):
            for number, (pair, pictures) in enumerate(zip(self.prompts, seen, strict=True)):
                record = record_of(pair, number, length, pictures[length])
                place = (pair.group, number, pair.texts[length], 0)
                score = tiif.fixed([record])[tiif.OVERALL][side]
                outcomes += [
                    Outcome(f"tiif_toy.{length}", *place, score, record),
                    Outcome(f"tiif_toy.{length}.yes_rate", *place, tiif.yes_rate([record])),
                ]
        return outcomes

    def save(
        self,
        seen: Sequence[Mapping[str, Observed]],
        outcomes: Sequence[Outcome],
        notes: Path,
        grids: Path,
    ) -> None:
        """Write tiif.jsonl, the answers in TIIF-Bench's form, into `notes`."""
        records = [one.said for one in outcomes if one.said]
        line = {"judge": Oracle.name, "model": self.model, "records": records}
        write_text(notes / "tiif.jsonl", json.dumps(line) + "\n")


def record_of(pair: Pair, row: int, length: str, picture: Observed) -> dict[str, Any]:
    """What the scorer reads of one picture: the expected answers, and those of the oracle."""
    return {
        "attribute": pair.attribute,
        "length": length,
        "row": row,
        "expected": [*pair.questions.values()],
        "answered": [reply(picture.found, text) for text in pair.questions],
    }
