"""Scores of text to image: GenEval's six tasks in the toy world, and prompts that need thought.

One function turns what was observed into metrics. It gives the score of a ladder for the pictures
that it drew, the floor for the pictures of other prompts, and the ceiling for the autoencoder's
reconstructions of scenes of which the prompts are true.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from ladder.config import Evaluation
from ladder.evaluation.geneval import Observation, judge
from ladder.evaluation.intervals import interval, mean_of_groups
from ladder.world.draws import Asked, evaluation_prompts
from ladder.world.language import TASKS

THOUGHT = "thought"


def prompts(evaluation: Evaluation) -> list[Asked]:
    """The prompts of all tasks, then those that need thought."""
    return [
        asked
        for task in (*TASKS, THOUGHT)
        for asked in evaluation_prompts(task, evaluation.prompts, evaluation.seed)
    ]


def scores(
    asked: Sequence[Asked], seen: Sequence[Sequence[Observation]], evaluation: Evaluation
) -> dict[str, dict]:
    """The metrics of pictures, of which `seen` has those of each prompt.

    As in GenEval, a task's score is the share of right pictures, and the overall score is the
    unweighted mean of the six tasks. Thought stands apart, over all and by kind.
    """
    values = [
        float(np.mean([judge(prompt.row, observation).correct for observation in observations]))
        for prompt, observations in zip(asked, seen, strict=True)
    ]
    draws = (evaluation.resamples, evaluation.seed)

    def pick(attribute: str, value: str) -> list[float]:
        pairs = zip(asked, values, strict=True)
        tags = ({"tag": prompt.row["tag"], "kind": prompt.kind} | {"value": v} for prompt, v in pairs)
        return [entry["value"] for entry in tags if entry[attribute] == value]

    tasks = {task: pick("tag", task) for task in TASKS}
    kinds = dict.fromkeys(prompt.kind for prompt in asked if prompt.row["tag"] == THOUGHT)
    return {
        "geneval_toy": {"overall": asdict(mean_of_groups(tasks, *draws))}
        | {task: asdict(interval(group, *draws)) for task, group in tasks.items()},
        THOUGHT: {"overall": asdict(interval(pick("tag", THOUGHT), *draws))}
        | {kind: asdict(interval(pick("kind", kind), *draws)) for kind in kinds},
    }
