"""GenEval 2: questions about every object, attribute, number and relation of a prompt (Soft-TIFA).

A question scores the probability that the judge's first token is the right answer, in any spelling;
a prompt the mean (AM) or the geometric mean (GM) of its questions; the benchmark 100 times the mean
of its prompts. Skills are AM over questions, atomicities GM over prompts
(https://github.com/facebookresearch/GenEval2; arXiv 2512.16853).

The official judge is Qwen3-VL-8B, run locally: `official` adds up its probabilities of the first
token of each spelling. A server tells its likeliest tokens only, so ours is equal up to what lies
beyond them, and up to spellings that the judge's tokenizer cuts; it hasn't been compared with the
official judge on pictures. `fixed` takes tokens whatever their case and spaces. A judge that tells
no probabilities is scored 0 or 1 by its text (the older TIFA), and `method` says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ladder.evaluation.scorers.items import (
    Item,
    ScoredItem,
    mean,
    read_items,
    require_known,
    status_of,
    what_is_missing,
)
from ladder.evaluation.scorers.judge_text import LONGEST, final_text

COUNTED = "How many"
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
COUNTS = (*NUMBERS, "zero", "none", "eleven", "twelve", "thirteen", "fourteen", "fifteen",
          "sixteen", "seventeen", "eighteen", "nineteen", "twenty")  # fmt: skip
"""Words for numbers that a judge may answer with."""
SKILLS = ("object", "attribute", "count", "position", "verb")
ATOMICITIES = range(3, 11)


def spellings(question: str, answer: str) -> set[str]:
    """The tokens that count as right: of a number the word and the digits, else yes."""
    words = {"Yes", "yes"}
    if question.startswith(COUNTED):
        words = {answer, answer.capitalize()}
        words |= {str(NUMBERS.index(answer) + 1)} if answer in NUMBERS else set()
    return words | {f" {word}" for word in words}


def atom(question: str, answer: str, said: Mapping[str, Any], exact: bool) -> float:
    """From 0 to 1: how sure the judge is of the right answer, or 0 or 1 by its text."""
    right = spellings(question, answer)
    plain = {word.strip().lower() for word in right}
    known = said.get("probabilities")
    if known is None:
        return float(fits(said["text"], question) in plain)
    if exact:
        return sum(p for token, p in known.items() if token in right)
    return min(1.0, sum(p for token, p in known.items() if token.strip().lower() in plain))


def fits(text: str, question: str) -> str | None:
    """The one word that the judge is told to answer with; None for anything else.

    It is a number where one is asked, else yes or no. The published script looks at probabilities
    alone, and makes a low score of a refusal.
    """
    found = final_text(text).strip(" *\"'`").rstrip(".!").lower()
    if question.startswith(COUNTED):
        return found if found in COUNTS or (found.isdecimal() and len(found) <= LONGEST) else None
    return found if found in ("yes", "no") else None


def geometric_mean(values: Sequence[float]) -> float:
    """0 if one value is 0."""
    if min(values) <= 0:
        return 0.0
    return float(np.exp(np.mean(np.log(values))))


def score(text: str, _: Any, per_item: bool) -> dict[str, Any]:
    """The scores of a file of observations."""
    items = read_items(text)
    require_known((skill for item in items for skill in item["skills"]), SKILLS, "skill")
    require_known((item["atom_count"] for item in items), ATOMICITIES, "atom_count")
    scored = [
        ScoredItem(item, _atoms(item, exact=True), _atoms(item, exact=False)) for item in items
    ]
    known = [answer.get("probabilities") is not None for item in items
             for answer in item["answers"] if status_of(answer) == "answered"]  # fmt: skip
    method = "soft_tifa" if known and all(known) else "tifa"
    pairs = {
        mode: [(one.item, getattr(one, mode)) for one in scored if getattr(one, mode)]
        for mode in ("official", "fixed")
    }
    result: dict[str, Any] = {mode: _summary(found) for mode, found in pairs.items()}
    groups = {"all": [100 * geometric_mean(atoms) for _, atoms in pairs["fixed"]]}
    result |= {"method": method, "groups": groups} | what_is_missing(scored)
    result |= {"note": "unverified against the official judge, Qwen3-VL-8B run by its own script"}
    rows = [{"key": one.item["key"], "official": one.official, "fixed": one.fixed}
            for one in scored]  # fmt: skip
    return result | ({"items": rows} if per_item else {})


def _atoms(item: Item, exact: bool) -> list[float] | None:
    answers = item["answers"]
    if not answers or any(status_of(one) != "answered" for one in answers):
        return None
    return [
        atom(question, answer, said, exact)
        for (question, answer), said in zip(item["vqa_list"], answers, strict=True)
    ]


def _summary(pairs: Sequence[tuple[Item, list[float]]]) -> dict[str, Any]:
    def percent(values: Sequence[float]) -> float | None:
        found = mean(values)
        return None if found is None else 100 * found

    skills = {
        skill: percent([
            value
            for item, atoms in pairs
            for name, value in zip(item["skills"], atoms, strict=True)
            if name == skill
        ])
        for skill in SKILLS
    }  # fmt: skip
    atomicity = {
        str(count): percent([geometric_mean(a) for item, a in pairs if item["atom_count"] == count])
        for count in ATOMICITIES
    }
    return {
        "soft_tifa_gm": percent([geometric_mean(atoms) for _, atoms in pairs]),
        "soft_tifa_am": percent([float(np.mean(atoms)) for _, atoms in pairs]),
        "skills": skills,
        "atomicity": atomicity,
    }
