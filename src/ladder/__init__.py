"""ladder: layers of a frozen multimodal LLM condition the blocks of a diffusion transformer."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.2.0"
__all__ = ["LadderPipeline"]


def __getattr__(name: str) -> Any:
    """`LadderPipeline` on first use: importing it takes seconds that `ladder --help` need not."""
    if name == "LadderPipeline":
        return importlib.import_module("ladder.inference.pipeline").LadderPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
