"""Verdicts on hypotheses: by the rules of the plan, and the plan is that of the studies."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ladder.config.layers import ConfigError
from ladder.evaluation.outcomes import METRICS
from ladder.experiments.hypotheses import Finding, findings, secondary
from ladder.experiments.results import Run
from ladder.experiments.statistics import MINUS
from ladder.experiments.study import STUDIES, Hypothesis, Study

ROOT = Path(__file__).parents[2]
PLAN = (ROOT / STUDIES / "PREREGISTERED.md").read_text()
SHIPPED = [Study.read(file.stem, root=ROOT) for file in sorted((ROOT / STUDIES).glob("*.yaml"))]
LOSS = "heldout_loss.ti2i"
CONFIG = {"evaluation": {"seed": 0}, "sampling": {"steps": 20}}


def run(arm: str, seed: int, level: float, metric: str = LOSS) -> Run:
    """A run whose scores are `level`, but for noise that is its own."""
    noise = 0.002 * np.random.default_rng([seed, *arm.encode()]).normal(size=40)
    scores = {"metric": metric, "group": "ti2i", "number": range(40), "prompt": "x"}
    rows = pd.DataFrame({**scores, "picture": pd.NA, "score": level + noise})
    return Run(arm, seed, CONFIG, rows)


def study(**changes: object) -> Study:
    one = {"question": "?", "claim": ".", "better": "ladder", "than": ["last", "other"],
           "outcome": LOSS, "matters": 0.005} | changes  # fmt: skip
    return Study(
        notebook="x.ipynb", analysis="scores", control="last", arms=["ladder", "last", "other"],
        seeds=[1, 2, 3], outcomes=[LOSS], hypotheses={"H": Hypothesis(**one)},
    )  # fmt: skip


def judged(levels: dict[str, float], **changes: object) -> Finding:
    runs = [run(arm, seed, level) for arm, level in levels.items() for seed in (1, 2, 3)]
    return findings(study(**changes), runs)[0]


@pytest.mark.parametrize(
    ("last", "other", "verdict"),
    [
        (0.52, 0.53, "supported"),  # a lower loss than both, by more than matters
        (0.52, 0.502, "refuted"),  # by less than matters
        (0.52, 0.48, "refuted"),  # a higher one
        (0.52, 0.5053, "supported"),  # by what may matter
    ],
)
def test_a_claim_is_as_sure_as_its_weakest_comparison(last: float, other: float, verdict: str):
    found = judged({"ladder": 0.5, "last": last, "other": other})
    assert found.verdict == verdict
    assert found.weakest[0] == "other" or other > last
    assert {*found.differences} == {"last", "other"}


def test_a_gain_that_could_be_chance_and_could_matter_is_undecided():
    """Seeds that differ by ten times what matters."""
    runs = [
        run(arm, seed, level + 0.05 * (seed - 2) * turn)
        for arm, level, turn in (("ladder", 0.5, 1), ("last", 0.52, 0), ("other", 0.52, -1))
        for seed in (1, 2, 3)
    ]
    assert findings(study(), runs)[0].verdict == "undecided"


def test_no_worse_is_supported_if_a_loss_that_matters_is_excluded():
    equal = {"ladder": 0.5, "last": 0.5, "other": 0.5}
    assert judged(equal).verdict == "refuted"
    assert judged(equal, expect="no worse").verdict == "supported"
    assert judged({**equal, "ladder": 0.51}, expect="no worse").verdict == "refuted"


def test_without_two_seeds_of_each_arm_there_is_no_verdict():
    found = judged({"ladder": 0.5, "last": 0.52})
    assert (found.verdict, found.p, found.differences) == ("no runs", 1.0, {})
    runs = [run(arm, 1, 0.5) for arm in ("ladder", "last", "other")]
    assert findings(study(), runs)[0].verdict == "no runs"


def test_hypotheses_of_a_study_are_corrected_together():
    """One that has no runs counts."""
    alone = study(than=["last"])
    more = alone.hypotheses["H"].model_copy(update={"outcome": "edit.exact"})
    both = alone.model_copy(update={"hypotheses": {**alone.hypotheses, "K": more}})
    runs = [run(arm, seed, level) for arm, level in (("ladder", 0.5), ("last", 0.501))
            for seed in (1, 2, 3)]  # fmt: skip
    assert findings(both, runs)[0].p == pytest.approx(2 * findings(alone, runs)[0].p)


def test_a_secondary_outcome_refutes_nothing():
    one = study(secondary=["edit.exact"])
    runs = [run(arm, seed, 0.5, "edit.exact") for arm in one.arms for seed in (1, 2, 3)]
    (found,) = secondary(one, runs)
    assert (found.outcome, found.verdict) == ("edit.exact", "undecided")
    assert secondary(one, runs, place=1) == []


def test_an_outcome_that_is_none_is_an_error():
    with pytest.raises(ValueError, match=r"a metric is one of .* got 'heldout_los'"):
        findings(study(outcome="heldout_los"), [])


@pytest.mark.parametrize(
    "changes", [{"than": []}, {"than": ["nobody"]}, {"better": "nobody"}, {"than": ["ladder"]}]
)
def test_a_hypothesis_compares_different_arms_of_its_study(changes: dict[str, object]):
    with pytest.raises(ValueError, match=r"hypotheses\.H must compare different arms"):
        study(**changes)


def test_a_wrong_key_of_a_hypothesis_is_named(tmp_path: Path):
    text = (ROOT / STUDIES / "layers.yaml").read_text()
    path = tmp_path / STUDIES / "layers.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text.replace("    matters: 0.005 ", "    matter: 0.005 ", 1))
    with pytest.raises(ConfigError, match=r"no key 'hypotheses\.H1\.matter'.*matters"):
        Study.read("layers", root=tmp_path)


# ---- the plan ----

ROW = re.compile(r"^\| (H\d) \| `(\w+)` > (.+?) \| `([^`]+)` \| ([\d.]+) \|$", re.MULTILINE)


def test_the_plan_says_what_the_studies_say():
    planned = {
        name: (better, re.findall(r"`(\w+)`", than), outcome, float(matters))
        for name, better, than, outcome, matters in ROW.findall(PLAN)
    }
    stated = {
        name: (one.better, one.than, one.outcome, one.matters)
        for shipped in SHIPPED
        for name, one in shipped.hypotheses.items()
    }
    assert planned == stated
    assert len(stated) == sum(len(shipped.hypotheses) for shipped in SHIPPED) == 5
    for name, one in stated.items():
        assert f"- **{name}.**" in PLAN
        assert f"at most {one[3]}" in PLAN
    assert "## Deviations" in PLAN
    assert "**This is a draft.**" in PLAN


def test_every_outcome_of_a_study_is_a_metric():
    for shipped in SHIPPED:
        asked = [*shipped.outcomes]
        for one in shipped.hypotheses.values():
            asked += [one.outcome, *one.secondary]
            assert {*one.outcome.split(MINUS)} <= {*shipped.outcomes}
        for outcome in asked:
            assert {*outcome.split(MINUS)} <= {*METRICS}
