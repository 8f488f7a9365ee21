"""The DVC pipeline of the ablations knows all that its stages read, as the main one does."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
from ruamel.yaml import YAML
from tests.test_pipeline_files import HARMLESS, ROOT, closure, files, outputs, sections_read

from ladder.config.load import ARM_SECTIONS, load
from ladder.experiments.study import Study

STAGES = YAML(typ="safe").load((ROOT / "experiments/dvc.yaml").read_text())["stages"]
NOTEBOOKS = STAGES.pop("notebooks")
RESULTS = STAGES.pop("results")  # the notebook that reads the report
CELLS = [name for name in STAGES if name != "report"]
STUDY = Study.read(ROOT / "experiments/params.yaml")


def entry(name: str) -> str:
    words = STAGES[name]["cmd"].split()
    parts = {"train": "ladder.experiments.train_cell", "evaluate": "ladder.experiments.scoring"}
    return "ladder.experiments.report.page" if words[1] == "report" else parts[words[2]]


def test_dvc_accepts_it_and_has_a_stage_for_each_cell():
    dvc = [sys.executable.replace("python", "dvc"), "stage", "list", "--name-only"]
    listed = subprocess.run(
        [dvc[0].rpartition("/")[0] + "/dvc", *dvc[1:], "experiments/dvc.yaml"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert listed.returncode == 0, listed.stderr
    names = [line.partition(":")[2] for line in listed.stdout.split()]
    others = ["report", "results", *NOTEBOOKS["foreach"]]
    full = len(STUDY.full_length) * len(STUDY.full_length_seeds)
    assert len(names) == 2 * (len(STUDY.cells()) + full) + len(others)
    assert "train@ladder-1" in names
    assert "evaluate_monitor@faults_off-1" in names
    assert "train_full@ladder-1" in names


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_exactly_the_modules_it_may_load(name: str):
    named = {path for path in STAGES[name]["deps"] if path.endswith(".py")}
    assert named == files(closure(entry(name)))


def test_every_notebook_is_executed():
    executed = [f"notebooks/{name}.ipynb" for name in NOTEBOOKS["foreach"]]
    executed.append(RESULTS["cmd"].split()[-1])
    found = sorted(path.relative_to(ROOT) for path in (ROOT / "notebooks").iterdir())
    assert executed == [str(path) for path in found]


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_names_the_parameters_its_arm_and_its_profile(name: str):
    named = set(STAGES[name]["params"])
    read = sections_read(entry(name)) - {"seed", "arm", "threads"}
    assert read - HARMLESS["finetune"] <= named | ({"sampling"} if "train" in name else set())
    profile = "full" if name.endswith("_full") else "ablation"
    assert f"--profile {profile} " in STAGES[name]["cmd"]
    for path in ("experiments/arms/${item.arm}.yaml", f"experiments/profiles/{profile}.yaml"):
        assert path in STAGES[name]["deps"]


def test_a_cell_at_full_length_differs_from_the_main_job_in_what_it_is_asked_only():
    full, main, short = (load(profile, root=ROOT) for profile in ("full", None, "ablation"))
    assert full.evaluation == short.evaluation
    assert dataclasses.replace(full, evaluation=main.evaluation, threads=main.threads) == main


def test_what_cells_leave_is_in_git_but_for_their_ladders():
    for name in STAGES:
        entries = [*STAGES[name].get("outs", ()), *STAGES[name].get("metrics", ())]
        for out in entries:
            kept = isinstance(out, dict) and out[next(iter(out))]["cache"] is False
            assert kept != str(out).startswith("runs/"), out
    assert outputs(STAGES["report"])


@pytest.mark.parametrize("arm", [*STUDY.arms, *STUDY.monitors])
def test_every_arm_of_the_study_loads_under_the_profile(arm: str):
    config, control = load("ablation", arm, root=ROOT), load("ablation", STUDY.control, root=ROOT)
    changed = {
        name
        for name in config.as_dict()
        if name != "arm" and config.as_dict()[name] != control.as_dict()[name]
    }
    assert changed <= set(ARM_SECTIONS)
    assert changed or arm == STUDY.control
