"""The DVC pipeline knows all that its stages read: every module, every parameter, every folder.

A stage whose dependency is missing would be skipped after a change that concerns it, and the
committed results would no longer be those of the code beside them.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import networkx as nx
import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from ladder.config.load import Config
from ladder.experiments.meaning import ENTRIES, closure, imports, path_of

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
PIPELINE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())
STAGES = PIPELINE["stages"]
CODE = STAGES.pop("code")
PLOTTED = [path for plot in PIPELINE["plots"] for entry in plot.values() for path in entry["y"]]
HARMLESS = {
    "t2i": {"threads", "cluster", "training", "evaluation", "sampling"},
    "ti2i": {"threads", "cluster", "training", "evaluation", "sampling"},
    "finetune": {"threads", "cluster", "training", "evaluation"},
}
"""Parameters that a stage reads but which change no result: how fast it comes, and how the grids
are drawn that show the progress of a training. (Several processes do change a training; DVC's
stages run in one.)"""


def sections_read(module: str) -> set[str]:
    """Top-level keys of the configuration that a module's closure reads as `config.key`."""
    nodes = [
        node for name in closure(module) for node in ast.walk(ast.parse(path_of(name).read_text()))
    ]
    read = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "config"
    }
    keys = set(Config.__dataclass_fields__)
    return keys if "as_dict" in read else keys & read


def verb(name: str) -> ast.FunctionDef:
    """The function of the command line that is a verb of the pipeline."""
    tree = ast.parse((SOURCE / "ladder/cli/pipeline.py").read_text())
    (function,) = (x for x in tree.body if isinstance(x, ast.FunctionDef) and x.name == name)
    return function


def sections_passed(name: str) -> set[str]:
    """Top-level keys that the command line itself hands to a verb."""
    return {
        node.attr
        for node in ast.walk(verb(name))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "config"
    }


def test_the_stages_are_the_planned_ones():
    assert [*STAGES] == [
        "world",
        "curate",
        "foundations_autoencoder",
        "foundations_mllm_base",
        "foundations_mllm",
        "foundations_generator_base",
        "foundations_generator",
        "examine",
        "encode",
        "t2i",
        "ti2i",
        "finetune",
        "evaluate",
    ]


def test_dvc_accepts_the_pipeline():
    dvc = Path(sys.executable).with_name("dvc")
    listed = subprocess.run(
        [dvc, "stage", "list", "--name-only"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.split() == ["code", *STAGES]


def test_what_the_code_means_is_noted_before_all_else():
    assert CODE["deps"] == ["notebooks", "src/ladder"]
    assert outputs(CODE) == ["code.json"]


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_the_meaning_of_its_code_and_on_no_file_of_it(name: str):
    assert {"code.json": [name]} in STAGES[name]["params"]
    assert not any(path.startswith("src/") for path in STAGES[name].get("deps", ()))


@pytest.mark.parametrize("name", STAGES)
def test_the_command_of_a_stage_runs_the_module_whose_meaning_is_noted(name: str):
    words = STAGES[name]["cmd"].split()
    assert ENTRIES[name] in imports(ast.unparse(verb(words[1])))


def sections_named(name: str) -> set[str]:
    """Top-level keys of params.yaml that a stage depends on."""
    return {key.partition(".")[0] for key in STAGES[name]["params"] if isinstance(key, str)}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_names_the_parameters_it_reads(name: str):
    needed = sections_read(ENTRIES[name]) | sections_passed(STAGES[name]["cmd"].split()[1])
    needed -= HARMLESS.get(name, {"threads", "cluster", "training"})
    named = sections_named(name)
    assert needed <= named, f"{name}: add {sorted(needed - named)}"
    assert named <= set(Config.__dataclass_fields__)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_that_an_arm_may_change_depends_on_the_arm(name: str):
    """An arm may change these sections, so its file is as good as a parameter."""
    concerned = bool(sections_named(name) & {"model", "stages", "monitor", "curation"})
    assert concerned == ({"experiments/arms/${arm}.yaml": None} in STAGES[name]["params"])


def test_every_folder_that_is_read_is_made_by_another_stage():
    made = {path for stage in STAGES.values() for path in outputs(stage)}
    for name, stage in STAGES.items():
        for path in stage.get("deps", ()):
            if path.startswith(("data/", "models/", "runs/")):
                assert path in made, f"{name} reads {path}"


def test_every_plot_is_made_by_a_stage():
    made = tuple(path + "/" for stage in STAGES.values() for path in outputs(stage))
    for path in PLOTTED:
        assert f"{path}/".startswith(made), path


def outputs(stage: dict) -> list[str]:
    entries = [*stage.get("outs", ()), *stage.get("metrics", ()), *stage.get("plots", ())]
    return [path for entry in entries for path in ([entry] if isinstance(entry, str) else entry)]


def test_what_is_in_git_is_not_in_the_cache():
    ignored = subprocess.run(
        ["git", "check-ignore", "--stdin"],
        cwd=ROOT,
        input="\n".join(path_in_run(path) for stage in STAGES.values() for path in outputs(stage)),
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    for stage in STAGES.values():
        for entry in (*stage.get("outs", ()), *stage.get("metrics", ())):
            path, options = (entry, {}) if isinstance(entry, str) else next(iter(entry.items()))
            in_git = path_in_run(path) not in ignored
            assert in_git == (options.get("cache") is False), path


def path_in_run(path: str) -> str:
    """A path of dvc.yaml as it is for the shipped run."""
    return path.replace("${arm}", "ladder").replace("${seed}", "0")


def test_the_list_of_stages_says_what_each_needs_and_fits_a_terminal():
    """`dvc stage list` shows the descriptions; `dvc dag` draws hundreds of columns."""
    graph = Repo(str(ROOT)).index.graph
    edges = [(one.name, of.name) for one, of in graph.edges]
    needs = nx.DiGraph(edge for edge in edges if {*edge} <= {*STAGES})
    told = nx.DiGraph()
    told.add_nodes_from(STAGES)
    for name, stage in STAGES.items():
        start, colon, _ = stage["desc"].partition(": ")
        if colon:
            told.add_edges_from((name, one) for one in start.removeprefix("from ").split(", "))
    assert {*told.edges} == {*nx.transitive_reduction(needs).edges}
    width = max(map(len, STAGES)) + 2
    assert all(width + len(stage["desc"]) <= 100 for stage in STAGES.values())
