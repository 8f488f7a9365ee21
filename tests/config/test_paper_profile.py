"""The profile `paper`, number by number, beside what its authors published.

docs/explanation/paper-settings.csv has a row for each: the paper's value, where it stands, and our
own where it differs, with the reason. Epochs are computed from steps, batch, processes and shares.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ladder.config.load import Config, load
from ladder.config.load import Stage as StageSettings
from ladder.training.module import BETAS

ROOT = Path(__file__).parents[2]
with (ROOT / "docs/explanation/paper-settings.csv").open(newline="") as file:
    ROWS = [*csv.DictReader(file)]
STAGES = ("t2i", "ti2i", "finetune")
SAMPLES = {
    "ti2i": 1_500_000,  # GPT-Image-Edit-1.5M
    "finetune_t2i": 60_000 + 45_700,  # BLIP3o-60k, and the pictures of ShareGPT-4o-Image
    "finetune_ti2i": 46_500,  # its edits
}
"""Of the sets, as their authors count them."""


@pytest.fixture(scope="module")
def paper() -> Config:
    return load("paper", root=ROOT)


def parsed(text: str) -> Any:
    return YAML(typ="safe").load(text)


def epochs(stage: StageSettings, name: str, processes: int) -> float:
    """How often the stage sees each sample of a set."""
    return stage.steps * stage.batch * processes * stage.mixture[name] / SAMPLES[name]


def found(config: Config, setting: str) -> Any:
    """The value of a dotted key; of foundations, the name without its revision."""
    section, *rest = setting.split(".")
    if "epochs" in rest:
        stage, _, name = rest
        processes = config.cluster.devices * config.cluster.nodes
        return epochs(getattr(config.stages, stage), name, processes)
    value: Any = config.as_dict()[section]
    for key in rest:
        value = value[key]
    return value.partition("@")[0] if section == "foundations" and value is str(value) else value


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["setting"])
def test_a_setting_is_the_papers_or_the_table_says_why_not(paper: Config, row: dict[str, str]):
    assert row["source"]
    wanted = row["ours"] or row["paper"]
    assert bool(row["ours"]) == bool(row["why"]), "a value of our own has a reason"
    assert wanted != "unsaid"
    names = STAGES if ".*." in row["setting"] else ("",)
    for name in names:
        value = found(paper, row["setting"].replace("*", name))
        if "epochs" in row["setting"]:
            assert value == pytest.approx(parsed(wanted), rel=1e-3)
        else:
            assert value == parsed(wanted), name


def test_the_table_has_every_setting_of_a_stage(paper: Config):
    """But for steps, which epochs stand for, mixtures, and where weights come from."""
    named = {row["setting"].split(".")[2] for row in ROWS if row["setting"].startswith("stages.")}
    assert {*vars(paper.stages.t2i)} - named == {"mixture", "init"}


def test_every_mixture_is_that_of_whole_sets(paper: Config):
    """So each sample of a stage comes equally often."""
    assert {name: {*getattr(paper.stages, name).mixture} for name in STAGES} == {
        "t2i": {"t2i"},
        "ti2i": {"ti2i"},
        "finetune": {"finetune_t2i", "finetune_ti2i"},
    }
    both = [epochs(paper.stages.finetune, name, 8) for name in paper.stages.finetune.mixture]
    assert both[0] == pytest.approx(both[1], rel=1e-3)


def test_adamw_is_the_papers():
    assert BETAS == (0.9, 0.999)
