"""TIIF-Bench in the toy world: the same scene asked for in few words and in many, yes-no questions.

The world has eight of TIIF-Bench's attributes, in five of its nine groups; it knows no texture,
action, depth, lettering, style or photographs. The short prompt is a caption of `ladder.world`,
held out from training; the long one describes the same scene in full, object by object. Both are
asked the same questions. An attribute has as many questions in every prompt, and a group as many
prompts of each of its attributes, so that the scorer's numbers are means over prompts and get
their intervals from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from ladder.config.load import Evaluation
from ladder.evaluation.confidence import interval, mean_of_groups
from ladder.evaluation.scorers import tiif
from ladder.evaluation.toy.dpg import told_in_full
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

Answered = Mapping[str, Sequence[str]]
"""The answers about the two pictures of a pair, by length."""


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


def records(asked: Sequence[Pair], answers: Sequence[Answered]) -> list[dict[str, Any]]:
    """What the scorer reads: a record for each pair and length."""
    return [
        {"attribute": pair.attribute, "length": length, "row": row,
         "expected": [*pair.questions.values()], "answered": answered[length]}
        for row, (pair, answered) in enumerate(zip(asked, answers, strict=True))
        for length in tiif.LENGTHS
    ]  # fmt: skip


def scores(
    asked: Sequence[Pair], answers: Sequence[Answered], evaluation: Evaluation
) -> dict[str, dict]:
    """For each length the share of questions that were answered as expected, over all and by
    group, and the share of yes among the answers."""
    draws = (evaluation.resamples, evaluation.seed)
    metrics = {}
    for length in tiif.LENGTHS:
        groups: dict[str, list[float]] = {}
        for pair, share in zip(asked, by_prompt(asked, answers, length), strict=True):
            groups.setdefault(pair.group, []).append(share)
        own = [record for record in records(asked, answers) if record["length"] == length]
        yes = [tiif.yes_rate([record]) for record in own]
        metrics[length] = {"overall": asdict(mean_of_groups(groups, *draws))}
        metrics[length] |= {name: asdict(interval(x, *draws)) for name, x in groups.items()}
        metrics[length]["yes_rate"] = asdict(interval(yes, *draws))
    return metrics


def by_prompt(asked: Sequence[Pair], answers: Sequence[Answered], length: str) -> list[float]:
    """The score of each prompt of a length: the scorer's own, of that prompt alone."""
    side = tiif.LENGTHS.index(length)
    return [
        tiif.fixed([record])[tiif.OVERALL][side]
        for record in records(asked, answers)
        if record["length"] == length
    ]
