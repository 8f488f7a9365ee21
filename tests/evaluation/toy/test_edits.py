"""What was to change, what was to stay, and what was to be nowhere are told apart."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from ladder.config.load import Config
from ladder.evaluation.outcomes import aggregate, table
from ladder.evaluation.toy.edits import EditScore, EditsToy, measure_kept, score_edit
from ladder.evaluation.toy.observe import Observed
from ladder.evaluation.toy.test_set import evaluation_edits
from ladder.world.edits import KINDS, Edit
from ladder.world.oracle import detect, same_scene
from ladder.world.render import render
from ladder.world.scenes import GRID, Scene, Thing

STAR = Thing(0, "star", "red", "large")
HEART = Thing(4, "heart", "blue", "small", 1, -1)
CROSS = Thing(8, "cross", "green", "large")
RECOLORED = dataclasses.replace(STAR, color="yellow")
RECOLOR = Edit(
    Scene((STAR, HEART)), Scene((RECOLORED, HEART)), "recolor", ("make the star yellow",)
)


def judged(edit: Edit, result: Scene) -> tuple[float, float, float]:
    """followed, kept and exact of a result that shows a scene."""
    score = score_edit(edit, detect(render(result)))
    return score.followed, score.kept, score.exact


@pytest.mark.parametrize("kind", KINDS)
def test_the_target_is_right_and_the_source_is_only_kept(kind: str):
    for edit in evaluation_edits(6, seed=1):
        if edit.kind != kind:
            continue
        assert judged(edit, edit.after) == (1, 1, 1)
        if not same_scene(edit.before, edit.after):  # two equal objects may be swapped
            assert judged(edit, edit.before) == (0, 1, 0)


def test_offsets_within_a_cell_do_not_count():
    moved = dataclasses.replace(HEART, dx=-2, dy=2)
    assert judged(RECOLOR, Scene((RECOLORED, moved))) == (1, 1, 1)


def test_how_far_what_stays_has_moved_is_measured():
    kept = Observed.of(render(Scene((RECOLORED, HEART))))
    assert measure_kept(RECOLOR, kept) == pytest.approx(
        {"offset": 0, "hue": 0, "size": 0, "rotation": 0}, abs=0.3
    )
    moved = dataclasses.replace(HEART, dx=HEART.dx - 3, dy=HEART.dy + 4)
    found = measure_kept(RECOLOR, Observed.of(render(Scene((STAR, moved)))))
    assert found["offset"] == pytest.approx(5, abs=0.2)
    gone = Observed.of(render(Scene((RECOLORED,))))
    assert measure_kept(RECOLOR, gone) == {}


@pytest.mark.parametrize("attribute", ["shape", "color", "size", "cell"])
def test_a_change_beside_the_point_is_not_kept(attribute: str):
    other = {"shape": "circle", "color": "pink", "size": "large", "cell": 5}[attribute]
    spoiled = dataclasses.replace(HEART, **{attribute: other})
    assert judged(RECOLOR, Scene((RECOLORED, spoiled))) == (1, 0, 0)


def test_the_background_must_stay_unless_it_is_the_point():
    assert judged(RECOLOR, Scene((RECOLORED, HEART), "mint")) == (1, 0, 0)
    repaint = Edit(Scene((STAR,)), Scene((STAR,), "mint"), "background", ("",))
    assert judged(repaint, Scene((STAR,), "mint")) == (1, 1, 1)
    assert judged(repaint, Scene((STAR,), "lilac")) == (0, 1, 0)


def test_one_more_object_is_not_exact():
    assert judged(RECOLOR, Scene((RECOLORED, HEART, CROSS))) == (1, 1, 0)


def test_a_blob_is_not_exact():
    picture = render(Scene((RECOLORED, HEART)))
    cv2.ellipse(picture, (80, 80), (12, 4), 20, 0, 360, (25, 25, 25), -1)
    score = score_edit(RECOLOR, detect(picture))
    assert (score.followed, score.kept, score.exact) == (1, 1, 0)


def test_the_share_of_untouched_objects():
    before = Scene((STAR, HEART, CROSS))
    edit = Edit(before, Scene((HEART, CROSS)), "remove", ("remove the star",))
    half = score_edit(edit, detect(render(Scene((HEART,)))))
    assert half == EditScore(followed=1, kept=0, kept_share=0.5, exact=0)
    alone = Edit(Scene((STAR,)), Scene(()), "remove", ("remove the star",))
    assert score_edit(alone, detect(render(Scene(())))).kept_share is None


def test_metrics_weigh_the_kinds_alike(config: Config):
    evaluation = dataclasses.replace(config.evaluation, edits=4, seed=2)
    benchmark = EditsToy(evaluation, config.sampling)
    # Only recolouring succeeds; the others leave the picture empty.
    empty = np.zeros((GRID * 32, GRID * 32, 3), np.uint8)
    shown = [render(e.after) if e.kind == "recolor" else empty for e in benchmark.prompts]
    outcomes = benchmark.score([Observed.of(picture) for picture in shown])
    metrics = aggregate(table(outcomes), resamples=100, seed=0)["edit"]
    assert metrics["exact"]["mean"] == pytest.approx(1 / len(KINDS))
    assert metrics["exact"]["n"] == 4 * len(KINDS)
    assert metrics["kinds"]["recolor"]["followed"]["mean"] == 1
    assert metrics["kinds"]["move"]["followed"]["mean"] == 0
    assert set(metrics["detail"]) == {"offset", "hue", "size", "rotation"}
    assert metrics["detail"]["offset"]["mean"] == pytest.approx(0, abs=0.1)
