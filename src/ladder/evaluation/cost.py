"""What a run cost.

It differs from run to run, so it lies in a file of its own on which nothing depends.
"""

from __future__ import annotations

import platform
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class Cost:
    """Seconds of each part of a run, and the peak of its memory."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Count what runs inside as `part`."""
        start = time.monotonic()
        yield
        self._seconds[part] = time.monotonic() - start

    def as_json(self) -> dict[str, Any]:
        """Seconds so far, bytes at the peak, and on what."""
        # Linux counts in KiB, macOS in bytes.
        unit = 1 if sys.platform == "darwin" else 1024
        peak = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
        if torch.cuda.is_available():
            peak["cuda"] = torch.cuda.max_memory_allocated()
        return {
            "seconds": self._seconds | {"total": time.monotonic() - self._start},
            "peak_bytes": peak,
            "threads": torch.get_num_threads(),
            "machine": platform.platform(),
        }
