"""DPG, TIIF and ImgEdit in the toy world: true pictures reach the top, wrong ones fail where they
are wrong, and the scorers' numbers are the means that the intervals are of."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from ladder.config.load import Config
from ladder.evaluation.outcomes import Outcome, aggregate, table
from ladder.evaluation.scorers import dpg, imgedit, tiif
from ladder.evaluation.toy import dpg as dpg_toy
from ladder.evaluation.toy import imgedit as imgedit_toy
from ladder.evaluation.toy import tiif as tiif_toy
from ladder.evaluation.toy.edits import EditsToy
from ladder.evaluation.toy.observe import Observed
from ladder.evaluation.toy.test_set import evaluation_edits
from ladder.world.edits import KINDS, Edit
from ladder.world.language import held_out
from ladder.world.oracle import detect, same_scene
from ladder.world.render import render
from ladder.world.scenes import Scene, Thing

STAR = Thing(0, "star", "red", "large")
HEART = Thing(4, "heart", "blue", "small")


@pytest.fixture
def dense(config: Config) -> dpg_toy.DpgToy:
    return dpg_toy.DpgToy(dataclasses.replace(config.evaluation, seed=7), config.sampling)


@pytest.fixture
def lengths(config: Config) -> tiif_toy.TiifToy:
    evaluation = dataclasses.replace(config.evaluation, seed=7)
    return tiif_toy.TiifToy(evaluation, config.sampling, "toy")


def shown(scene: Scene) -> Observed:
    return Observed.of(render(scene))


def scores(outcomes: list[Outcome]) -> dict[str, dict]:
    return aggregate(table(outcomes), resamples=100, seed=0)


def one_score(benchmark: dpg_toy.DpgToy, scene: Scene) -> float:
    """Of the first prompt, if the picture shows `scene`."""
    seen = [[shown(scene)], *([shown(one.scene)] for one in benchmark.prompts[1:])]
    (first,) = (one for one in benchmark.score(seen) if one.number == 0 and one.metric == "dpg_toy")
    return first.score


def dense_answers(one: dpg_toy.Dense, scene: Scene) -> dict[str, str]:
    return dict(dpg_toy.answers(one, shown(scene).found))


# ---- DPG-toy ----


def test_dense_prompts_are_true_of_their_scenes_and_depend_on_the_seed_alone(
    dense: dpg_toy.DpgToy,
):
    asked = dpg_toy.prompts(7)
    assert asked == dpg_toy.prompts(7)
    assert asked != dpg_toy.prompts(8)
    assert len({one.text for one in asked}) == len(asked) == dpg_toy.PROMPTS
    found = scores(dense.score([[shown(one.scene)] for one in dense.prompts]))["dpg_toy"]
    assert {name: leaf["mean"] for name, leaf in found.items()} == dict.fromkeys(found, 1.0)


def test_a_missing_object_takes_all_that_depends_on_it(dense: dpg_toy.DpgToy):
    one = dense.prompts[0]
    lost, *rest = one.scene.things
    less = dataclasses.replace(one.scene, things=tuple(rest))
    answers = dense_answers(one, less)
    wrong = {number for number, answer in answers.items() if answer == "no"}
    rows = {row["proposition_id"]: row for row in one.rows}
    whole = next(n for n, row in rows.items() if row["tuple"] == f"entity - whole ({lost.shape})")
    below = {n for n, row in rows.items() if whole in row["dependency"].split(",")}
    assert wrong == {whole} | below
    assert len(below) == 4
    assert one_score(dense, less) == pytest.approx(1 - 5 / len(rows))


def test_a_wrong_color_costs_one_question_and_no_other(dense: dpg_toy.DpgToy):
    one = dense.prompts[0]
    first, *rest = one.scene.things
    other = dataclasses.replace(first, color="pink" if first.color != "pink" else "red")
    wrong = dataclasses.replace(one.scene, things=(other, *rest))
    answers = dense_answers(one, wrong)
    assert [*answers.values()].count("no") == 1
    assert one_score(dense, wrong) == pytest.approx(1 - 1 / len(one.rows))


def test_the_numbers_of_dpg_are_the_scorers(dense: dpg_toy.DpgToy):
    asked = dense.prompts
    others = [one.scene for one in (*asked[1:], asked[0])]
    found = scores(dense.score([[shown(scene)] for scene in others]))["dpg_toy"]
    said = {one.item: [dense_answers(one, scene)] for one, scene in zip(asked, others, strict=True)}
    whole = dpg.fixed(dense.table(), said)
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
        record = tiif_toy.record_of(pair, 0, "short", shown(pair.scene))
        assert record["answered"] == record["expected"], pair
    assert {"yes", "no"} == {answer for pair in asked for answer in pair.questions.values()}


def test_the_numbers_of_tiif_are_the_scorers(lengths: tiif_toy.TiifToy):
    asked, star = lengths.prompts, shown(Scene((STAR,)))
    outcomes = lengths.score([{"short": shown(pair.scene), "long": star} for pair in asked])
    found = scores(outcomes)["tiif_toy"]
    whole = tiif.fixed([one.said for one in outcomes if one.said])
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
            text = imgedit_toy.judge_text(edit, detect(render(edit.before)))
            assert imgedit.fixed(text) == 1


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


def test_edits_are_graded_from_1_to_5_kinds_alike(config: Config):
    evaluation = dataclasses.replace(config.evaluation, edits=4, seed=2)
    benchmark = EditsToy(evaluation, config.sampling)
    # Only recolouring succeeds; the others leave the picture as it was.
    seen = [
        shown(edit.after if edit.kind == "recolor" else edit.before) for edit in benchmark.prompts
    ]
    outcomes = benchmark.score(seen)
    metrics = scores(outcomes)["imgedit_toy"]
    assert metrics["kinds"]["recolor"]["mean"] == 5
    assert metrics["official"]["mean"] > metrics["overall"]["mean"]
    items = [
        {"type": one.group, "judge_text": one.said}
        for one in outcomes
        if one.metric == "imgedit_toy"
    ]
    macro = imgedit.summary(items, imgedit.fixed)["macro"]
    assert metrics["overall"]["mean"] == pytest.approx(macro, abs=0.005)
