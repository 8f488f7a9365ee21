"""The report on made-up cells: whose effect is known, of which some are missing or failed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ladder.config.layers import ConfigError
from ladder.experiments.report.figures import GAP, strip_figure
from ladder.experiments.report.page import report
from ladder.experiments.report.tables import (
    METRICS,
    PUBLISHED,
    PUBLISHED_EDITS,
    caught_by_kind,
    cost,
    failures,
    full_length,
    monitors,
    published,
    scores,
)
from ladder.experiments.study import Cell, Study, read_cells, read_full_length

STUDY = Study(
    control="last",
    arms=("ladder", "last", "same", "broken", "absent"),
    seeds=(1, 2, 3, 4),
    monitors=("faults_off", "faults_robust_5"),
    monitor_seeds=(1,),
    full_length=("last", "ladder", "absent"),
    full_length_seeds=(1,),
)
NO_MORE = "monitors: []\nmonitor_seeds: []\nfull_length: []\nfull_length_seeds: []"
ASKED = ("dpg_toy", "tiif_toy.short", "tiif_toy.long")
EFFECT = {"ladder": 0.3, "same": 0.0, "last": 0.0, "faults_off": -0.1, "faults_robust_5": 0.0}


def write_cell(folder: Path, arm: str, seed: int) -> None:
    """A cell whose prompts are right by chance, `EFFECT` more often than in the control."""
    rng = np.random.default_rng([seed, *arm.encode()])
    rows = [
        {
            "metric": metric,
            "group": f"kind {number % 3}",
            "number": number,
            "prompt": f"prompt {number}",
            "score": np.clip(0.4 + EFFECT[arm] + 0.05 * rng.normal(), 0, 1),
        }
        for metric in METRICS
        for number in range(30)
    ]
    for metric, group in [(metric, "all") for metric in ASKED] + [
        ("imgedit_toy", kind) for kind in PUBLISHED_EDITS
    ]:
        grade = {"metric": metric, "group": group, "prompt": "an edit"}
        rows += [grade | {"number": n, "score": n + EFFECT[arm]} for n in (0, 1)]
    pd.DataFrame(rows).to_csv(folder / f"{arm}-{seed}.csv", index=False)
    config = {"evaluation": {"seed": 0}, "sampling": {"steps": 20}}
    (folder / f"{arm}-{seed}.json").write_text(json.dumps({"config": config}))
    spent = {
        "seconds": {"total": 100.0 + seed},
        "peak_bytes": {"process": 2**30},
        "threads": 1,
        "parameters": {"queries": 10, "connector": 20, "mixture": 0, "generator": 70},
        "mllm_layers": 12,
        "rungs": [{"norm": 1.0}, {"3": 0.25, "norm": 0.75}],
    }
    (folder / f"{arm}-{seed}.cost.json").write_text(json.dumps(spent))
    steps = pd.DataFrame({"stage": ["t2i"] * 20, "step": range(20), "loss": 1.0, "norm": 2.0})
    steps["skipped"], steps["fault"] = 0.0, None
    if arm.startswith("faults"):
        steps.loc[[4, 8, 12, 16], "fault"] = ["nan", "spike", "nan", "spike"]
        steps.loc[[4], "norm"] = np.nan
    if arm == "faults_robust_5":
        steps.loc[[4, 8, 12, 3], "skipped"] = 1.0
    steps.to_csv(folder / f"{arm}-{seed}.steps.csv", index=False)
    Image.new("RGB", (96, 16), "white").save(folder / f"{arm}-{seed}.png")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    for arm, seed in STUDY.cells():
        if arm in EFFECT:
            write_cell(folder, arm, seed)
        if arm == "broken":
            error = ["Traceback", "ValueError: a ladder longer than <the> MLLM"]
            record = {"arm": arm, "seed": seed, "part": "train", "error": error}
            (folder / f"{arm}-{seed}.failed.json").write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of cells at full length, of which one is missing."""
    folder = tmp_path_factory.mktemp("full")
    for arm in ("last", "ladder"):
        write_cell(folder, arm, 1)
    return folder


@pytest.fixture(scope="module")
def cells(results: Path) -> list[Cell]:
    return read_cells(STUDY, results)


def test_a_row_for_every_arm_with_scores_and_the_true_verdict(cells):
    table = scores(STUDY, cells)
    assert len(table) == 3 * len(METRICS)
    for metric in METRICS:
        rows = table[table["metric"] == metric].set_index("arm")
        assert rows["verdict"].to_dict() == {
            "ladder": "better", "last": "control", "same": "not distinguishable",
        }  # fmt: skip
        assert rows.loc["ladder", "difference"] == pytest.approx(0.3, abs=0.02)
        assert rows.loc["ladder", "mean"] == pytest.approx(0.7, abs=0.02)
        assert (rows["low"] < rows["mean"]).all()
        assert (rows["mean"] < rows["high"]).all()
        assert (rows["seeds"] == 4).all()


def test_an_arm_with_one_seed_in_common_is_not_compared(cells):
    fewer = [cell for cell in cells if cell.arm != "ladder" or cell.seed == 1]
    table = scores(STUDY, fewer).set_index(["metric", "arm"])
    assert table.loc[("reasoning", "ladder"), "verdict"] == "not compared"


def test_cells_that_failed_or_are_missing_have_a_row_with_the_reason(cells):
    rows = failures(cells).set_index(["arm", "seeds"])["error"]
    assert [*rows.index] == [("broken", "1, 2, 3, 4"), ("absent", "1, 2, 3, 4")]
    assert "longer than <the> MLLM" in rows["broken", "1, 2, 3, 4"]
    assert rows["broken", "1, 2, 3, 4"].startswith("train failed:")
    assert rows["absent", "1, 2, 3, 4"] == "no results: not run, or killed"


def test_cells_of_an_arm_that_failed_for_different_reasons_have_a_row_each():
    cells = [Cell("a", seed, None, error, None, None, None) for seed, error in enumerate("xyx")]
    found = failures([*cells, Cell("b", 0, None, "", None, None, None)])
    assert found.to_numpy().tolist() == [["a", "0, 2", "x"], ["a", "1", "y"]]


def test_monitors_are_judged_by_faults_caught_and_good_steps_lost(cells):
    rows = monitors(STUDY, cells).set_index("arm")
    assert rows.loc["faults_off", ["faults", "caught", "good_lost"]].tolist() == [4, 0, 0]
    assert rows.loc["faults_robust_5", "caught"] == 0.75
    assert rows.loc["faults_robust_5", "good_lost"] == 1 / 16
    assert [*rows.index] == ["faults_off", "faults_robust_5", "ladder"]
    assert rows.loc["ladder", ["seeds", "faults", "good_lost"]].tolist() == [1, 0, 0]
    assert np.isnan(rows.loc["ladder", "caught"])
    kinds = caught_by_kind(STUDY, cells)
    assert kinds.loc["faults_robust_5"].to_dict() == {"nan": 1.0, "spike": 0.5}


def test_the_cost_of_an_arm_is_that_of_its_middle_seed(cells):
    rows = cost(STUDY, cells).set_index("arm")
    assert rows.loc["ladder", "train_seconds"] == 102.5
    assert rows.loc["ladder", "trained_parameters"] == 100


def test_the_papers_scores_stand_beside_the_toy_worlds(cells):
    rows = published(cells, ("ladder", "absent")).set_index("benchmark")
    assert [*rows.columns] == ["paper", "in the toy world", "ladder"]
    assert len(rows) == len(PUBLISHED) + len(PUBLISHED_EDITS)
    assert rows.loc["DPG-Bench, points", "paper"] == "80.97"
    assert rows.loc["DPG-Bench, points", "ladder"] == "80.00 [30.00, 130.00]"
    assert rows.loc["ImgEdit-Bench, grade of 1 to 5", "ladder"].startswith("0.80 [")
    assert rows.loc["ImgEdit-Bench, add", "ladder"] == "0.80"


def test_cells_at_full_length_stand_beside_their_short_ones(cells, long):
    rows = full_length(STUDY, cells, read_full_length(STUDY, long))
    assert rows["arm"].tolist() == ["ladder", "last"] * len(METRICS)  # the better one first
    assert set(rows["seeds"]) == {1}
    assert set(rows["seeds of short"]) == {4}
    score = pd.read_csv(long / "ladder-1.csv").query("metric == 'reasoning'")["score"].mean()
    first = rows[rows["metric"] == "reasoning"].iloc[0]
    assert first["full length [95%]"].startswith(f"{100 * score:.1f} [")
    assert first["short [95%]"] != first["full length [95%]"]


def test_the_report_is_one_page_that_needs_nothing_else(results, long, tmp_path):
    page = report(STUDY, results, tmp_path, long).read_text()
    assert {path.name for path in tmp_path.iterdir()} == {
        "figures", "report.html", "table.csv", "table.md", "verdicts.json",
    }  # fmt: skip
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "longer than &lt;the&gt; MLLM" in page
    assert "80.97" in page
    assert "<b>another\nworld</b>" in page
    assert "14 of these 22 cells have scores" in page
    assert "Trained as long as the main job" in page
    for path in (tmp_path / "figures").iterdir():
        assert np.ptp(np.asarray(Image.open(path).convert("L"))) > 100, path
    assert len([*(tmp_path / "figures").iterdir()]) == page.count("data:image/png")
    found = json.loads((tmp_path / "verdicts.json").read_text())
    assert found["reasoning"]["ladder"]["verdict"] == "better"
    assert "difference" not in found["reasoning"]["last"]
    again = tmp_path / "again"
    report(STUDY, results, again, long)
    for path in tmp_path.rglob("*.*"):
        if "again" not in path.parts:
            assert path.read_bytes() == (again / path.relative_to(tmp_path)).read_bytes(), path


def test_a_report_on_nothing_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="at least one evaluated cell"):
        report(STUDY, tmp_path, tmp_path / "report")


def test_cells_that_were_asked_other_things_are_not_compared(results, tmp_path):
    for path in results.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = {"evaluation": {"seed": 1}, "sampling": {"steps": 20}}
    (tmp_path / "ladder-3.json").write_text(json.dumps({"config": config}))
    with pytest.raises(ValueError, match=r"evaluation\.seed must be equal"):
        report(STUDY, tmp_path, tmp_path / "report")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"control: x\narms: [a]\nseeds: [1]\n{NO_MORE}", "one of the arms"),
        (f"control: a\narms: [a, a]\nseeds: [1]\n{NO_MORE}", "differ"),
        ("control: a\narms: [a]\nseeds: [1]\nmonitors: []", "monitor_seeds is missing"),
        ("control: a\narms: [a]\nseed: [1]", "is missing"),
    ],
)
def test_a_wrong_study_is_an_error(tmp_path, text, message):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        Study.read(tmp_path / "params.yaml")


def test_pictures_stand_under_their_prompts(results):
    figure = strip_figure(read_cells(STUDY, results), STUDY.arms, 1)
    texts = [[text.get_text() for text in axis.texts] for axis in figure.axes]
    prompts = [f"prompt {number}" for number in (0, 3, 1, 4, 2, 5)]
    assert texts == [["ladder", *prompts], ["last"], ["same"]]
    assert {axis.images[0].get_size() for axis in figure.axes} == {(16, 6 * 16 + 5 * GAP)}
