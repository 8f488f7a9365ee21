"""What comes from outside is put to the command line: it is used, or refused in one line.

What the modules themselves do with such input is in their own tests: prompts in
tests/model/test_prompts.py, decoding in tests/data/test_images.py, shards with every fault in
tests/data/test_sources.py and its neighbours, settings in tests/test_config.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.tiny import tiny_ladder

from ladder.cli import main
from ladder.inference.pipeline import LadderPipeline


@pytest.fixture(scope="session")
def ladder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an untrained ladder, whose MLLM has an adapter."""
    settings = ("model.mllm_lora_rank=2", "model.dora=true")
    return tiny_ladder(tmp_path_factory.mktemp("tiny"), "qwen2_5_vl", *settings)


@pytest.fixture(scope="session")
def pipeline(ladder_folder: Path) -> LadderPipeline:
    pipeline = LadderPipeline.from_pretrained(ladder_folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable[..., str]:
    """What `ladder WORDS` says when it refuses: one line, code 2, and nothing is written."""

    def call(*words: str) -> str:
        monkeypatch.chdir(tmp_path)
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        capsys.readouterr()
        assert main.main(words) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1
        assert said.err.startswith(f"ladder {words[0]}: ")
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
        return said.err

    return call


@pytest.fixture
def folder(ladder_folder: Path, tmp_path: Path) -> Path:
    """A ladder that may be broken, beside its MLLM."""
    shutil.copytree(ladder_folder, tmp_path / "ladder")
    shutil.copytree(ladder_folder.parent / "mllm", tmp_path / "mllm")
    return tmp_path / "ladder"


@pytest.fixture
def unusable(folder: Path, refused: Callable[..., str]) -> Callable[[], str]:
    """What `ladder generate` says of the folder when it refuses it."""

    def call() -> str:
        said = refused("generate", "a star", "--model", "ladder", "-o", "out.png")
        assert "generate: ladder: " in said
        return said

    return call
