"""What a study could find, from its numbers of prompts and seeds."""

from __future__ import annotations

import pytest

from ladder.experiments.power import power
from ladder.experiments.study import Study

STUDY = Study(
    notebook="x.ipynb",
    analysis="scores",
    control="last",
    arms=["ladder", "last", "mean"],
    seeds=[1, 2, 3, 4, 5],
    outcomes=["geneval_toy", "reasoning", "edit.exact"],
)


def test_more_prompts_and_more_seeds_find_smaller_differences(config):
    rows = power(STUDY, config).set_index("metric")
    assert rows.loc["geneval_toy", "prompts"] == 6 * config.evaluation.prompts
    assert rows.loc["edit.exact", "prompts"] == 7 * config.evaluation.edits
    assert rows.loc["geneval_toy", "detectable"] < rows.loc["reasoning", "detectable"]
    fewer = power(STUDY.model_copy(update={"seeds": [1, 2]}), config).set_index("metric")
    assert (fewer["detectable"] > rows["detectable"]).all()
    more = STUDY.model_copy(update={"arms": [*"abcdefgh", "last"]})
    assert (power(more, config).set_index("metric")["detectable"] > rows["detectable"]).all()


def test_one_seed_finds_nothing(config):
    with pytest.raises(ValueError, match="2 seeds"):
        power(STUDY.model_copy(update={"seeds": [1]}), config)
