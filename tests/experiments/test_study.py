"""Studies: every shipped one loads, and a wrong one is refused with file, key and a close match."""

from __future__ import annotations

from pathlib import Path

import pytest

from ladder.config.layers import ConfigError
from ladder.config.load import ARM_SECTIONS, load
from ladder.experiments.notebook import FOLDER, defaults_of, require_parameters
from ladder.experiments.study import MAIN, Study

ROOT = Path(__file__).parents[2]
SHIPPED = [
    (file.stem, preset)
    for file in sorted((ROOT / "experiments/studies").glob("*.yaml"))
    for preset in (MAIN, *Study.read(file.stem, root=ROOT).presets)
]
TEXT = """
notebook: a.ipynb
analysis: scores
control: a
outcomes: [x]
arms: [a, b]
seeds: [1]
parameters: {profile: ablation}
presets:
  small: {arms: [a], parameters: {steps: 3}}
"""


@pytest.mark.parametrize(("name", "preset"), SHIPPED)
def test_a_shipped_study_fits_its_notebook_profiles_and_arms(name: str, preset: str):
    study = Study.read(name, preset, ROOT)
    notebook = ROOT / study.notebook
    assert FOLDER in defaults_of(notebook)
    for run in study.runs():
        require_parameters(notebook, run.parameters)
    profile = study.parameters["profile"]
    control = load(profile, study.control, root=ROOT).as_dict()
    for arm in study.arms:
        values = load(profile, arm, root=ROOT).as_dict()
        changed = {key for key in values if key != "arm" and values[key] != control[key]}
        assert changed <= set(ARM_SECTIONS)
        assert changed or arm == study.control


def test_the_defaults_of_a_notebook_are_a_run_of_its_study():
    """So that papermill alone, with an arm and a seed, is exactly one run of it."""
    for name in ("layers", "monitors"):
        study = Study.read(name, root=ROOT)
        defaults = defaults_of(ROOT / study.notebook)
        assert study.parameters.items() <= defaults.items()
        assert defaults["arm"] in study.arms
        assert defaults["seed"] in study.seeds


def write(place: Path, text: str) -> None:
    path = place / "experiments/studies/one.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_a_preset_changes_what_it_names(tmp_path: Path):
    write(tmp_path, TEXT)
    assert Study.read("one", root=tmp_path).arms == ["a", "b"]
    small = Study.read("one", "small", tmp_path)
    assert small.arms == ["a"]
    assert small.seeds == [1]
    assert [run.parameters for run in small.runs()] == [
        {"profile": "ablation", "steps": 3, "arm": "a", "seed": 1}
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("control: a", "control: c", r"control must be one of the arms, got 'c'"),
        ("arms: [a, b]", "arms: [a, a]", r"arms must be some that differ"),
        ("arms: [a, b]", "arms: []", r"arms must be some that differ"),
        ("seeds: [1]", "", r"seeds is missing"),
        ("seeds: [1]", "seeds: ['1']", r"seeds\.0: .* integer, got '1'"),
        ("seeds: [1]", "seed: [1]", r"no key 'seed' \(did you mean seeds\?\)"),
        ("analysis: scores", "analysis: none", r"analysis: .*'scores' or 'faults'"),
        ("profile: ablation", "seed: 1", r"parameters must leave seed to the study"),
        ("small: {arms: [a]", "small: {arms: [b]", r"presets\.small: control must be one of"),
        ("small: {arms: [a]", "small: {notebook: b", r"no key 'presets.small.notebook'"),
    ],
)
def test_a_wrong_study_is_an_error_that_names_file_and_rule(
    tmp_path: Path, old: str, new: str, message: str
):
    assert old in TEXT
    write(tmp_path, TEXT.replace(old, new))
    with pytest.raises(ConfigError, match=rf"one\.yaml.*{message}"):
        Study.read("one", root=tmp_path)


def test_what_is_not_there_is_named_with_what_comes_close(tmp_path: Path):
    write(tmp_path, TEXT)
    with pytest.raises(ConfigError, match=r"no study 'ones' \(did you mean one\?\)"):
        Study.read("ones", root=tmp_path)
    with pytest.raises(ConfigError, match=r"no preset 'smal' \(did you mean small\?\)"):
        Study.read("one", "smal", tmp_path)
