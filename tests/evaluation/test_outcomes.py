"""One table gives every score: the committed ones to the last digit, whichever form it has."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ladder.evaluation import outcomes
from ladder.evaluation.outcomes import COLUMNS, Outcome, aggregate, by_prompt, table

RESULTS = Path(__file__).parents[2] / "experiments/results"


def leaves(metrics: dict, path: str = "") -> dict[str, dict]:
    """Every score of a result by its dotted path."""
    if set(metrics) == {"mean", "low", "high", "n"}:
        return {path: metrics}
    return {
        name: leaf
        for key, value in metrics.items()
        for name, leaf in leaves(value, f"{path}.{key}" if path else key).items()
    }


def rows(metric: str, scores: dict[str, list[list[float]]]) -> pd.DataFrame:
    """A table of groups of prompts, each with the scores of its pictures."""
    numbered = [(group, pictures) for group, prompts in scores.items() for pictures in prompts]
    return table(
        Outcome(metric, group, number, f"prompt {number}", place, score)
        for number, (group, pictures) in enumerate(numbered)
        for place, score in enumerate(pictures)
    )


def test_the_committed_scores_are_those_of_the_committed_table():
    path = RESULTS / "ladder-0.json"
    result = json.loads(path.read_text())
    asked = result["config"]["evaluation"]
    found = leaves(aggregate(outcomes.read(path), asked["resamples"], asked["seed"]))
    committed = leaves(result["metrics"])
    assert len(found) == 91
    assert found == {name: committed[name] for name in found}


def test_pictures_are_averaged_in_their_prompt_and_groups_count_the_same():
    found = rows("geneval_toy", {"a": [[1, 0], [1, 1]], "b": [[0, 0, 0, 1]]})
    assert by_prompt(found)["score"].tolist() == [0.5, 1, 0.25]
    scores = aggregate(found, 100, seed=0)["geneval_toy"]
    assert {name: one["mean"] for name, one in scores.items()} == {
        "overall": 0.5, "a": 0.75, "b": 0.25,
    }  # fmt: skip
    assert {name: one["n"] for name, one in scores.items()} == {"overall": 3, "a": 2, "b": 1}


def test_prompts_of_a_pooled_metric_count_the_same():
    found = rows("reasoning", {"a": [[1], [1]], "b": [[0]]})
    assert aggregate(found, 100, seed=0)["reasoning"]["overall"]["mean"] == pytest.approx(2 / 3)
    assert outcomes.weights("reasoning", ["a", "a", "b"]).tolist() == [1, 1, 1]


def test_weights_give_the_overall_score():
    groups, scores = ["a", "a", "a", "b"], np.array([1.0, 0.0, 0.0, 1.0])
    counts = outcomes.weights("geneval_toy", groups)
    assert counts.mean() == 1
    assert (counts * scores).mean() == pytest.approx((1 / 3 + 1) / 2)


def test_an_edit_stands_under_its_kind():
    scores = aggregate(rows("edit.kept", {"add": [[1]], "move": [[0]]}), 100, seed=0)["edit"]
    assert scores["kept"]["mean"] == 0.5
    assert scores["kinds"]["add"]["kept"]["mean"] == 1


def test_an_unknown_metric_is_named():
    with pytest.raises(ValueError, match=r"a metric is one of geneval_toy, .*, got 'fid'"):
        aggregate(rows("fid", {"a": [[1]]}), 100, seed=0)


def test_a_table_is_read_as_it_was_written(tmp_path: Path):
    written = table(
        [
            Outcome("geneval_toy", "a", 0, "a star", 1, 1 / 3),
            Outcome("understanding", "b", 7, "null", None, 0.1),
        ]
    )
    outcomes.write(written, tmp_path / "x-0.outcomes.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["x-0.outcomes.parquet"]
    read = outcomes.read(tmp_path / "x-0.json")
    assert [*read.columns] == [*COLUMNS]
    pd.testing.assert_frame_equal(read, written)


def test_an_older_table_is_read_with_the_names_of_today(tmp_path: Path):
    text = "metric,group,number,prompt,score\nthought,negation,3,null,0.1\n"
    (tmp_path / "x-0.csv").write_text(text)
    (row,) = outcomes.read(tmp_path / "x-0.json").itertuples(index=False)
    assert (row.metric, row.number, row.prompt, row.score) == ("reasoning", 3, "null", 0.1)
    assert row.picture is pd.NA
    with pytest.raises(FileNotFoundError, match="y-0"):
        outcomes.read(tmp_path / "y-0.json")
