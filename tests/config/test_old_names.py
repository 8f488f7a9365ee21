"""Old names of settings are read for one version, wherever settings are read, and say so once."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from ladder.config.layers import ConfigError, read_file
from ladder.config.load import load, require_same
from ladder.config.old_names import RENAMED, renamed

ROOT = Path(__file__).parents[2]


def with_old_names(values: dict) -> dict:
    """A whole configuration as version 0.1 wrote it."""
    stages = {
        name: {OLD.get(key, key): value for key, value in stage.items()}
        for name, stage in values["stages"].items()
    }
    old = {OLD.get(key, key): value for key, value in values.items() if key != "pretraining"}
    return old | {
        "stages": stages,
        "foundations": values["foundations"] | values["pretraining"],
        "cluster": {OLD.get(key, key): value for key, value in values["cluster"].items()},
        "monitor": {OLD.get(key, key): value for key, value in values["monitor"].items()},
    }


OLD = {
    "connector_warmup": "translation",
    "condition_dropout": "dropping",
    "prompt_cache": "readings",
    "rule": "judge",
    "noise_samples": "noises",
    "generator_lr_scale": "generator_rate",
    "query_lr_scale": "query_rate",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the shipped configuration that a test may change."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "experiments/arms", tmp_path / "experiments/arms")
    (tmp_path / "experiments/profiles").mkdir()
    return tmp_path


def test_a_whole_old_configuration_is_that_of_today(caplog):
    values = read_file(ROOT / "params.yaml")
    old = with_old_names(values)
    before = with_old_names(values)
    assert renamed(old, "old.yaml") == values
    assert old == before, "what was read may not be changed in place"
    (line,) = caplog.messages
    assert line.startswith("old.yaml: ")
    for name, new in RENAMED.items():
        assert f"{name} -> {new}" in line


def test_names_of_today_are_left_alone(caplog):
    values = read_file(ROOT / "params.yaml")
    assert renamed(values, "new.yaml") == values
    assert not caplog.messages


def test_old_names_in_profile_arm_and_arguments(tree: Path, caplog):
    (tree / "experiments/profiles/old.yaml").write_text(
        "stages: {t2i: &t2i {noises: 3}, ti2i: *t2i}\nfoundations: {mllm: here, mllm_steps: 7}\n"
    )
    (tree / "experiments/arms/old.yaml").write_text("monitor: {judge: ema}\n")
    config = load("old", "old", ["dropping.t2i_text=0.3", "cluster.readings=kept"], root=tree)
    assert (config.stages.t2i.noise_samples, config.stages.ti2i.noise_samples) == (3, 3)
    assert (config.foundations.mllm, config.pretraining.mllm_steps) == ("here", 7)
    assert config.monitor.rule == "ema"
    assert config.condition_dropout.t2i_text == 0.3
    assert config.cluster.prompt_cache == "kept"
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 3
    profile, arguments, arm = caplog.messages
    assert "old.yaml" in profile
    assert "stages.ti2i.noises -> stages.ti2i.noise_samples" in profile
    assert arm.endswith("monitor.judge -> monitor.rule")
    assert arguments.startswith("command line: ")
    assert "cluster.readings -> cluster.prompt_cache" in arguments


@pytest.mark.parametrize(
    "arguments",
    [
        ["monitor.judge=ema", "monitor.rule=ema"],
        ["foundations.mllm_steps=1", "pretraining.mllm_steps=1"],
        ["translation.steps=1", "connector_warmup.steps=1"],
    ],
)
def test_a_setting_under_both_names_is_refused(arguments: list[str]):
    with pytest.raises(ConfigError, match=r"command line: .* is the old name of .*both are given"):
        load(arguments=arguments, root=ROOT)


@pytest.mark.parametrize("argument", ["translation=8", "foundations=8", "monitor=8", "stages=8"])
def test_what_is_no_section_is_refused_as_ever(argument: str):
    with pytest.raises(ConfigError, match="must be a mapping of keys to values, got 8"):
        load(arguments=[argument], root=ROOT)


def test_saved_settings_of_today_and_before_are_equal(config, caplog):
    """Beside a ladder stands what it was trained under, perhaps by an older version."""
    require_same(config.as_dict(), with_old_names(config.as_dict()), "training.json")
    assert "training.json: " in caplog.text
    other = with_old_names(config.as_dict())
    other["translation"] = other["translation"] | {"steps": 3}
    with pytest.raises(ValueError, match=r"connector_warmup\.steps 3 instead of"):
        require_same(config.as_dict(), other, "training.json")
