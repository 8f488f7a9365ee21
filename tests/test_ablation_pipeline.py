"""The DVC pipeline of the ablations: a stage a study, the report, and every notebook."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from tests.test_pipeline_files import ROOT, outputs
from tests.test_pipeline_files import STAGES as MAIN

from ladder.config.load import load
from ladder.experiments.grid import grid_of, runs_of
from ladder.experiments.notebook import require_parameters
from ladder.experiments.results import RESULTS
from ladder.experiments.study import STUDIES, Study

STAGES = YAML(typ="safe").load((ROOT / "experiments/dvc.yaml").read_text())["stages"]
NOTEBOOKS = STAGES["notebooks"]
NAMES = [file.stem for file in sorted((ROOT / STUDIES).glob("*.yaml"))]
MOST_LINES = 2000


def test_dvc_accepts_it():
    dvc = [Path(sys.executable).with_name("dvc"), "stage", "list", "--name-only"]
    listed = subprocess.run(
        [*dvc, "experiments/dvc.yaml"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert listed.returncode == 0, listed.stderr
    names = [line.partition(":")[2] for line in listed.stdout.split()]
    assert names == [*NAMES, "report", *(f"notebooks@{n}" for n in NOTEBOOKS["foreach"]), "results"]


@pytest.mark.parametrize("name", NAMES)
def test_a_study_depends_on_all_that_the_keys_of_its_runs_do(name: str):
    """Only if a stage is out of date does the runner look which of the runs are."""
    stage, study = STAGES[name], Study.read(name, root=ROOT)
    assert stage["cmd"].endswith(f"ladder study run {name}")
    for path in (f"{STUDIES}/{name}.yaml", study.notebook, "experiments/arms",
                 "experiments/profiles", "data/encoded", "models/mllm"):  # fmt: skip
        assert path in stage["deps"]
    made = {path for one in MAIN.values() for path in outputs(one)}
    assert {path for path in made if path.startswith("models/sana/")} <= {*stage["deps"]}
    assert {"code.json": [f"notebooks.{Path(study.notebook).stem}"]} in stage["params"]
    assert {"params.yaml": None} in stage["params"]
    results = str(RESULTS / name)
    assert stage["outs"] == [{results: {"cache": False, "persist": True}}]
    assert results in STAGES["report"]["deps"]


def test_every_notebook_is_executed():
    executed = [f"notebooks/{name}.ipynb" for name in NOTEBOOKS["foreach"]]
    executed.append(STAGES["results"]["cmd"].split()[-1])
    found = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert executed == [str(path.relative_to(ROOT)) for path in found]
    for name, parameters in NOTEBOOKS["foreach"].items():
        words = [word for word in parameters.split() if word != "-p"]
        (planned,) = runs_of(grid_of(words))
        require_parameters(ROOT / f"notebooks/{name}.ipynb", planned.parameters)


def test_a_run_at_full_length_differs_from_the_main_job_in_what_it_is_asked_only():
    full, main, short = (load(profile, root=ROOT) for profile in ("full", None, "ablation"))
    assert full.evaluation == short.evaluation
    assert dataclasses.replace(full, evaluation=main.evaluation, threads=main.threads) == main


def test_what_studies_leave_is_in_git():
    for name in (*NAMES, "report", "results"):
        for out in STAGES[name]["outs"]:
            assert out[next(iter(out))]["cache"] is False


def test_the_lock_is_short():
    path = ROOT / "experiments/dvc.lock"
    assert not path.exists() or len(path.read_text().splitlines()) < MOST_LINES
