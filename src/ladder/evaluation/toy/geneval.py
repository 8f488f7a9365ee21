"""Scores of text to image: GenEval's six tasks in the toy world, and prompts that need thought.

One function turns what was observed into metrics. It gives the score of a ladder for the pictures
that it drew, the floor for the pictures of other prompts, and the ceiling for the autoencoder's
reconstructions of scenes of which the prompts are true.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from ladder.config.load import Evaluation
from ladder.evaluation.confidence import interval, mean_of_groups
from ladder.evaluation.scorers.geneval import Observation, judge
from ladder.evaluation.toy.test_set import Asked, evaluation_prompts
from ladder.world.language import TASKS

THOUGHT = "thought"


def prompts(evaluation: Evaluation) -> list[Asked]:
    """The prompts of the six tasks, then those that need thought."""
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
    shares: dict[str, list[float]] = defaultdict(list)
    kinds: dict[str, list[float]] = defaultdict(list)
    for prompt, observations in zip(asked, seen, strict=True):
        right = [judge(prompt.row, observation).correct for observation in observations]
        shares[prompt.row["tag"]].append(float(np.mean(right)))
        if prompt.row["tag"] == THOUGHT:
            kinds[prompt.kind].append(float(np.mean(right)))
    draws = (evaluation.resamples, evaluation.seed)
    tasks = {task: shares[task] for task in TASKS}
    return {
        "geneval_toy": {"overall": asdict(mean_of_groups(tasks, *draws))}
        | {task: asdict(interval(values, *draws)) for task, values in tasks.items()},
        THOUGHT: {"overall": asdict(interval(shares[THOUGHT], *draws))}
        | {kind: asdict(interval(values, *draws)) for kind, values in kinds.items()},
    }
