"""`ladder power`: the smallest differences that the ablations could find, before they are run."""

from __future__ import annotations

import pandas as pd

from ladder.config.load import Config
from ladder.experiments.statistics import minimum_detectable_effect
from ladder.experiments.study import Study
from ladder.world.edits import KINDS
from ladder.world.language import TASKS

PROMPT_DEVIATION, SEED_DEVIATION = 0.4, 0.03
"""Assumed of a difference of two arms: between prompts, for scores that are mostly 0 or 1, and
between seeds."""


def power(study: Study, config: Config) -> pd.DataFrame:
    """A row for each metric: its prompts, the seeds, and the smallest true difference to the
    control (points of 100) that would be found with 80% power after Holm's correction.

    Raises ValueError for fewer than two seeds.
    """
    asked = config.evaluation
    prompts = {
        "geneval_toy": len(TASKS) * asked.prompts,
        "reasoning": asked.prompts,
        **{name: len(KINDS) * asked.edits for name in study.outcomes if name.startswith("edit.")},
    }
    seeds, others = len(study.seeds), len(study.arms) - 1
    return pd.DataFrame(
        {
            "metric": name,
            "prompts": prompts[name],
            "seeds": seeds,
            "detectable": 100 * minimum_detectable_effect(
                prompts[name], seeds, PROMPT_DEVIATION, SEED_DEVIATION, others
            ),
        }
        for name in study.outcomes
        if name in prompts
    )  # fmt: skip
