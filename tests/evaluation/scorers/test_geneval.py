"""Our scorer gives the official verdicts, reason by reason, and reads toy pictures by its rules."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from ladder.evaluation.scorers.geneval import Detected, directions, judge
from ladder.evaluation.toy.observe import observe
from ladder.evaluation.toy.test_set import evaluation_prompts
from ladder.world.language import TASKS
from ladder.world.render import render
from ladder.world.scenes import Scene, Thing


def star(score: float = 1.0, box: tuple[float, ...] = (0, 0, 10, 10), **looks: str) -> Detected:
    return Detected(box, score, **looks)


def row(tag: str, *include: dict, **more: object) -> dict:
    return {"tag": tag, "include": list(include), "prompt": ""} | more


def test_recorded_verdicts_are_reproduced(golden: Path):
    path = golden / "benchmarks/geneval_recorded.jsonl.gz"
    rows = [
        json.loads(line)
        for line in (golden.parent / "prompts/geneval_metadata.jsonl").read_text().splitlines()
    ]
    right: dict[str, list[bool]] = defaultdict(list)
    with gzip.open(path, "rt") as file:
        for line in file:
            recorded = json.loads(line)
            asked = rows[recorded["prompt_index"]]
            observation = {
                name: [Detected(tuple(d["box"]), d["score"], d["color"]) for d in group]
                for name, group in recorded["detections"].items()
            }
            verdict = judge(asked, observation)
            assert (verdict.correct, verdict.reason) == (recorded["correct"], recorded["reason"])
            right[asked["tag"]].append(verdict.correct)
    assert sum(len(group) for group in right.values()) == 2212
    means = {tag: float(np.mean(group)) for tag, group in right.items()}
    means["overall"] = float(np.mean([*means.values()]))
    expected = json.loads((golden / "benchmarks/geneval_expected.json").read_text())
    assert means == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("task", [*TASKS, "reasoning"])
def test_a_true_picture_is_right_and_an_empty_one_wrong(task: str):
    for asked in evaluation_prompts(task, 30, seed=3):
        verdict = judge(asked.row, observe(render(asked.scene)))
        assert verdict.correct, (asked.text, verdict.reason)
        assert not judge(asked.row, observe(render(Scene(())))).correct


def test_scores_must_be_above_the_threshold_which_is_higher_for_counting():
    one = {"class": "star", "count": 1}
    assert not judge(row("colors", one), {"star": [star(0.3)]}).correct
    assert judge(row("colors", one), {"star": [star(0.31)]}).correct
    assert not judge(row("counting", one), {"star": [star(0.9)]}).correct
    assert judge(row("counting", one), {"star": [star(0.91)]}).correct


def test_only_the_surest_objects_are_looked_at():
    asked = row("colors", {"class": "star", "count": 1, "color": "red"})
    both = [star(0.5, color="red"), star(0.8, color="blue")]
    verdict = judge(asked, {"star": both})
    assert verdict.reason == "expected red star>=1, found 0 red; and 1 blue"


def test_at_most_sixteen_objects_of_a_class_count():
    asked = row("counting", {"class": "star", "count": 1}, exclude=[{"class": "star", "count": 17}])
    assert judge(asked, {"star": [star()] * 40}).correct


def test_too_many_are_wrong_where_they_are_excluded():
    asked = row("counting", {"class": "star", "count": 2}, exclude=[{"class": "star", "count": 3}])
    assert judge(asked, {"star": [star()] * 2}).correct
    assert judge(asked, {"star": [star()] * 3}).reason == "expected star<3, found 3"


def test_a_size_that_is_asked_for_must_be_there():
    asked = row("thought", {"class": "star", "count": 1, "size": "small"})
    assert judge(asked, {"star": [star(size="small")]}).correct
    verdict = judge(asked, {"star": [star(size="large")]})
    assert verdict.reason == "expected small star>=1, found 0 small; and 1 large"


def test_a_failed_target_is_no_target():
    asked = row(
        "position",
        {"class": "heart", "count": 1},
        {"class": "star", "count": 1, "position": ["above", 0]},
    )
    verdict = judge(asked, {"star": [star()]})
    assert verdict.reason == "expected heart>=1, found 0\nno target for star to be above"


def test_every_object_must_stand_right_of_every_target():
    asked = row(
        "position",
        {"class": "heart", "count": 1},
        {"class": "star", "count": 2, "position": ["right of", 0]},
    )
    heart = {"heart": [star(box=(20, 0, 30, 10))]}
    right, left = star(box=(40, 0, 50, 10)), star(box=(0, 0, 10, 10))
    assert judge(asked, heart | {"star": [right, right]}).correct
    verdict = judge(asked, heart | {"star": [right, left]})
    assert verdict.reason == "expected star right of target, found left of target"


def test_directions_of_a_diagonal_are_two_and_of_the_same_place_none():
    here = (40, 40, 50, 50)
    assert directions((80, 42, 90, 52), here) == ["right of"]
    assert directions((40, 0, 50, 10), here) == ["above"]
    assert directions((0, 0, 10, 10), here) == ["above", "left of"]
    assert directions(here, here) == []
    # Offsets within a tenth of both sizes together are none.
    assert directions((41, 41, 51, 51), here) == []


def test_an_observation_has_shapes_as_classes():
    scene = Scene((Thing(0, "star", "red", "small"), Thing(8, "star", "blue", "large")))
    (found,) = observe(render(scene)).items()
    assert found[0] == "star"
    assert {(one.color, one.size) for one in found[1]} == {("red", "small"), ("blue", "large")}
