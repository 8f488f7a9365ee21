"""An honest rerun is recognised, and so is what is spoilt, mixed up or too small to tell."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ladder.evaluation import outcomes
from ladder.experiments.equivalence import MARGIN, PairedDifference, agrees, difference, judge
from ladder.experiments.reproduced import PARTS, EvaluatedRun, compare, reproduced

METRICS = [metric for metrics in PARTS.values() for metric in metrics]
EDITS = PARTS["edits"]


@pytest.fixture(scope="module")
def committed(root: Path) -> EvaluatedRun:
    """The committed run of the main job."""
    return EvaluatedRun.read("ladder-0", root / "experiments/results")


def changed(
    result: EvaluatedRun, change: Callable[[pd.DataFrame], pd.Series], *metrics: str
) -> EvaluatedRun:
    """The result with other scores in some metrics (in all of them)."""
    parts = [
        rows.assign(score=change(rows)) if metric in (metrics or METRICS) else rows
        for metric, rows in result.prompts.groupby("metric", sort=False)
    ]
    return EvaluatedRun(result.facts, pd.concat(parts))


def rerun(result: EvaluatedRun, seed: int, redrawn: float = 0.25) -> EvaluatedRun:
    """What another processor gives: a share of the prompts comes out anew, as good on average."""
    rng = np.random.default_rng(seed)

    def again(rows: pd.DataFrame) -> pd.Series:
        anew = rng.random(len(rows)) < redrawn
        others = rows.groupby("group")["score"].transform(lambda one: rng.permutation(one))
        return rows["score"].where(~anew, others)

    return changed(result, again, *[metric for metric in METRICS if metric != "understanding"])


def answer(committed: EvaluatedRun, here: EvaluatedRun) -> str:
    return (
        str(compare(committed, here)).splitlines()[-1].removeprefix("reproduced within 3 points: ")
    )


# ---- yes ----


def test_a_run_is_its_own_reproduction(committed: EvaluatedRun):
    assert answer(committed, committed) == "yes"


def test_honest_reruns_are_recognised(committed: EvaluatedRun):
    found = [answer(committed, rerun(committed, seed)) for seed in range(20)]
    assert found.count("yes") >= 19, found


def test_the_table_has_every_main_score_beside_the_committed_one(committed: EvaluatedRun):
    here = rerun(committed, 0)
    lines = str(compare(committed, here)).splitlines()
    rows = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in lines[2:-1]}
    assert [*rows] == [*METRICS, "all together"]
    score = committed.scores("edit.exact").groupby("group")["score"].mean().mean()
    assert float(rows["edit.exact"][1]) == pytest.approx(100 * score, abs=0.05)


# ---- no ----


@pytest.mark.parametrize(
    ("metrics", "lost"),
    [(("geneval_toy",), 0.06), (EDITS, 0.15), (("reasoning",), 0.3), (("understanding",), 0.1)],
)
def test_a_spoilt_stage_is_found(committed: EvaluatedRun, metrics: tuple[str, ...], lost: float):
    """Whatever was right is lost at random, as often as it takes for that drop."""
    rng = np.random.default_rng(0)

    def spoilt(rows: pd.DataFrame) -> pd.Series:
        kept = rng.random(len(rows)) >= lost / rows["score"].mean()
        return rows["score"] * kept

    said = answer(committed, changed(rerun(committed, 1), spoilt, *metrics))
    assert said.startswith("no, because ")
    assert any(f"{metric} differs by -" in said for metric in metrics), said


@pytest.mark.parametrize("shift", [1, 7])
def test_results_given_to_other_prompts_are_found(committed: EvaluatedRun, shift: int):
    """The means are the same; only prompts and results don't belong together any more."""
    mixed = changed(
        committed,
        lambda rows: rows.groupby("group")["score"].transform(lambda one: np.roll(one, shift)),
    )
    assert "no, because other prompts succeed here than there" in answer(committed, mixed)


def test_another_seed_is_named(committed: EvaluatedRun):
    config = committed.facts["config"] | {"seed": 1}
    here = EvaluatedRun(committed.facts | {"seed": 1, "config": config}, committed.prompts)
    assert answer(committed, here) == "no, because seed is 1 here and 0 there"


def test_other_data_and_settings_are_named(committed: EvaluatedRun):
    model = committed.facts["config"]["model"] | {"queries": 8}
    facts = committed.facts | {
        "config": committed.facts["config"] | {"model": model, "threads": 7},
        "provenance": committed.facts["provenance"] | {"data": "abc"},
    }
    said = answer(committed, EvaluatedRun(facts, committed.prompts))
    assert "data is abc here and " in said
    assert "model.queries is 8 here and 38 there" in said
    assert "threads" not in said


def test_settings_of_older_results_are_known_by_their_names_of_today(committed: EvaluatedRun):
    old, new = (
        EvaluatedRun(committed.facts | {"config": config}, committed.prompts)
        for config in ({"translation": {"steps": 4000}}, {"connector_warmup": {"steps": 1}})
    )
    assert answer(old, new) == "no, because connector_warmup.steps is 1 here and 4000 there"


def test_other_prompts_are_not_compared(committed: EvaluatedRun):
    other = committed.prompts.replace({"prompt": {"i want to see a circle": "a circle"}})
    lines = str(compare(committed, EvaluatedRun(committed.facts, other))).splitlines()
    assert lines == [
        "reproduced within 3 points: no, because the prompts of geneval_toy are others"
    ]


# ---- undecided ----


def test_what_few_prompts_cannot_tell_is_no_yes(committed: EvaluatedRun):
    """Of every tenth prompt, most redrawn: the interval is wider than the margin."""
    few = [
        EvaluatedRun(one.facts, one.prompts[one.prompts["number"] % 10 == 0])
        for one in (committed, rerun(committed, 0, redrawn=0.7))
    ]
    found = compare(*few)
    assert not found.together.within
    assert "all together differ by" in str(found)
    assert "which may be more than that" in str(found).splitlines()[-1]


def test_a_single_score_that_cannot_tell_decides_nothing(committed: EvaluatedRun):
    found = compare(committed, rerun(committed, 0, redrawn=0.6))
    assert "undecided" in found.findings.values()
    assert found.reasons == []


def test_verdicts_at_the_margin():
    """Within it, across it, and beyond it."""
    found = judge(
        {
            "same": PairedDifference(0.9, 0.9 + MARGIN / 2, 0.001, MARGIN - 0.001, 0.0001),
            "undecided": PairedDifference(0.9, 0.9 + MARGIN / 2, 0.0, MARGIN, 0.01),
            "other": PairedDifference(0.9, 0.9 - 2 * MARGIN, -0.08, -0.04, 0.0001),
        }
    )
    assert found == {name: name for name in ("same", "undecided", "other")}


def test_the_interval_is_that_of_the_paired_t_test():
    before, after = np.array([0.0, 1.0, 0.0, 1.0]), np.array([1.0, 1.0, 0.0, 1.0])
    found = difference(before, after)
    # Differences 1, 0, 0, 0: mean 1/4, standard error 1/4; t of 3 degrees at 95% is 2.3534.
    assert found.mean == 0.25
    assert (found.low, found.high) == pytest.approx((0.25 - 0.58834, 0.25 + 0.58834), abs=1e-4)
    with pytest.raises(ValueError, match="at least 2 prompts, got 1"):
        difference(before[:1], after[:1])


def test_agreement_is_that_of_permutations():
    rng = np.random.default_rng(0)
    before = rng.random(60)
    after = before + rng.random(60)
    groups = [f"{place % 3}" for place in range(60)]
    table = pd.DataFrame({"a": before, "b": after})

    def product(values: np.ndarray) -> float:
        centred = table.assign(b=values).groupby(groups).transform(lambda one: one - one.mean())
        return float((centred["a"] * centred["b"]).sum())

    drawn = []
    for _ in range(400):
        anew = table.groupby(groups)["b"].transform(lambda one: rng.permutation(one))
        drawn.append(product(anew.to_numpy()))
    expected = (product(after) - np.mean(drawn)) / np.std(drawn)
    assert agrees(before, after, groups) == pytest.approx(expected, rel=0.15)
    assert agrees(before, np.ones(60), groups) == float("inf")


# ---- from git ----


def test_the_committed_result_is_read_from_git(
    committed: EvaluatedRun, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "experiments/results"
    folder.mkdir(parents=True)
    shipped = root / "experiments/results"
    (tmp_path / "experiments/arms").mkdir()
    (tmp_path / "params.yaml").touch()  # what makes a folder a repository of ours
    for ending in (".json", outcomes.ENDING):
        (folder / f"ladder-0{ending}").write_bytes((shipped / f"ladder-0{ending}").read_bytes())
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    assert str(reproduced("ladder-0")).endswith("yes")
    # Now another run lies there.
    spoilt = changed(committed, lambda rows: 0 * rows["score"], "geneval_toy").prompts
    outcomes.write(spoilt.assign(picture=pd.NA), folder / f"ladder-0{outcomes.ENDING}")
    assert "geneval_toy differs by -91" in str(reproduced("ladder-0"))
    command = [sys.executable, "-m", "ladder.cli.main", "reproduced"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stdout == f"{reproduced('ladder-0')}\n"
    (folder / "ladder-7.json").write_text(json.dumps({}))
    with pytest.raises(FileNotFoundError, match=r"HEAD must hold .*ladder-7\.json"):
        reproduced("ladder-7")
