"""Where a result comes from, and what it cost.

The first belongs to the result. The second differs from run to run, so it lies in a file of its own
on which nothing depends.
"""

from __future__ import annotations

import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

SOURCES = ("src", "params.yaml", "dvc.yaml", "requirements.lock", "experiments/arms",
           "experiments/profiles")  # fmt: skip
"""What decides a result, relative to the repository."""
PACKAGES = ("torch", "transformers", "diffusers", "lightning", "numpy", "scipy",
            "opencv-python-headless")  # fmt: skip


def provenance(curated: Path) -> dict[str, Any]:
    """Revision, whether SOURCES differ from it, hash of the data, and versions.

    The revision is None outside a git repository or before its first commit.
    """
    versions = {"python": platform.python_version()}
    return {
        "git": _git("rev-parse", "HEAD"),
        "dirty": _git("status", "--porcelain", "--", *SOURCES) != "",
        "data": json.loads((curated / "manifest.json").read_text())["hash"],
        "versions": versions | {package: version(package) for package in PACKAGES},
    }


def _git(*arguments: str) -> str | None:
    """What git says about the repository of this code; None if it can't."""
    here = Path(__file__).resolve().parents[3]
    said = subprocess.run(
        ["git", *arguments], cwd=here, capture_output=True, text=True, check=False
    )
    return said.stdout.strip() if said.returncode == 0 else None


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
