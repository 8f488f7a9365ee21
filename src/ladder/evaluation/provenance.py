"""Where a result comes from: code, data, versions."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ladder.config.files import read_json

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
        "data": read_json(curated / "manifest.json")["hash"],
        "versions": versions | {package: version(package) for package in PACKAGES},
    }


def _git(*arguments: str) -> str | None:
    """What git says about the repository of this code; None if it can't."""
    here = Path(__file__).resolve().parents[3]
    said = subprocess.run(
        ["git", *arguments], cwd=here, capture_output=True, text=True, check=False
    )
    return said.stdout.strip() if said.returncode == 0 else None
