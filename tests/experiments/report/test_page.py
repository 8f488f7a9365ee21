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

from ladder.experiments.report.figures import caught_title, difference_title, loss_curves
from ladder.experiments.report.gallery import rows as pictures
from ladder.experiments.report.glossary import glossary
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
    readable,
    scores,
)
from ladder.experiments.results import LEGACY, Run, read_runs
from ladder.experiments.store import Result, add
from ladder.experiments.study import MAIN, Hypothesis, Study

METRICS = ["geneval_toy", "reasoning", "edit.followed", "edit.kept", "edit.exact"]
ASKED = ("dpg_toy", "tiif_toy.short", "tiif_toy.long")
EFFECT = {"ladder": 0.3, "same": 0.0, "last": 0.0, "faults_off": -0.1, "faults_robust_5": 0.0}


def study(name: str, preset: str, **values: object) -> Study:
    common = {"notebook": "x.ipynb", "analysis": "scores", "outcomes": METRICS}
    return Study(**common, name=name, preset=preset, **values)


def claim(better: str, than: str, outcome: str, **values: object) -> Hypothesis:
    asked = {"question": f"Is {better} better?", "claim": f"{better} is.", "matters": 0.05}
    return Hypothesis(**asked, better=better, than=[than], outcome=outcome, **values)


LAYERS = study(
    "layers",
    MAIN,
    control="last",
    arms=["ladder", "last", "same", "broken", "absent"],
    seeds=[1, 2, 3, 4],
    hypotheses={
        "H1": claim("ladder", "last", "edit.exact"),
        "H2": claim("ladder", "last", "heldout_loss.ti2i", secondary=["edit.kept"]),
        "H3": claim("same", "last", "edit.exact", secondary=["reasoning"]),
    },
)
FULL = study("layers", "full", control="last", arms=["last", "ladder", "absent"], seeds=[1])
MONITORS = study(
    "monitors", MAIN, control="faults_off", arms=["faults_off", "faults_robust_5"], seeds=[1]
)


def result(preset: str, arm: str, seed: int, folder: Path) -> Result:
    """A run whose prompts are right by chance, `EFFECT` more often than in the control.

    The seeds of `same` are those of `last` in another order, so that their means are equal.
    """
    row = {"run": f"{preset}-{arm}-{seed}", "preset": preset, "arm": arm, "seed": seed}
    if arm == "broken":
        error = "train failed:\nValueError: a ladder longer than <the> MLLM"
        return Result(row | {"error": error, "code": "x"})
    drawn = (seed % 4 + 1, "last") if arm == "same" else (seed, arm)
    rng = np.random.default_rng([drawn[0], *drawn[1].encode()])
    rows = [
        {
            "metric": metric,
            "group": f"kind {number % 3}",
            "number": number,
            "prompt": f"prompt {number}",
            "picture": 0,
            "score": np.clip(0.4 + EFFECT[arm] + 0.05 * rng.normal(), 0, 1),
        }
        for metric in METRICS
        for number in range(30)
    ]
    for metric, group in [(metric, "all") for metric in ASKED] + [
        ("imgedit_toy", kind) for kind in PUBLISHED_EDITS
    ]:
        grade = {"metric": metric, "group": group, "prompt": "an edit", "picture": None}
        rows += [grade | {"number": n, "score": n + EFFECT[arm]} for n in (0, 1)]
    spent = {
        "seconds": {"total": 1099.9 + seed},
        "peak_bytes": {"process": 2**30},
        "threads": 1,
        "parameters": {"queries": 10_000, "connector": 20_000, "generator": 3_970_000},
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
    (folder / "experiments/arms").mkdir(parents=True)
    for arm in (*LAYERS.arms, *MONITORS.arms):
        (folder / f"experiments/arms/{arm}.yaml").write_text(f"# What {arm} is,\n# & why.\n{{}}")
    runs = read_runs(LAYERS, folder) + read_runs(MONITORS, folder)
    return Reported(LAYERS, FULL, MONITORS, runs, read_runs(FULL, folder), folder)


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
    assert rows.loc["ladder", "training, median"] == "1,102 s"
    assert rows.loc["ladder", "trained parameters"] == "4.0 M"


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
    assert set(rows["seeds of full length"]) == {1}
    assert set(rows["seeds of short"]) == {4}
    (long,) = (run for run in known.full_runs if run.arm == "ladder")
    score = long.of_metric("reasoning")["score"].mean()
    first = rows[rows["metric"] == "reasoning"].iloc[0]
    assert first["full length"] == f"{100 * score:.1f}"
    assert first["short"] != first["full length"]


def test_readable_scores_subtract_and_say_what_would_be_found(cells):
    rows = readable(scores(LAYERS, cells), "edit.exact").set_index("arm")
    assert rows.index[0] == "ladder"
    for arm in ("ladder", "same"):
        score, control, gain = rows.loc[arm, ["score", "control", "difference"]].astype(float)
        assert round(score - control, 1) == gain
    assert rows.loc["ladder", "verdict"] == "better"
    assert rows.loc["ladder", "p (Holm)"] == "< .001"
    assert re.fullmatch(r"not distinguishable; \d\.\d would be found", rows.loc["same", "verdict"])


@pytest.mark.slow
def test_the_report_is_one_page_that_needs_nothing_else(known, tmp_path):
    page = report(known, tmp_path).read_text()
    assert {path.name for path in tmp_path.iterdir()} == {
        "figures", "report.html", "table.csv", "table.md", "verdicts.json",
    }  # fmt: skip
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert {*re.findall(r'href="#([^"]+)"', page)} <= {*re.findall(r'id="([^"]+)"', page)}
    for said in ("longer than &lt;the&gt; MLLM", "80.97", "14 of these 22 runs have scores",
                 "14 of them were made with earlier code", "Trained as long as the main job",
                 "<b>another world</b>", "What ladder is, &amp; why."):  # fmt: skip
        assert said in page, said
    for path in (tmp_path / "figures").iterdir():
        drawn = path.read_text()
        assert drawn.count("<path") > 20, path
    assert len([*(tmp_path / "figures").iterdir()]) == page.count("data:image/svg+xml")
    assert len(page) < 4_000_000
    again = tmp_path / "again"
    report(known, again)
    for path in tmp_path.rglob("*.*"):
        if "again" not in path.parts:
            assert path.read_bytes() == (again / path.relative_to(tmp_path)).read_bytes(), path


def test_the_answers_come_first_and_say_what_the_verdicts_say(known, tmp_path):
    page = report(known, tmp_path).read_text()
    found = json.loads((tmp_path / "verdicts.json").read_text())
    assert {name: one["verdict"] for name, one in found["hypotheses"].items()} == {
        "H1": "supported", "H2": "no runs", "H3": "refuted",
    }  # fmt: skip
    assert page.index('id="answers"') < page.index("<figure>") < page.index('id="how"')
    texts = dict(re.findall(r'<div class="answer \w+" id="(H\d)">(.*?)</div>', page, re.DOTALL))
    said = {name: " ".join(re.sub("<.+?>", "", text).split()) for name, text in texts.items()}
    gain = 100 * found["hypotheses"]["H1"]["differences"]["last"]["mean"]
    assert f"Yes. In exact edits ladder lies {gain:.1f} points [" in said["H1"]
    assert "Chance is very unlikely to be the reason (p &lt; .001)." in said["H1"]
    assert "Not tested yet as planned." in said["H2"]
    assert "In edits that keep the rest ladder lies" in said["H2"]
    assert "No, or too little to matter." in said["H3"]
    assert "would be found in four of five such studies" in said["H3"]
    assert found["outcomes"]["reasoning"]["ladder"]["verdict"] == "better"
    assert "difference" not in found["outcomes"]["reasoning"]["last"]


def test_titles_of_figures_say_what_is_shown(cells):
    table = scores(LAYERS, cells)
    assert difference_title(table, "edit.exact", "last") == (
        "exact edits: 1 of 2 arms are better than last, ladder most; 0 are worse"
    )
    none = table[table["arm"] != "ladder"]
    assert difference_title(none, "edit.exact", "last") == (
        "exact edits: none of 1 arms can be told from last"
    )
    kinds, watched = caught_by_kind(MONITORS, cells), monitors(MONITORS, cells)
    assert caught_title(kinds, watched) == (
        "No more than 6% of good steps were lost; robust 5 caught most faults, 75% (percent, by "
        "kind)"
    )


def test_losses_are_compared_step_by_step_on_held_out_samples_where_there_are(cells):
    name, curves = loss_curves(cells, ["ladder", "same", "absent"], "last", "t2i")
    assert (name, [*curves]) == ("training loss", ["ladder", "same"])
    steps = cells[0].steps.assign(validation_t2i=[np.nan, 0.5] * 10)
    held = [
        replace(run, steps=steps.assign(validation_t2i=steps["validation_t2i"] - 0.1 * (n == 0)))
        for n, run in enumerate((cells[0], replace(cells[0], arm="last")))
    ]
    name, curves = loss_curves(held, ["ladder"], "last", "t2i")
    assert name == "held-out loss"
    assert curves["ladder"].to_dict() == pytest.approx(dict.fromkeys(range(1, 20, 2), -0.1))


def test_the_glossary_draws_what_each_block_hears(known, cells):
    entries = {one.arm: one for one in glossary(known.arms, cells, known.root)}
    assert entries["ladder"].sentence == "What ladder is, & why."
    assert entries["absent"].drawing == ""
    assert "block 1: norm; block 2: 3, norm" in entries["ladder"].drawing
    assert entries["ladder"].drawing.count("<rect x=") == 3
    assert entries["ladder"].seed is None
    assert (entries["last"].drawing, entries["last"].same_as) == ("", "ladder")
    assert (entries["absent"].drawing, entries["absent"].same_as) == ("", "")


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


def test_pictures_have_their_prompts_and_whether_they_are_right(cells):
    def scored(run: Run, **scores: float) -> Run:
        rows = run.outcomes.copy()
        for prompt, score in scores.items():
            rows.loc[rows["prompt"] == prompt.replace("_", " "), "score"] = score
        return replace(run, outcomes=rows)

    first = next(run for run in cells if run.arm == "ladder")
    run = scored(first, prompt_0=1.0, prompt_3=0.0, prompt_1=0.5)
    (row,) = pictures([run], ["ladder"])
    assert row.prompts == [f"prompt {number}" for number in (0, 3, 1, 4, 2, 5)]
    assert row.marks[:3] == ["right", "wrong", "50% right"]
    # Of several pictures the first is shown.
    outcomes = pd.concat([run.outcomes, run.outcomes.assign(picture=1, score=0.0)])
    (row,) = pictures([replace(run, outcomes=outcomes)], ["ladder"])
    assert row.marks[:2] == ["right", "wrong"]
    (row,) = pictures([replace(run, outcomes=outcomes.assign(picture=pd.NA))], ["ladder"])
    assert row.marks[:2] == ["50% right", "wrong"]
