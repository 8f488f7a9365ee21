"""How a picture was drawn, as its PNG file says: shown by `ladder info`, drawn again by `--from`.

The settings are JSON in a text chunk of the file (PNG, 11.3.3). They come from outside like any
other input, so they are checked as a configuration is.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import shlex
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

from PIL import Image
from pydantic import Field
from pydantic.dataclasses import dataclass

from ladder import __version__
from ladder.config.layers import build
from ladder.config.types import RULES, Count, Several

KEY = "ladder"
"""Of the text chunk."""
LONGEST = 2**24
"""Characters of settings: 1,000 prompts of 16,000."""


@dataclass(frozen=True, config=RULES)
class Drawn:
    """All that a picture of `generate` or `edit` depends on, but for the machine."""

    verb: Literal["generate", "edit"]
    prompts: Annotated[Several[str], Field(min_length=1, max_length=1000)]
    """Or instructions: a row of the picture each."""
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    grid: Annotated[int, Field(ge=1, le=32)]
    """Pictures of a row."""
    num_inference_steps: Count
    guidance_scale: float
    device: Literal["cpu", "cuda", "mps"]
    dtype: Literal["float32", "bfloat16"]
    sources: Annotated[Several[str], Field(max_length=16)]
    """Paths of the pictures that were edited, as they were typed."""
    source_hashes: Several[str]
    """SHA-256 of the files."""
    ladder: str
    """A hash of the files of its folder."""
    version: str
    """Of this package."""

    def as_json(self) -> str:
        """The text of the chunk."""
        return json.dumps(dataclasses.asdict(self))


def drawn(verb: str, how: dict[str, Any], sources: list[Path], ladder: str) -> Drawn:
    """What is kept in a picture: how it was drawn, of which pictures, by which ladder."""
    hashes = tuple(file_hash(path) for path in sources)
    settings = how | {"prompts": tuple(how["prompts"])}
    names = tuple(map(str, sources))
    return Drawn(
        verb=verb, sources=names, source_hashes=hashes, ladder=ladder, version=__version__,
        **settings,
    )  # fmt: skip


def read_drawn(path: Path) -> Drawn:
    """How the picture in a file was drawn.

    Raises FileNotFoundError, and ValueError for a file that doesn't say, or says what can't be.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=["PNG"]) as image:
                text = image.info.get(KEY)
        except FileNotFoundError:
            raise
        except Exception as error:
            raise ValueError(f"{path}: must be a PNG that `ladder` drew, got {error}") from error
    if not isinstance(text, str):
        raise ValueError(f"{path} must hold the settings that it was drawn with, and holds none")
    if len(text) > LONGEST:
        raise ValueError(f"{path}: settings have at most {LONGEST} characters, got {len(text)}")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: its settings must be JSON, got {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: its settings must be a mapping, got {str(values)[:100]}")
    found = build(Drawn, values, str(path))
    if len(found.sources) != len(found.source_hashes):
        raise ValueError(f"{path}: every source must have a hash")
    return found


def again(path: Path, verb: str, words: list[str]) -> Drawn:
    """How `verb` draws the picture in a file again.

    Raises ValueError for a picture of the other verb, and where `words` were given too.
    """
    found = read_drawn(path)
    if found.verb != verb:
        command = f"ladder {found.verb} --from {shlex.quote(str(path))}"
        raise ValueError(f"{path} was drawn by the other verb: {command}")
    if words:
        raise ValueError(f"--from brings all texts and pictures, got {words[0]!r} too")
    if found.version != __version__:
        logging.warning("%s is of ladder %s; this is %s", path, found.version, __version__)
    return found


def require_ladder(found: Drawn, ladder: str) -> None:
    """Raises ValueError for a picture that another ladder drew."""
    if found.ladder != ladder:
        raise ValueError(
            f"the picture was drawn by the ladder of hash {found.ladder}, got {ladder}: "
            "name its folder by --model"
        )


def require_sources(found: Drawn) -> list[Path]:
    """The pictures that were edited; raises ValueError for one that has changed since."""
    for name, known in zip(found.sources, found.source_hashes, strict=True):
        if (now := file_hash(Path(name))) != known:
            raise ValueError(f"{name} must be the picture of hash {known}, got {now}")
    return [Path(name) for name in found.sources]


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
