"""What the tests of the foundations share: the toy tokenizer and a few real parts, made once."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2TokenizerFast

from ladder.pretraining import mllm
from ladder.pretraining.tokenizer import train_tokenizer

SMALL_TOKENIZER = partial(train_tokenizer, texts=60)
"""As the toy tokenizer, trained on fewer texts."""


@pytest.fixture(scope="session")
def tokenizer() -> Qwen2TokenizerFast:
    """The toy tokenizer, trained on a fifth of the texts of the stages."""
    return train_tokenizer(seed=0, texts=800)


@pytest.fixture(scope="session")
def model(tokenizer: Qwen2TokenizerFast) -> Qwen2_5_VLForConditionalGeneration:
    """The toy MLLM with random weights, in float32."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return mllm.build(tokenizer).eval()


@pytest.fixture
def shipped(root: Path):
    """The folder of a trained part; the test is skipped where it wasn't trained."""

    def folder(name: str) -> Path:
        path = root / "models" / name
        if not (path / "config.json").is_file():
            pytest.skip(f"no trained model at {path}")
        return path

    return folder
