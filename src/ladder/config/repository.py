"""Where the repository is: the folder whose parameters, arms and data the stages work on."""

from __future__ import annotations

from pathlib import Path

PARAMETERS, ARMS = "params.yaml", "experiments/arms"
"""What a configuration is read from. A folder with both is a repository."""


def find_repository(start: Path) -> Path | None:
    """The nearest repository at or above `start`, or None."""
    for folder in (start, *start.parents):
        if (folder / PARAMETERS).is_file() and (folder / ARMS).is_dir():
            return folder
    return None


def enclosing_repository() -> Path:
    """The repository that the working directory is in; raises FileNotFoundError outside of one."""
    here = Path.cwd()
    root = find_repository(here)
    if root is None:
        raise FileNotFoundError(
            f"this must run inside a clone of the repository (a folder with {PARAMETERS} and "
            f"{ARMS}), but {here} is in none"
        )
    return root
