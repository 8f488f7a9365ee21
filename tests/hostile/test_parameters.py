"""Parameter files and notebook parameters that are hostile end in one line, before any work."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
LAUGHS = ["a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha]"] + [
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 40)
]
MERGES = ["a0: &a0 {x: 1, y: 2}"] + [
    f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 40)
]
PROFILES = {
    "unknown key": ("modle: {queries: 8}", "unknown key modle"),
    "unknown key within": ("model: {querys: 8}", "unknown key model.querys"),
    "a key with a line break": ('"a\\nb": 1', "unknown key a b"),
    "a key of a million letters": ("k" * 1_000_000 + ": 1", "not valid YAML"),
    "a number for a section": ("model: 8", "model must be a mapping"),
    "a text for a number": ("seed: one", "seed must be a whole number, got 'one'"),
    "a date": ("seed: 2001-01-01", "seed must be a whole number"),
    "bytes": ("arm: !!binary aGVsbG8=", "arm must be a text"),
    "a set": ("seed: !!set {1, 2}", "seed must be a whole number"),
    "a number of 5,000 digits": ("seed: " + "9" * 5000, "Exceeds the limit"),
    "a number that is none": ("stages: {t2i: {lr: .nan}}", "must be a finite number"),
    "a Python name": ("seed: !!python/name:os.system", "not valid YAML"),
    "a Python call": ("seed: !!python/object/apply:os.mkdir [caught]", "not valid YAML"),
    "a tag of its own": ("seed: !ruby/object:Gem {}", "not valid YAML"),
    "two documents": ("seed: 1\n---\nseed: 2", "not valid YAML"),
    "a list that holds itself": ("seed: &a [*a]", "seed must be a whole number"),
    "a section that holds itself": ("model: &a {queries: *a}", "model.queries must be"),
    "layers that hold themselves": ("model: &a {layers: &b [*b]}", "model.layers.0 must be"),
    "a mixture that holds itself": ("stages: {t2i: {mixture: &a {t2i: *a}}}", "mixture.t2i must"),
    "an unknown anchor": ("seed: *nothing", "not valid YAML"),
    "billion laughs": ("\n".join(LAUGHS), "unknown key a0"),
    "billion laughs in a known key": (
        "\n".join(["model: {queries: 2}", *LAUGHS, "stages: {t2i: {mixture: *a39}}"]),
        "unknown key a0",
    ),
    "billion merges": ("\n".join(MERGES), "a mapping has at most 1000 keys"),
    "a bomb of brackets": ("seed: " + "[" * 100_000, "nested too deeply"),
    "a byte that is no text": ("seed: \x00", "not valid YAML"),
    "HTML": ("<!DOCTYPE html><html></html>", "must hold a mapping"),
    "nothing but a list": ("- seed", "must hold a mapping"),
}  # fmt: skip
"""What stands in a profile, and what is said of it."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the shipped configuration and data that could be curated."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    for folder in ("arms", "profiles"):
        shutil.copytree(ROOT / "experiments" / folder, tmp_path / "experiments" / folder)
    (tmp_path / "data/raw/set").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_refused(name: str, place: Path, refused: Callable[..., str]):
    text, reason = PROFILES[name]
    (place / "experiments/profiles/mine.yaml").write_text(text)
    said = refused("curate", "--profile", "mine")
    assert "mine.yaml" in said
    assert reason in said
    assert len(said) < 600


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("seed=!!python/object/apply:os.mkdir [caught]", "not valid YAML"),
        ("model.layers=&a [*a]", "model.layers.0 must be"),
        ("arm=../../../../etc/passwd", "no arm '../../../../etc/passwd'"),
        ("arm=ladder\x00", "command line, arm"),
        ("\u202eseed=1", "unknown key"),
        ("model.queries=" + "[" * 100_000, "nested too deeply"),
    ],
)
def test_a_setting_is_refused(setting: str, reason: str, place: Path, refused: Callable[..., str]):
    assert reason in refused("curate", setting)


# ---- notebooks ----


@pytest.fixture
def notebook(tmp_path: Path) -> str:
    """A notebook with a whole number and a text as parameters."""
    cell = nbformat.v4.new_code_cell(
        'seed = 0\nscheme = "last_n"', metadata={"tags": ["parameters"]}
    )
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    study = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel})
    nbformat.write(study, tmp_path / "study.ipynb")
    return "study.ipynb"


@pytest.mark.parametrize(
    ("parameter", "reason"),
    [
        ("sead=1", "parameters of study.ipynb are seed, scheme, got sead (did you mean seed?)"),
        ("seed", "a parameter is given once, as name=values, got 'seed'"),
        ("=1", "parameters of study.ipynb are"),
        ("seed=one", "seed must be of type int as 0, got 'one'"),
        ("seed=__import__('os').mkdir('caught')", "seed must be of type int"),
        ("seed=0.5", "seed must be of type int"),
        ("seed=True", "seed must be of type int"),
        ("seed={[]: 1}", "seed must be of type int"),
        ("seed=" + "(" * 5000, "seed must be of type int"),
        ("seed=0..99999999999999", "a range has at most 10000 values"),
        ("scheme=7", "scheme must be of type str"),
        ("seed\nimport os=1", "parameters of study.ipynb are"),
    ],
)
def test_a_parameter_of_a_notebook_is_refused(
    parameter: str, reason: str, notebook: str, refused: Callable[..., str]
):
    assert reason in refused("sweep", notebook, "-p", parameter)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"<html></html>", b"\xff\xfe", b"[" * 99999]
)
def test_a_file_that_is_no_notebook(content: bytes, tmp_path: Path, refused: Callable[..., str]):
    (tmp_path / "study.ipynb").write_bytes(content)
    assert refused("sweep", "study.ipynb", "-p", "seed=1")
