"""The tiny models, built once for all tests of the model."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.tiny import tiny_mllm, tiny_sana


@pytest.fixture(scope="session")
def foundations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny Qwen2.5-VL in mllm/ and a tiny Sana in sana/."""
    root = tmp_path_factory.mktemp("foundations")
    tiny_mllm(root / "mllm")
    tiny_sana(root / "sana")
    return root
