"""Tiny ladders to play with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.tiny import tiny_mllm, tiny_sana

from ladder.config.load import load
from ladder.inference.pipeline import LadderPipeline
from ladder.models.ladder import Ladder
from ladder.playground.drawing import Models

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Untrained ladders between tiny foundations: one of scheme last_n, one of scheme last."""
    root = tmp_path_factory.mktemp("playground")
    shipped = load(root=ROOT)
    mllm, sana = tiny_mllm(root / "mllm"), tiny_sana(root / "sana")
    foundations = replace(shipped.foundations, mllm=str(mllm), generator=str(sana), dtype="float32")
    found = {}
    for scheme in ("last_n", "last"):
        model = replace(shipped.model, scheme=scheme, layers=None, queries=4, query_text=None)
        ladder = Ladder.from_foundations(model, foundations, seed=0)
        pipeline = LadderPipeline.from_ladder(ladder, foundations, shipped.sampling)
        pipeline.save_pretrained(root / scheme)
        found[scheme] = root / scheme
    return found


@pytest.fixture(scope="session")
def models(folders: dict[str, Path]) -> Models:
    """The tiny ladder alone."""
    return Models.open(folders["last_n"], None)


@pytest.fixture(scope="session")
def compared(folders: dict[str, Path]) -> Models:
    """The tiny ladder beside the one of scheme last."""
    return Models.open(folders["last_n"], folders["last"])
