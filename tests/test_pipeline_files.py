"""The DVC pipeline knows all that its stages read: every module, every parameter, every folder.

A stage whose dependency is missing would be skipped after a change that concerns it, and the
committed results would no longer be those of the code beside them.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ladder.config.load import Config

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
PIPELINE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())
STAGES = PIPELINE["stages"]
PLOTTED = [path for plot in PIPELINE["plots"] for entry in plot.values() for path in entry["y"]]
ENTRIES = {
    "./ladder world": "ladder.world.shards",
    "./ladder curate": "ladder.data.curation.curate",
    "./ladder pretrain autoencoder": "ladder.pretraining.autoencoder",
    "./ladder pretrain mllm_base": "ladder.pretraining.mllm",
    "./ladder pretrain mllm": "ladder.pretraining.mllm_tuning",
    "./ladder pretrain generator_base": "ladder.pretraining.generator",
    "./ladder pretrain generator": "ladder.pretraining.generator_tuning",
    "./ladder examine": "ladder.evaluation.toy.foundations",
    "./ladder encode": "ladder.data.training.encode",
    "./ladder train t2i": "ladder.training.stages",
    "./ladder train ti2i": "ladder.training.stages",
    "./ladder train finetune --export models/ladder": "ladder.training.stages",
    "./ladder evaluate": "ladder.evaluation.run",
}
CARRIERS = {"ladder", "ladder.cli.main", "ladder.config"} | {
    f"ladder.config.{name}"
    for name in ("load", "layers", "old_names", "repository", "schema", "training_schema", "types")
}
"""Modules that only carry values; a stage depends on the values instead, as its parameters."""
HARMLESS = {
    "t2i": {"threads", "cluster", "evaluation", "sampling"},
    "ti2i": {"threads", "cluster", "evaluation", "sampling"},
    "finetune": {"threads", "cluster", "evaluation"},
}
"""Parameters that a stage reads but which change no result: how fast it comes, and how the grids
are drawn that show the progress of a training. (Several processes do change a training; DVC's
stages run in one.)"""


def path_of(module: str) -> Path | None:
    """The file of a module of ours, or None for what is none (a class, another's package)."""
    plain = SOURCE / Path(*module.split("."))
    files = (plain.with_suffix(".py"), plain / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def imports(file: Path) -> set[str]:
    """Modules of ours that a file imports anywhere, their packages included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports of ours are absolute"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    ours = {name for name in found if name.startswith("ladder.") and path_of(name)}
    return ours.union(*map(packages_of, ours))


def packages_of(module: str) -> set[str]:
    """The packages around a module of ours that have a file."""
    parts = module.split(".")
    around = (".".join(parts[:end]) for end in range(2, len(parts)))
    return {name for name in around if path_of(name)}


def closure(module: str) -> set[str]:
    """A module and all of ours that importing and running it may load, without the carriers."""
    waiting, seen = {module} | packages_of(module), set()
    while waiting:
        seen |= waiting
        waiting = set().union(*(imports(path_of(name)) for name in waiting)) - seen - CARRIERS
    return seen - CARRIERS


def files(modules: set[str]) -> set[str]:
    """Files with anything in them, relative to the repository; empty ones can't change a result."""
    paths = {path_of(name) for name in modules}
    return {str(path.relative_to(ROOT)) for path in paths if path.read_text().strip()}


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


def sections_passed(verb: str) -> set[str]:
    """Top-level keys that the command line itself hands to a verb."""
    tree = ast.parse((SOURCE / "ladder/cli/pipeline.py").read_text())
    (function,) = (x for x in tree.body if isinstance(x, ast.FunctionDef) and x.name == verb)
    return {
        node.attr
        for node in ast.walk(function)
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
    assert {stage["cmd"] for stage in STAGES.values()} == set(ENTRIES)


def test_dvc_accepts_the_pipeline():
    dvc = Path(sys.executable).with_name("dvc")
    listed = subprocess.run(
        [dvc, "stage", "list", "--name-only"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.split() == [*STAGES]


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_exactly_the_modules_it_may_load(name: str):
    named = {path for path in STAGES[name]["deps"] if path.startswith("src/")}
    needed = files(closure(ENTRIES[STAGES[name]["cmd"]]))
    assert named == needed, (
        f"{name}: add {sorted(needed - named)} to its deps, remove {sorted(named - needed)}"
    )


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_names_the_parameters_it_reads(name: str):
    named = {str(key).partition(".")[0] for key in STAGES[name].get("params", ())}
    command = STAGES[name]["cmd"]
    needed = sections_read(ENTRIES[command]) | sections_passed(command.split()[1])
    needed -= HARMLESS.get(name, {"threads", "cluster"})
    assert needed <= named, f"{name}: add {sorted(needed - named)}"
    assert named <= set(Config.__dataclass_fields__)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_that_an_arm_may_change_depends_on_the_arm(name: str):
    """An arm may change these sections, so its file is as good as a parameter."""
    named = {str(key).partition(".")[0] for key in STAGES[name].get("params", ())}
    concerned = bool(named & {"model", "stages", "monitor", "curation"})
    assert concerned == ("experiments/arms/${arm}.yaml" in STAGES[name]["deps"])


def test_every_folder_that_is_read_is_made_by_another_stage():
    made = {path for stage in STAGES.values() for path in outputs(stage)}
    for name, stage in STAGES.items():
        for path in stage["deps"]:
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
