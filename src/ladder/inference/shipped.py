"""Where the trained ladder is that comes with the repository."""

from __future__ import annotations

import os
from pathlib import Path

from ladder.config.repository import find_repository

VARIABLE = "LADDER_MODEL"
"""Of the environment: a ladder's folder, which goes first."""
PLACE = Path("models/ladder")
"""In the repository."""
MARKER = "model_index.json"
"""A file that the folder of every ladder has."""


def shipped_ladder() -> Path:
    """The folder that $LADDER_MODEL names, or else the ladder of the repository.

    That is the repository that the working directory is in, or else the one that this package
    lies in. Raises FileNotFoundError where neither has one, as when the package is installed alone.
    """
    if named := os.environ.get(VARIABLE):
        return Path(named)
    for start in (Path.cwd(), Path(__file__).resolve()):
        root = find_repository(start)
        if root is not None and (root / PLACE / MARKER).is_file():
            return root / PLACE
    raise FileNotFoundError(
        "no trained ladder comes with this installation: run inside a clone of the repository, or "
        f"name one by --model FOLDER or ${VARIABLE}"
    )
