"""What is installed, locked, declared and imported is one and the same set of packages."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = ("requirements.lock", "requirements-playground.lock")
LOCK_LINES, PLAYGROUND_LINES = (
    [line for line in (ROOT / name).read_text().splitlines() if not line.startswith("#")]
    for name in LOCKS
)
RUNNERS = {"pytest-xdist", "nbstripout", "beartype", "ruff", "jupyterlab", "dvc", "tensorboard"}
"""Run as programs or plug-ins, or imported by name in a string; no `import` says so."""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lines: list[str]) -> dict[str, str]:
    return {canonical(name): version for name, version in (line.split("==") for line in lines)}


LOCK = pins(LOCK_LINES)
PLAYGROUND_LOCK = pins(PLAYGROUND_LINES)
DECLARED = {canonical(Requirement(text).name) for text in PROJECT["dependencies"]}
FOR_TESTS = {canonical(Requirement(text).name) for text in PROJECT["optional-dependencies"]["test"]}
FOR_THE_PLAYGROUND = [
    Requirement(text)
    for extra in ("playground", "test-playground")
    for text in PROJECT["optional-dependencies"][extra]
]
"""In an environment of their own, laid over the other one."""


def test_the_lock_holds_plain_pins_only():
    assert len(LOCK) == len(LOCK_LINES) > 100
    assert len(PLAYGROUND_LOCK) == len(PLAYGROUND_LINES)
    for line in LOCK_LINES + PLAYGROUND_LINES:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line), line


def test_what_runs_here_is_what_is_locked():
    assert {name: Version(metadata.version(name)).public for name in LOCK} == LOCK


def test_the_lock_is_closed():
    """Whatever a locked package needs is locked too, so nothing floats."""
    for name in LOCK:
        for text in metadata.requires(name) or ():
            need = Requirement(text)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                assert canonical(need.name) in LOCK, f"{name} needs {need.name}"
                assert LOCK[canonical(need.name)] in need.specifier, f"{name} needs {text}"


def test_what_is_declared_is_locked_in_range():
    for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]:
        need = Requirement(text)
        assert LOCK[canonical(need.name)] in need.specifier, text


def test_what_the_playground_needs_is_locked_in_range():
    for need in FOR_THE_PLAYGROUND:
        assert PLAYGROUND_LOCK[canonical(need.name)] in need.specifier, need


def test_the_lock_of_the_playground_is_closed_over_the_other():
    pytest.importorskip("gradio", reason="gradio is missing: make playground installs it")
    both = LOCK | PLAYGROUND_LOCK
    for name in PLAYGROUND_LOCK:
        for text in metadata.requires(name) or ():
            need = Requirement(text)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                assert both[canonical(need.name)] in need.specifier, f"{name} needs {text}"


def test_conda_users_get_the_same_pins():
    environment = YAML(typ="safe").load((ROOT / "environment.yml").read_text())
    assert "python=3.11" in environment["dependencies"]
    (pip,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    named = pins([line for line in pip if not line.startswith("--")])
    assert set(named) == DECLARED | FOR_TESTS
    assert named == {name: LOCK[name] for name in named}
    assert "--constraint requirements.lock" in pip


def imported(folder: str) -> set[str]:
    """Distributions whose modules the Python files of a folder import."""
    names = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(node.module.partition(".")[0])
    own = {path.stem for path in (ROOT / "tests").rglob("*.py")} | {"ladder", "tests"}
    own |= {need.name for need in FOR_THE_PLAYGROUND} | {"deepspeed"}
    providers = metadata.packages_distributions()
    names -= set(sys.stdlib_module_names) | own
    assert names <= set(providers), f"not installed: {sorted(names - set(providers))}"
    # A namespace may have several providers (ruamel: yaml and its C part); one declared is enough.
    return {
        next((d for d in map(canonical, providers[n]) if d in DECLARED | FOR_TESTS), n)
        for n in names
    }


def test_what_is_imported_is_declared():
    assert imported("src") <= DECLARED
    assert imported("tests") <= DECLARED | FOR_TESTS


def test_the_python_that_runs_is_one_that_is_supported():
    running = ".".join(map(str, sys.version_info[:3]))
    assert running in SpecifierSet(PROJECT["requires-python"])


@pytest.mark.parametrize("version", ["3.9", "3.12", "3.13"])
def test_another_python_is_refused_before_anything_is_installed(version: str, tmp_path: Path):
    assert f"{version}.1" not in SpecifierSet(PROJECT["requires-python"])
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / "python"
    numbers = tuple(map(int, version.split(".")))
    python.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = {numbers}; $2"\n'
    )
    python.chmod(0o755)
    command = ["make", "--silent", f"PYTHON={python}", "setup"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 2
    assert f"Python 3.11 is needed, got {version}: " in ended.stderr
    assert not (tmp_path / ".venv").exists()


def test_ci_runs_the_command_of_the_readme():
    script = (ROOT / ".ci/run").read_text()
    assert script.rstrip().endswith("make test")
    assert "make test" in (ROOT / "README.md").read_text()


def test_make_help_lists_every_target():
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(targets) >= {"setup", "repro", "test", "test-fast", "lint", "help"}
    for target in targets:
        assert f"make {target} " in shown.stdout


def test_no_file_names_a_registry_or_a_place_outside():
    """The repository works wherever it is cloned, with whatever registry is configured."""
    for name in (*LOCKS, "environment.yml", "pyproject.toml", "Makefile", ".ci/run"):
        text = (ROOT / name).read_text()
        assert "://" not in text, name
        assert not re.search(r"(^|[\s=\"'])/(work|home|root|opt|tmp)\b", text), name
