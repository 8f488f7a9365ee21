"""Which velocities a picture needs: the branches of guidance, and the prompts behind them.

A text alone has two branches, an edit three, and one whose weight is 0 doesn't run. The prompts of
all branches of a call are gathered here, so that the MLLM reads each distinct one once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ladder.data.images import read_picture
from ladder.models import rectified_flow

Picture = Image.Image | Path | str
"""A picture, or the path of its file."""
Source = Picture | Sequence[Picture] | None
"""What one prompt is given to change: nothing, a picture or several."""


@dataclass(frozen=True)
class Branch:
    """One velocity to compute for a picture."""

    prompt: int
    """Which of the plan's prompts conditions it."""
    weight: float
    """How much it counts."""


@dataclass(frozen=True)
class Plan:
    """Which prompts the MLLM must read, and which branches each picture needs."""

    prompts: list[tuple[str, list[Image.Image]]]
    branches: list[list[Branch]]
    """For each of the given prompts."""


def plan_branches(
    texts: Sequence[str],
    sources: Sequence[Sequence[Image.Image]],
    negatives: Sequence[str],
    text_scale: float,
    image_scale: float,
) -> Plan:
    """The branches of guidance of each prompt; equal prompts, such as the empty one, once only."""
    prompts: list[tuple[str, list[Image.Image]]] = []
    places: dict[tuple[str, tuple[object, ...]], int] = {}

    def place(text: str, pictures: Sequence[Image.Image], black: bool) -> int:
        key = (text, tuple(picture.size if black else id(picture) for picture in pictures))
        if key not in places:
            places[key] = len(prompts)
            shown = [Image.new("RGB", picture.size) for picture in pictures] if black else pictures
            prompts.append((text, list(shown)))
        return places[key]

    branches = []
    for text, pictures, negative in zip(texts, sources, negatives, strict=True):
        weights = rectified_flow.guidance(text_scale, image_scale if pictures else None)
        candidates = (
            (weights.nothing, negative, True),
            (weights.image, negative, False),
            (weights.full, text, False),
        )
        branches.append(
            [
                Branch(place(said, pictures, black), weight)
                for weight, said, black in candidates
                if weight != 0
            ]
        )
    return Plan(prompts, branches)


def sources_of(image: Source | Sequence[Source], prompts: int) -> list[list[Image.Image]]:
    """The source pictures of each prompt, from the argument `image` of a call; files are read.

    Raises ValueError for another number of entries than prompts, for what is no picture, and for a
    file that holds none, and FileNotFoundError.
    """
    entries = [image] * prompts if image is None or isinstance(image, Picture) else list(image)
    if len(entries) != prompts:
        raise ValueError(f"image needs an entry for each of {prompts} prompts, got {len(entries)}")
    groups = [
        [] if entry is None else [entry] if isinstance(entry, Picture) else list(entry)
        for entry in entries
    ]
    return [[picture_of(one) for one in group] for group in groups]


def picture_of(source: object) -> Image.Image:
    """The picture that was given, or that is in the file; raises ValueError for anything else."""
    if isinstance(source, Path | str):
        return read_picture(Path(source))
    if not isinstance(source, Image.Image):
        raise ValueError(f"a source must be a PIL image or a path, got {type(source).__name__}")
    return source


def texts_of(name: str, given: object) -> list[str]:
    """The texts of an argument that is one text or a list of them; `name` is for the error.

    Raises ValueError for anything else.
    """
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, Sequence):
        raise ValueError(f"{name} must be a text or a list of texts, got {type(given).__name__}")
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f"{name} must hold texts only, got {type(text).__name__}")
    return list(texts)


def one_each(name: str, text: str | Sequence[str], prompts: int) -> list[str]:
    """One text for each prompt, from one for all or a list; `name` is for the error."""
    texts = [text] * prompts if isinstance(text, str) else texts_of(name, text)
    if len(texts) != prompts:
        raise ValueError(f"{name} must be one text or {prompts}, got {len(texts)}")
    return texts
