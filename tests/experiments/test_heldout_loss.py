"""The loss on held-out samples as outcomes of a run."""

from __future__ import annotations

import pandas as pd
import pytest

from ladder.evaluation.outcomes import COLUMNS, metric_of
from ladder.experiments.heldout_loss import SETS, as_outcomes
from ladder.experiments.results import Run
from ladder.experiments.statistics import Analysis


def losses(level: float) -> dict[str, pd.DataFrame]:
    """Two samples of each set at two times; edits cost .1 more."""
    return {
        name: pd.DataFrame(
            [[level + more, level + more + 0.2], [level + more, level + more + 0.4]],
            index=pd.Index(["a star", "a star"], name="prompt"),
            columns=[0.2, 0.9],
        )
        for name, more in zip(SETS, (0.0, 0.1), strict=True)
    }


def test_each_sample_is_a_row_with_its_mean_over_times():
    """Two samples of one caption are two."""
    table = as_outcomes(losses(0.5))
    assert [*table.columns] == [*COLUMNS]
    assert table.groupby("metric")["score"].apply(list).to_dict() == {
        "heldout_loss.t2i": pytest.approx([0.6, 0.7]),
        "heldout_loss.ti2i": pytest.approx([0.7, 0.8]),
    }
    assert table["number"].tolist() == [0, 1, 0, 1]
    assert all(metric_of(metric).lower_is_better for metric in table["metric"])


def test_arms_are_compared_by_it():
    config = {"evaluation": {}, "sampling": {}}
    runs = [
        Run(arm, seed, config, as_outcomes(losses(level + 0.01 * seed)))
        for arm, level in (("ladder", 0.5), ("last", 0.6))
        for seed in (1, 2)
    ]
    for name in SETS:
        found = Analysis.of(runs, f"heldout_loss.{name}").difference("ladder", "last")
        assert found.mean == pytest.approx(-0.1)
        assert (found.seeds, found.prompts) == (2, 2)
