"""The results of a study: as committed, and however writing them is cut short."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ladder.experiments import store
from ladder.experiments.results import LEGACY, RESULTS, RUNS, TABLES, read_rows, read_table
from ladder.experiments.store import Result, add

ROOT = Path(__file__).parents[2]
MOST_BYTES = 2_000_000


def result(arm: str, seed: int, score: float, run: str = "") -> Result:
    row = {"run": run or f"{arm}-{seed}", "preset": "main", "arm": arm, "seed": seed}
    return Result(row, {"outcomes": pd.DataFrame({"score": [score]})})


def scores(folder: Path) -> dict[str, float]:
    return read_table(folder, "outcomes").set_index("run")["score"].to_dict()


def test_runs_are_added_in_a_fixed_order_and_replaced_by_arm_and_seed(tmp_path: Path):
    add(tmp_path / "a", [result("y", 1, 0.1), result("x", 2, 0.2)])
    add(tmp_path / "a", [result("x", 1, 0.3)])
    add(tmp_path / "b", [result("x", 1, 0.3), result("x", 2, 0.2)])
    add(tmp_path / "b", [result("y", 1, 0.5, "older")])
    add(tmp_path / "b", [result("y", 1, 0.1)])
    assert [row["run"] for row in read_rows(tmp_path / "b")] == ["x-1", "x-2", "y-1"]
    assert scores(tmp_path / "b") == {"x-1": 0.3, "x-2": 0.2, "y-1": 0.1}
    for name in (RUNS, "outcomes.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_run_is_no_result_before_its_line_is_written(tmp_path: Path, monkeypatch):
    """Killed between the tables and the lines: the next time it is added as if for the first."""
    add(tmp_path / "a", [result("x", 1, 0.3)])

    def killed(path: Path, text: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            add(tmp_path / "a", [result("x", 2, 0.2)])
    assert [row["run"] for row in read_rows(tmp_path / "a")] == ["x-1"]
    add(tmp_path / "a", [result("x", 2, 0.2)])
    assert scores(tmp_path / "a") == {"x-1": 0.3, "x-2": 0.2}


def test_the_committed_results_are_small_and_whole():
    found = [path for name in ("layers", "monitors") for path in (ROOT / RESULTS / name).rglob("*")]
    assert sum(path.stat().st_size for path in found if path.is_file()) < MOST_BYTES
    for name in ("layers", "monitors"):
        rows = read_rows(ROOT / RESULTS / name)
        finished = {row["run"] for row in rows if row["status"] == "finished"}
        for table in TABLES:
            assert {*read_table(ROOT / RESULTS / name, table)["run"]} == finished
        for row in rows:
            assert row["status"] == "finished" or row["error"]
            if row["code"] == LEGACY:
                assert row["provenance"]["git"]
                assert row["date"]
