"""DPG, TIIF and ImgEdit in the toy world: true pictures reach the top, wrong ones fail where they
are wrong, and the scorers' numbers are the means that the intervals are of."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from ladder.config.load import Evaluation
from ladder.evaluation.asking import said
from ladder.evaluation.scorers import dpg, imgedit, tiif
from ladder.evaluation.toy import dpg as dpg_toy
from ladder.evaluation.toy import imgedit as imgedit_toy
from ladder.evaluation.toy import tiif as tiif_toy
from ladder.evaluation.toy.test_set import evaluation_edits
from ladder.world.edits import KINDS, Edit
from ladder.world.language import held_out
from ladder.world.oracle import detect, same_scene
from ladder.world.render import render
from ladder.world.scenes import Scene, Thing

EVALUATION = Evaluation(seed=7, prompts=2, images=1, edits=4, questions=1, resamples=100)
STAR = Thing(0, "star", "red", "large")
HEART = Thing(4, "heart", "blue", "small")


def dense_answers(one: dpg_toy.Dense, scene: Scene) -> dict[str, str]:
    picture = render(scene)
    return dict(zip(one.questions, said(one.questions.values(), picture), strict=True))


# ---- DPG-toy ----


def test_dense_prompts_are_true_of_their_scenes_and_depend_on_the_seed_alone():
    asked = dpg_toy.prompts(7)
    assert asked == dpg_toy.prompts(7)
    assert asked != dpg_toy.prompts(8)
    assert len({one.text for one in asked}) == len(asked) == dpg_toy.PROMPTS
    answers = [[dense_answers(one, one.scene)] for one in asked]
    found = dpg_toy.scores(asked, answers, EVALUATION)
    assert {name: leaf["mean"] for name, leaf in found.items()} == dict.fromkeys(found, 1.0)


def test_a_missing_object_takes_all_that_depends_on_it():
    one = dpg_toy.prompts(7)[0]
    lost, *rest = one.scene.things
    answers = dense_answers(one, dataclasses.replace(one.scene, things=tuple(rest)))
    wrong = {number for number, answer in answers.items() if answer == "no"}
    rows = {row["proposition_id"]: row for row in one.rows}
    whole = next(n for n, row in rows.items() if row["tuple"] == f"entity - whole ({lost.shape})")
    below = {n for n, row in rows.items() if whole in row["dependency"].split(",")}
    assert wrong == {whole} | below
    assert len(below) == 4
    (score,) = dpg_toy.by_prompt([one], [[answers]])
    assert score == 1 - 5 / len(rows)


def test_a_wrong_color_costs_one_question_and_no_other():
    one = dpg_toy.prompts(7)[0]
    first, *rest = one.scene.things
    other = dataclasses.replace(first, color="pink" if first.color != "pink" else "red")
    answers = dense_answers(one, dataclasses.replace(one.scene, things=(other, *rest)))
    assert [*answers.values()].count("no") == 1
    assert dpg_toy.by_prompt([one], [[answers]]) == [1 - 1 / len(one.rows)]


def test_the_numbers_of_dpg_are_the_scorers():
    asked = dpg_toy.prompts(7)
    answers = [
        [dense_answers(one, other.scene)]
        for one, other in zip(asked, [*asked[1:], asked[0]], strict=True)
    ]
    found = dpg_toy.scores(asked, answers, EVALUATION)
    whole = dpg.fixed(dpg_toy.table_of(asked), dpg_toy.by_item(asked, answers))
    assert 0 < found["overall"]["mean"] < 0.5
    assert found["overall"]["mean"] == pytest.approx(whole["dpg"] / 100)
    for name, value in whole["l1"].items():
        assert found[name]["mean"] == pytest.approx(value / 100)


# ---- TIIF-toy ----


def test_pairs_are_balanced_held_out_and_true_in_both_lengths():
    asked = tiif_toy.prompts(7)
    assert Counter(pair.attribute for pair in asked) == dict.fromkeys(tiif_toy.ATTRIBUTES, 8)
    assert all(held_out(pair.texts["short"]) for pair in asked)
    lengths = {name: sum(len(pair.texts[name]) for pair in asked) for name in tiif.LENGTHS}
    assert lengths["long"] > 2 * lengths["short"]
    numbers = {(pair.attribute, len(pair.questions)) for pair in asked}
    assert len(numbers) == len(tiif_toy.ATTRIBUTES)
    for pair in asked:
        assert said(pair.questions, render(pair.scene)) == [*pair.questions.values()], pair
    assert {"yes", "no"} == {answer for pair in asked for answer in pair.questions.values()}


def test_the_numbers_of_tiif_are_the_scorers():
    asked = tiif_toy.prompts(7)
    short = [said(pair.questions, render(pair.scene)) for pair in asked]
    long = [said(pair.questions, render(Scene((STAR,)))) for pair in asked]
    answers = [{"short": a, "long": b} for a, b in zip(short, long, strict=True)]
    found = tiif_toy.scores(asked, answers, EVALUATION)
    records = tiif_toy.records(asked, answers)
    whole = tiif.fixed(records)
    assert found["short"]["overall"]["mean"] == whole[tiif.OVERALL][0] == 1
    assert found["long"]["overall"]["mean"] == pytest.approx(whole[tiif.OVERALL][1])
    assert 0 < whole[tiif.OVERALL][1] < 0.5
    for name, (_, value) in whole.items():
        if name in tiif.GROUPS and value is not None:
            group = found["long"][name.split(" - ")[0]]
            assert group["mean"] == pytest.approx(value)
    assert found["long"]["overall"]["n"] == len(asked)
    assert found["long"]["yes_rate"]["mean"] < found["short"]["yes_rate"]["mean"] < 1


# ---- ImgEdit-toy ----


def criteria(edit: Edit, result: Scene) -> list[int]:
    text = imgedit_toy.judge_text(edit, detect(render(result)))
    return [int(line.split(": ")[1]) for line in text.splitlines()]


@pytest.mark.parametrize("kind", KINDS)
def test_the_target_gets_a_5_and_the_source_a_1(kind: str):
    for edit in evaluation_edits(6, seed=1):
        if edit.kind == kind and not same_scene(edit.before, edit.after):
            assert criteria(edit, edit.after) == [5, 5, 5]
            assert criteria(edit, edit.before)[:2] == [1, 5]
            assert imgedit_toy.grades([edit], [detect(render(edit.before))]) == [1.0]


def test_each_criterion_sees_its_own_fault():
    yellow, pink = (dataclasses.replace(STAR, color=color) for color in ("yellow", "pink"))
    edit = Edit(Scene((STAR, HEART)), Scene((yellow, HEART)), "recolor", ("",))
    assert criteria(edit, Scene((pink, HEART))) == [1, 5, 5]
    changed = dataclasses.replace(HEART, color="green", size="large")
    # Kept of the star: shape and size; of the heart: its shape; and the background.
    assert criteria(edit, Scene((yellow, changed))) == [5, 1 + round(4 * 4 / 6), 5]
    more = Thing(8, "cross", "green", "large")
    assert criteria(edit, Scene((yellow, HEART, more))) == [5, 5, 1 + round(4 * 2 / 3)]
    assert criteria(edit, Scene(())) == [1, 1 + round(4 * 1 / 6), 1]


def test_edits_are_graded_from_1_to_5_kinds_alike():
    edits = evaluation_edits(4, seed=2)
    # Only recolouring succeeds; the others leave the picture as it was.
    shown = [edit.after if edit.kind == "recolor" else edit.before for edit in edits]
    found = [detect(render(scene)) for scene in shown]
    metrics = imgedit_toy.scores(edits, found, EVALUATION)
    assert metrics["kinds"]["recolor"]["mean"] == 5
    assert metrics["official"]["mean"] > metrics["overall"]["mean"]
    items = [
        {"type": edit.kind, "judge_text": imgedit_toy.judge_text(edit, seen)}
        for edit, seen in zip(edits, found, strict=True)
    ]
    macro = imgedit.summary(items, imgedit.fixed)["macro"]
    assert metrics["overall"]["mean"] == pytest.approx(macro, abs=0.005)
