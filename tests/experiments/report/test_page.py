"""The report on made-up cells: whose effect is known, of which some are missing or failed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ladder.experiments.report.figures import GAP, strip_figure
from ladder.experiments.report.page import Reported, report
from ladder.experiments.report.tables import (
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
from ladder.experiments.results import LEGACY, Run, read_runs
from ladder.experiments.store import Result, add
from ladder.experiments.study import MAIN, Study

METRICS = ["geneval_toy", "reasoning", "edit.followed", "edit.kept", "edit.exact"]
ASKED = ("dpg_toy", "tiif_toy.short", "tiif_toy.long")
EFFECT = {"ladder": 0.3, "same": 0.0, "last": 0.0, "faults_off": -0.1, "faults_robust_5": 0.0}


def study(name: str, preset: str, **values: object) -> Study:
    common = {"notebook": "x.ipynb", "analysis": "scores", "outcomes": METRICS}
    return Study(**common, name=name, preset=preset, **values)


LAYERS = study(
    "layers",
    MAIN,
    control="last",
    arms=["ladder", "last", "same", "broken", "absent"],
    seeds=[1, 2, 3, 4],
)
FULL = study("layers", "full", control="last", arms=["last", "ladder", "absent"], seeds=[1])
MONITORS = study(
    "monitors", MAIN, control="faults_off", arms=["faults_off", "faults_robust_5"], seeds=[1]
)


def result(preset: str, arm: str, seed: int, folder: Path) -> Result:
    """A run whose prompts are right by chance, `EFFECT` more often than in the control."""
    row = {"run": f"{preset}-{arm}-{seed}", "preset": preset, "arm": arm, "seed": seed}
    if arm == "broken":
        error = "train failed:\nValueError: a ladder longer than <the> MLLM"
        return Result(row | {"error": error, "code": "x"})
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
    spent = {
        "seconds": {"total": 100.0 + seed},
        "peak_bytes": {"process": 2**30},
        "threads": 1,
        "parameters": {"queries": 10, "connector": 20, "mixture": 0, "generator": 70},
        "mllm_layers": 12,
        "rungs": [{"norm": 1.0}, {"3": 0.25, "norm": 0.75}],
    }
    steps = pd.DataFrame({"stage": ["t2i"] * 20, "step": range(20), "loss": 1.0, "norm": 2.0})
    steps["skipped"], steps["fault"] = 0.0, None
    if arm.startswith("faults"):
        steps.loc[[4, 8, 12, 16], "fault"] = ["nan", "spike", "nan", "spike"]
        steps.loc[[4], "norm"] = np.nan
    if arm == "faults_robust_5":
        steps.loc[[4, 8, 12, 3], "skipped"] = 1.0
    picture = folder / "picture.webp"
    Image.new("RGB", (96, 16), "white").save(picture)
    config = {"evaluation": {"seed": 0}, "sampling": {"steps": 20}}
    row |= {"error": "", "code": LEGACY, "config": config, "cost": spent}
    return Result(row, {"outcomes": pd.DataFrame(rows), "steps": steps}, None, picture)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    """The runs of three studies, written to a store and read back; some are missing or failed."""
    folder = tmp_path_factory.mktemp("results")
    for one in (LAYERS, FULL, MONITORS):
        runs = [(run.parameters["arm"], run.parameters["seed"]) for run in one.runs()]
        found = [result(one.preset, *run, folder) for run in runs if run[0] in (*EFFECT, "broken")]
        add(folder / one.name, found)
    runs = read_runs(LAYERS, folder) + read_runs(MONITORS, folder)
    return Reported(LAYERS, FULL, MONITORS, runs, read_runs(FULL, folder))


@pytest.fixture(scope="module")
def cells(known: Reported) -> list[Run]:
    return known.runs


def test_a_row_for_every_arm_with_scores_and_the_true_verdict(cells):
    table = scores(LAYERS, cells)
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
    table = scores(LAYERS, fewer).set_index(["metric", "arm"])
    assert table.loc[("reasoning", "ladder"), "verdict"] == "not compared"


def test_cells_that_failed_or_are_missing_have_a_row_with_the_reason(cells):
    rows = failures(cells).set_index(["arm", "seeds"])["error"]
    assert [*rows.index] == [("broken", "1, 2, 3, 4"), ("absent", "1, 2, 3, 4")]
    assert "longer than <the> MLLM" in rows["broken", "1, 2, 3, 4"]
    assert rows["broken", "1, 2, 3, 4"].startswith("train failed:")
    assert rows["absent", "1, 2, 3, 4"] == "no results: not run, or killed"


def test_cells_of_an_arm_that_failed_for_different_reasons_have_a_row_each():
    cells = [Run("a", seed, {}, None, error) for seed, error in enumerate("xyx")]
    found = failures([*cells, Run("b", 0, {}, None)])
    assert found.to_numpy().tolist() == [["a", "0, 2", "x"], ["a", "1", "y"]]


def test_monitors_are_judged_by_faults_caught_and_good_steps_lost(cells):
    rows = monitors(MONITORS, cells).set_index("arm")
    assert rows.loc["faults_off", ["faults", "caught", "good_lost"]].tolist() == [4, 0, 0]
    assert rows.loc["faults_robust_5", "caught"] == 0.75
    assert rows.loc["faults_robust_5", "good_lost"] == 1 / 16
    assert [*rows.index] == ["faults_off", "faults_robust_5", "ladder"]
    assert rows.loc["ladder", ["seeds", "faults", "good_lost"]].tolist() == [1, 0, 0]
    assert np.isnan(rows.loc["ladder", "caught"])
    kinds = caught_by_kind(MONITORS, cells)
    assert kinds.loc["faults_robust_5"].to_dict() == {"nan": 1.0, "spike": 0.5}


def test_the_cost_of_an_arm_is_that_of_its_middle_seed(cells):
    rows = cost(LAYERS.arms, cells).set_index("arm")
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


def test_cells_at_full_length_stand_beside_their_short_ones(known, cells):
    rows = full_length(FULL, cells, known.full_runs)
    assert rows["arm"].tolist() == ["ladder", "last"] * len(METRICS)  # the better one first
    assert set(rows["seeds"]) == {1}
    assert set(rows["seeds of short"]) == {4}
    (long,) = (run for run in known.full_runs if run.arm == "ladder")
    score = long.of_metric("reasoning")["score"].mean()
    first = rows[rows["metric"] == "reasoning"].iloc[0]
    assert first["full length [95%]"].startswith(f"{100 * score:.1f} [")
    assert first["short [95%]"] != first["full length [95%]"]


def test_the_report_is_one_page_that_needs_nothing_else(known, tmp_path):
    page = report(known, tmp_path).read_text()
    assert {path.name for path in tmp_path.iterdir()} == {
        "figures", "report.html", "table.csv", "table.md", "verdicts.json",
    }  # fmt: skip
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "longer than &lt;the&gt; MLLM" in page
    assert "80.97" in page
    assert "<b>another\nworld</b>" in page
    assert "14 of these 22 runs have scores" in page
    assert "Trained as long as the main job" in page
    for path in (tmp_path / "figures").iterdir():
        assert np.ptp(np.asarray(Image.open(path).convert("L"))) > 100, path
    assert len([*(tmp_path / "figures").iterdir()]) == page.count("data:image/png")
    found = json.loads((tmp_path / "verdicts.json").read_text())
    assert found["reasoning"]["ladder"]["verdict"] == "better"
    assert "difference" not in found["reasoning"]["last"]
    again = tmp_path / "again"
    report(known, again)
    for path in tmp_path.rglob("*.*"):
        if "again" not in path.parts:
            assert path.read_bytes() == (again / path.relative_to(tmp_path)).read_bytes(), path


def test_a_report_on_nothing_is_an_error(known, tmp_path):
    with pytest.raises(ValueError, match="at least one run with scores"):
        report(replace(known, runs=[]), tmp_path / "report")


def test_runs_that_were_asked_other_things_are_not_compared(known, tmp_path):
    config = {"evaluation": {"seed": 1}, "sampling": {"steps": 20}}
    changed = [
        replace(run, config=config) if (run.arm, run.seed) == ("ladder", 3) else run
        for run in known.runs
    ]
    with pytest.raises(ValueError, match=r"evaluation\.seed must be equal"):
        report(replace(known, runs=changed), tmp_path / "report")


def test_pictures_stand_under_their_prompts(cells):
    figure = strip_figure(cells, LAYERS.arms, 1)
    texts = [[text.get_text() for text in axis.texts] for axis in figure.axes]
    prompts = [f"prompt {number}" for number in (0, 3, 1, 4, 2, 5)]
    assert texts == [["ladder", *prompts], ["last"], ["same"]]
    assert {axis.images[0].get_size() for axis in figure.axes} == {(16, 6 * 16 + 5 * GAP)}
