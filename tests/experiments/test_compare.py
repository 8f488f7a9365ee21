"""The table that compares two arms."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ladder.experiments.compare import METRICS, compare


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two arms with three seeds each; x finds 30% more right than y, but only text to image."""
    rng = np.random.default_rng(0)
    for arm, better in (("x", 0.3), ("y", 0.0)):
        for seed in (0, 1, 2):
            rows = [
                {
                    "metric": metric,
                    "group": f"kind {number % 3}",
                    "number": number,
                    "prompt": f"prompt {number}",
                    "score": rng.random() * 0.5 + (better if metric == "geneval_toy" else 0),
                }
                for metric in METRICS
                for number in range(60)
            ]
            pd.DataFrame(rows).to_csv(tmp_path / f"{arm}-{seed}.csv", index=False)
            config = {"evaluation": {"seed": 0}, "sampling": {"steps": 20}}
            (tmp_path / f"{arm}-{seed}.json").write_text(json.dumps({"config": config}))
    return tmp_path


def test_a_row_for_every_metric_with_its_verdict(results: Path):
    title, _, *rows = compare("x", "y", [0, 1, 2], folder=results).splitlines()
    assert title.startswith("| x - y, 3 seeds |")
    assert [row.split(" | ")[0].strip("| ") for row in rows] == [*METRICS]
    verdicts = [row.rstrip(" |").rsplit("| ", 1)[1].partition(";")[0] for row in rows]
    assert verdicts == ["better"] + ["not distinguishable"] * (len(METRICS) - 1)
    assert all("would be found" in row for row in rows[1:])
    back = compare("y", "x", [0, 1, 2], folder=results).splitlines()[2]
    assert back.endswith("| worse |")
    assert float(back.split("|")[2]) == pytest.approx(-30, abs=5)


def test_a_metric_that_one_of_the_arms_lacks_is_left_out(results: Path):
    rows = pd.read_csv(results / "x-1.csv")
    rows[rows["metric"] != "edit.kept"].to_csv(results / "x-1.csv", index=False)
    said = compare("x", "y", [0, 1, 2], folder=results)
    assert "edit.kept" not in said
    assert "edit.exact" in said


def test_a_run_that_was_not_evaluated_is_named(results: Path):
    with pytest.raises(FileNotFoundError, match=r"x-3\.json"):
        compare("x", "y", [0, 3], folder=results)
