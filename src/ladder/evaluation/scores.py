"""From pictures and answers to metrics; every leaf is an `Interval` clustered by prompt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from ladder.evaluation.edits import EditScore
from ladder.evaluation.geneval import judge
from ladder.evaluation.intervals import Interval, interval, mean_of_groups
from ladder.evaluation.observe import observe
from ladder.world.draws import Asked
from ladder.world.questions import Question


class Scorer:
    """Puts intervals on groups of values, one value a prompt."""

    def __init__(self, resamples: int, seed: int) -> None:
        self.resamples, self.seed = resamples, seed

    def groups(self, groups: dict[str, list[float]]) -> dict[str, Interval]:
        """The unweighted mean of the groups as `overall`, and each group."""
        overall = mean_of_groups(groups, self.resamples, self.seed)
        parts = {
            name: interval(values, self.resamples, self.seed) for name, values in groups.items()
        }
        return {"overall": overall, **parts}

    def prompts(
        self, asked: Sequence[Asked], pictures: Sequence[np.ndarray]
    ) -> dict[str, Interval]:
        """Share of pictures that show what their prompt says, by kind of prompt."""
        groups: dict[str, list[float]] = defaultdict(list)
        for prompt, shown in zip(asked, pictures, strict=True):
            right = [judge(prompt.row, observe(picture)).correct for picture in shown]
            groups[prompt.kind].append(float(np.mean(right)))
        return self.groups(groups)

    def edits(self, kinds: Sequence[str], scores: Sequence[EditScore]) -> dict[str, Interval]:
        """followed, kept and exact over all edits, and each kind's share of followed ones."""
        found = {
            name: [value for score in scores if (value := getattr(score, name)) is not None]
            for name in ("followed", "kept", "exact")
        }
        for kind, score in zip(kinds, scores, strict=True):
            found.setdefault(f"followed_{kind}", []).append(score.followed)
        return {
            name: interval(values, self.resamples, self.seed) for name, values in found.items()
        }

    def answers(self, questions: Sequence[Question], answers: Sequence[str]) -> dict[str, Interval]:
        """Share of right answers, by kind of question."""
        groups: dict[str, list[float]] = defaultdict(list)
        for question, answer in zip(questions, answers, strict=True):
            groups[question.kind].append(float(same_words(answer, question.answer)))
        return self.groups(groups)


def same_words(a: str, b: str) -> bool:
    """Equal but for case and white space."""
    return a.lower().split() == b.lower().split()
