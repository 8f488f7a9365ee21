"""Where a result comes from: revision, data, versions."""

from __future__ import annotations

import json
import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "transformers", "diffusers", "lightning", "numpy")


def provenance(curated: Path = Path("data/curated")) -> dict:
    """Git revision and whether the tree differs from it, the data's hash, and versions."""
    manifest = curated / "manifest.json"
    return {
        "git": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no", "--", "src", "params.yaml")),
        "data": json.loads(manifest.read_text())["hash"],
        "versions": {"python": platform.python_version()}
        | {package: metadata.version(package) for package in PACKAGES},
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
