"""GenEval 2 and WISE in the toy world: true pictures reach the top, wrong ones fail where they are
wrong, and the scorers of the benchmarks find the same numbers in what is saved."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest

from ladder.cli import main
from ladder.cli.benchmark_options import Toy
from ladder.config.load import Config
from ladder.evaluation.bounds import of_another
from ladder.evaluation.outcomes import Outcome, aggregate, table
from ladder.evaluation.run_toy import TOYS
from ladder.evaluation.scorers import geneval2 as scorer
from ladder.evaluation.scorers import wise as wise_scorer
from ladder.evaluation.scorers.score_file import score
from ladder.evaluation.toy.geneval2 import Geneval2Toy, answers, prompts
from ladder.evaluation.toy.observe import Observed
from ladder.evaluation.toy.wise import CATEGORIES, WiseToy, judge_text
from ladder.world.language import held_out
from ladder.world.oracle import detect
from ladder.world.render import render
from ladder.world.scenes import Scene, Thing

STAR, HEART = Thing(0, "star", "red", "large"), Thing(4, "heart", "blue", "small")


@pytest.fixture
def compositions(config: Config) -> Geneval2Toy:
    evaluation = dataclasses.replace(config.evaluation, prompts=6, seed=7)
    return Geneval2Toy(evaluation, config.sampling)


@pytest.fixture
def knowledge(config: Config) -> WiseToy:
    return WiseToy(dataclasses.replace(config.evaluation, prompts=4, seed=7), config.sampling)


def shown(scene: Scene) -> Observed:
    return Observed.of(render(scene))


def scores(outcomes: list[Outcome]) -> dict[str, dict]:
    return aggregate(table(outcomes), resamples=100, seed=0)


# ---- GenEval-2-toy ----


def test_compositions_are_held_out_balanced_and_as_large_as_the_benchmarks():
    asked = prompts(20, 7)
    assert asked == prompts(20, 7)
    assert asked != prompts(20, 8)
    assert len({one.text for one in asked}) == len(asked)
    assert all(held_out(one.text) for one in asked)
    assert Counter(one.kind for one in asked) == dict.fromkeys(("3", "6", "7", "9", "10"), 20)
    assert {int(one.kind) for one in asked} < {*scorer.ATOMICITIES}
    counts = Counter(answer for one in asked for _, answer in one.questions)
    assert {*counts} == {"Yes", "one", "two", "three", "four"}
    assert {skill for one in asked for skill in one.skills} < {*scorer.SKILLS}


def test_every_composition_is_true_of_its_scene(compositions: Geneval2Toy):
    """The relation, too: every object of the first group against every one of the second."""
    found = compositions.score([[shown(one.scene)] for one in compositions.prompts])
    assert {one.score for one in found} == {1.0}


def test_each_atom_sees_its_own_fault():
    related = (one for one in prompts(20, 7) if one.kind == "7")
    one = next(one for one in related if len(one.scene.things) > 2)
    first = one.scene.things[0]

    def wrong(*things: Thing) -> set[str]:
        said = answers(one, detect(render(Scene(things, one.scene.background))))
        pairs = zip(one.skills, one.questions, said, strict=True)
        return {skill for skill, asked, a in pairs if not scorer.atom(*asked, a, exact=True)}

    assert wrong(*one.scene.things) == set()
    other = "pink" if first.color != "pink" else "black"
    assert wrong(dataclasses.replace(first, color=other), *one.scene.things[1:]) == {"attribute"}
    same = [thing for thing in one.scene.things if thing.shape == first.shape]
    rest = [thing for thing in one.scene.things if thing.shape != first.shape]
    assert wrong(*rest) == {"object", "count", "attribute", "position"}
    if len(same) > 1:
        assert wrong(*same[1:], *rest) == {"count"}
    turned = [dataclasses.replace(thing, cell=8 - thing.cell) for thing in one.scene.things]
    assert wrong(*turned) == {"position"}


def test_the_numbers_of_compositions_are_the_scorers(compositions: Geneval2Toy, tmp_path: Path):
    asked = compositions.prompts
    seen = [[shown(one.scene)] for one in asked]
    mixed = [
        own + wrong for own, wrong in zip(seen, of_another(seen, compositions.groups), strict=True)
    ]
    outcomes = compositions.score(mixed)
    compositions.save(mixed, outcomes, tmp_path, tmp_path)
    found, whole = scores(outcomes)["geneval2_toy"], score("geneval2", tmp_path / "geneval2.json")
    assert whole["method"] == "soft_tifa"
    for mode in ("official", "fixed"):
        assert whole[mode]["soft_tifa_gm"] == pytest.approx(100 * found["overall"]["mean"])
        assert whole[mode]["soft_tifa_am"] == pytest.approx(100 * found["am"]["mean"])
        for atoms, one in found["atoms"].items():
            assert whole[mode]["atomicity"][atoms] == pytest.approx(100 * one["mean"])
    assert found["overall"]["mean"] == pytest.approx(0.5)
    assert 0.5 < found["am"]["mean"] < 1
    rows = (tmp_path / "geneval2_data.jsonl").read_text().splitlines()
    assert [json.loads(row)["prompt"] for row in rows] == [one.text for one in asked]


# ---- WISE-toy ----


def test_marks_say_how_much_is_right(knowledge: WiseToy):
    for prompt in knowledge.prompts:
        text = judge_text(prompt, detect(render(prompt.scene)))
        assert text == "Consistency: 2\nRealism: 2\nAesthetic Quality: 2", prompt
        empty = judge_text(prompt, detect(render(Scene((), "mint"))))
        assert empty == "Consistency: 0\nRealism: 0\nAesthetic Quality: 0"
    fact = next(one for one in knowledge.prompts if one.kind == "color_fact")
    (thing,) = fact.scene.things
    other = dataclasses.replace(thing, color="pink" if thing.color != "pink" else "black")
    half = judge_text(fact, detect(render(Scene((other,)))))
    assert half == "Consistency: 1\nRealism: 2\nAesthetic Quality: 2"
    assert wise_scorer.fixed_wiscore(half) == pytest.approx(0.65)
    denied = next(one for one in knowledge.prompts if one.kind == "negation")
    wrong = Scene((dataclasses.replace(STAR, shape=denied.row["exclude"][0]["class"]),))
    assert judge_text(denied, detect(render(wrong))).startswith("Consistency: 0")


def test_the_numbers_of_knowledge_are_the_scorers(knowledge: WiseToy, tmp_path: Path):
    seen = [
        [shown(one.scene), shown(Scene((STAR, HEART)))] if number % 3 else [shown(Scene(()))]
        for number, one in enumerate(knowledge.prompts)
    ]
    outcomes = knowledge.score(seen)
    knowledge.save(seen, outcomes, tmp_path, tmp_path)
    found, whole = scores(outcomes)["wise_toy"], score("wise", tmp_path / "wise.json")
    assert {*found} == {"overall", *CATEGORIES}
    for kind, category in CATEGORIES.items():
        own = [one.score for one in outcomes if one.group == kind]
        assert whole["fixed"][category] == pytest.approx(sum(own) / len(own))
    assert whole["failures"] == {}
    assert 0 < found["overall"]["mean"] < 1


# ---- the verb ----


def test_the_verb_knows_every_counterpart():
    assert [*get_args(Toy)] == [*TOYS]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "metric"),
    [("geneval2", "geneval2_toy overall"), ("wise", "wise_toy overall"),
     ("geneval", "geneval_toy overall"), ("imgedit", "imgedit_toy overall")],
)  # fmt: skip
def test_the_verb_asks_a_ladder(
    name: str, metric: str, tmp_path: Path, capsys: pytest.CaptureFixture
):
    words = ["toy", name, "--out", str(tmp_path), "--prompts", "2", "--images", "1"]
    assert main.main([*words, "--steps", "1", "--guidance", "1", "--image-guidance", "1"]) == 0
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in capsys.readouterr().out.splitlines()
    ]
    assert rows[0] == ["score", "mean", "low", "high", "floor", "ceiling", "n"]
    (overall,) = (row for row in rows if row[0] == metric)
    found = json.loads((tmp_path / "score.json").read_text())
    assert found["benchmark"] == f"{name}-toy"
    assert float(overall[5]) > 0.9, "the ceiling"
    assert (tmp_path / f"{name}.outcomes.parquet").is_file()
