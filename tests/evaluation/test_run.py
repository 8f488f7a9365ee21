"""A whole evaluation of a tiny, untrained ladder: what it writes, and what it refuses."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.tiny import tiny_mllm, tiny_sana

from ladder.config.load import Config, load
from ladder.evaluation import outcomes
from ladder.evaluation.run import evaluate
from ladder.evaluation.scorers.geneval import Detected, judge
from ladder.evaluation.scorers.score_file import score
from ladder.evaluation.scorers.tiif import LENGTHS, OVERALL
from ladder.evaluation.toy import dpg
from ladder.models.ladder import Ladder
from ladder.world.edits import KINDS
from ladder.world.language import TASKS

pytestmark = pytest.mark.slow
NAME = "ladder-0"
SHARES = ("geneval_toy", "reasoning", "dpg_toy", "tiif_toy", "edit", "understanding")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Config:
    """The shipped configuration with tiny foundations and few pictures."""
    folder = tmp_path_factory.mktemp("foundations")
    shipped = load(
        arguments=[
            "evaluation.prompts=6", "evaluation.images=2", "evaluation.edits=2",
            "evaluation.questions=2", "evaluation.resamples=50", "sampling.steps=2",
            "sampling.batch=32",
        ],
        root=root,
    )  # fmt: skip
    tiny = dataclasses.replace(
        shipped.foundations,
        mllm=str(tiny_mllm(folder / "mllm")),
        generator=str(tiny_sana(folder / "sana")),
    )
    return dataclasses.replace(
        shipped, foundations=tiny, model=dataclasses.replace(shipped.model, queries=4)
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, config: Config) -> Path:
    """A folder with a ladder and a manifest, evaluated."""
    place = tmp_path_factory.mktemp("place")
    ladder = Ladder.from_foundations(config.model, config.foundations, config.seed)
    folder = place / "runs" / NAME / "finetune/ladder"
    ladder.save_pretrained(folder)
    values = config.as_dict()
    trained = {key: values[key] for key in ("seed", "arm", "world", "model", "stages")}
    (folder / "training.json").write_text(json.dumps(trained))
    (place / "curated").mkdir()
    (place / "curated/manifest.json").write_text(json.dumps({"hash": "abc"}))
    run(config, place)
    return place


def run(config: Config, place: Path) -> Path:
    return evaluate(config, place / "runs", place / "curated", place / "experiments")


@pytest.fixture(scope="module")
def result(place: Path) -> dict:
    return json.loads((place / f"experiments/results/{NAME}.json").read_text())


def leaves(metrics: dict) -> list[dict]:
    if set(metrics) == {"mean", "low", "high", "n"}:
        return [metrics]
    return [leaf for value in metrics.values() for leaf in leaves(value)]


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_result_has_the_agreed_form(result: dict, config: Config):
    assert (result["arm"], result["seed"]) == ("ladder", 0)
    assert result["config"] == config.as_dict()
    metrics = result["metrics"]
    assert set(metrics) == {
        "geneval_toy", "reasoning", "dpg_toy", "tiif_toy", "edit", "imgedit_toy", "understanding",
        "floor", "ceiling",
    }  # fmt: skip
    for part in (metrics, metrics["floor"], metrics["ceiling"]):
        assert set(part["geneval_toy"]) == {"overall", *TASKS}
        assert "overall" in part["reasoning"]
        # Of a ladder that keeps nothing, no detail can be measured.
        assert set(part["edit"]) - {"detail"} == {
            "followed",
            "kept",
            "kept_share",
            "exact",
            "kinds",
        }
        assert set(part["dpg_toy"]) == {
            "overall", "official", "entity", "attribute", "relation", "global",
        }  # fmt: skip
        assert [*part["tiif_toy"]] == ["short", "long"]
        grades = leaves(part["imgedit_toy"])
        assert len(grades) == 2 + len(KINDS)
        assert all(1 <= grade["low"] <= grade["mean"] <= grade["high"] <= 5 for grade in grades)
        shares = {name: part[name] for name in SHARES if name in part}
        shares["edit"] = {name: leaf for name, leaf in part["edit"].items() if name != "detail"}
        for leaf in leaves(shares):
            assert 0 <= leaf["low"] <= leaf["mean"] <= leaf["high"] <= 1
    assert all(leaf["n"] > 0 for leaf in leaves(metrics))
    assert metrics["geneval_toy"]["overall"]["n"] == 36
    assert metrics["edit"]["exact"]["n"] == 2 * len(KINDS)


def test_the_result_says_where_it_comes_from(result: dict):
    origin = result["provenance"]
    assert origin["data"] == "abc"
    assert origin["git"] is None or len(origin["git"]) == 40
    assert isinstance(origin["dirty"], bool)
    assert {"python", "torch", "diffusers"} <= set(origin["versions"])


def test_understanding_is_that_of_the_foundation(result: dict, place: Path):
    assert result["metrics"]["understanding"]["as_foundation"]["mean"] == 1
    answers = lines(place / "runs" / NAME / "evaluation/answers.jsonl")
    assert all(row["answer"] == row["foundation"] for row in answers)


def test_what_was_observed_can_be_scored_again(place: Path, result: dict):
    notes = place / "runs" / NAME / "evaluation"
    rows, pictures = lines(notes / "prompts.jsonl"), lines(notes / "pictures.jsonl")
    assert len(pictures) == 2 * len(rows)
    right: dict[str, list[bool]] = {}
    for picture in pictures:
        row = rows[picture["prompt_index"]]
        observation = {
            name: [Detected(**one | {"box": tuple(one["box"])}) for one in group]
            for name, group in picture["detections"].items()
        }
        verdict = judge(row, observation)
        assert (verdict.correct, verdict.reason) == (picture["correct"], picture["reason"])
        right.setdefault(row["tag"], []).append(verdict.correct)
    for task in TASKS:
        mean = result["metrics"]["geneval_toy"][task]["mean"]
        assert np.mean(right[task]) == pytest.approx(mean)


def test_the_published_scorers_read_what_was_noted(place: Path, result: dict, config: Config):
    notes, metrics = place / "runs" / NAME / "evaluation", result["metrics"]
    dense = score("dpg", notes / "dpg.json", notes / "dpg.csv")
    images = config.evaluation.images
    assert len(dense["missing"]) == dpg.PROMPTS * (images < 4)
    for mode, name in (("fixed", "overall"), ("official", "official")):
        assert dense[mode]["dpg"] == pytest.approx(100 * metrics["dpg_toy"][name]["mean"])
    for category, value in dense["fixed"]["l1"].items():
        assert value == pytest.approx(100 * metrics["dpg_toy"][category]["mean"])
    (lengths,) = score("tiif", notes / "tiif.jsonl")["runs"]
    for side, length in enumerate(LENGTHS):
        overall = metrics["tiif_toy"][length]["overall"]["mean"]
        assert lengths["fixed"][OVERALL][side] == pytest.approx(overall)
    edits = score("imgedit", notes / "imgedit.json")
    assert edits["fixed"]["invalid"] == 0
    for mode, name in (("fixed", "overall"), ("official", "official")):
        mean = metrics["imgedit_toy"][name]["mean"]
        assert edits[mode]["macro"] == pytest.approx(mean, abs=0.005)


def test_there_are_pictures_and_a_table_of_scores(place: Path, result: dict):
    folder = place / "experiments/pictures" / NAME
    for name in ("t2i.png", "reasoning.png", "edits.png"):
        with Image.open(folder / name) as picture:
            assert min(picture.size) >= 200
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 50
    with (folder / "scores.csv").open() as file:
        table = {row["score"]: row for row in csv.DictReader(file)}
    overall = result["metrics"]["geneval_toy"]["overall"]["mean"]
    assert float(table["geneval_toy overall"]["mean"]) == pytest.approx(overall, abs=1e-4)
    assert "edit exact" in table


def test_time_and_memory_lie_beside_the_result(place: Path, result: dict):
    cost = json.loads((place / "runs" / NAME / "evaluation/cost.json").read_text())
    parts = {"generation", "dense", "lengths", "edits", "understanding", "total"}
    assert set(cost["seconds"]) == parts
    assert all(seconds > 0 for seconds in cost["seconds"].values())
    assert cost["peak_bytes"]["process"] > 1 << 20
    assert "seconds" not in json.dumps(result)


def test_the_same_ladder_gets_the_same_result(place: Path, config: Config, result: dict):
    again = json.loads(run(config, place).read_text())
    assert again["metrics"] == result["metrics"]


def test_a_ladder_of_another_configuration_is_refused(place: Path, config: Config):
    other = dataclasses.replace(config, world=dataclasses.replace(config.world, captions=3))
    with pytest.raises(
        ValueError, match=r"this configuration, but has world\.captions \d+ instead of 3$"
    ):
        run(other, place)


def test_a_missing_ladder_is_an_error(place: Path, config: Config):
    with pytest.raises(FileNotFoundError, match=r"ladder-7.* `ladder train finetune`"):
        run(dataclasses.replace(config, seed=7), place)


def test_the_table_of_outcomes_gives_the_scores_again(place: Path, result: dict, config: Config):
    rows = outcomes.read(place / f"experiments/results/{NAME}.json")
    assert not rows.duplicated(["metric", "number", "picture"]).any()
    assert len(rows[rows["metric"] == "geneval_toy"]) == 2 * 36
    scores = outcomes.aggregate(rows, config.evaluation.resamples, config.evaluation.seed)
    bounds = {name: result["metrics"][name] for name in ("floor", "ceiling")}
    assert scores | bounds == result["metrics"]


def test_what_is_half_written_is_no_result(
    place: Path, config: Config, monkeypatch: pytest.MonkeyPatch
):
    folder = place / "experiments/results"
    before = {path: path.read_bytes() for path in folder.iterdir()}

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pd.DataFrame, "to_parquet", killed)
    with pytest.raises(KeyboardInterrupt):
        run(config, place)
    assert {path: path.read_bytes() for path in before} == before
