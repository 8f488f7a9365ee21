"""Which velocities a picture needs: the branches of guidance, and the prompts behind them.

A text alone has two branches, an edit three, and one whose weight is 0 doesn't run. The prompts of
all branches of a call are gathered here, so that the MLLM reads each distinct one once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from ladder.models import rectified_flow

Source = Image.Image | Sequence[Image.Image] | None
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
    """The source pictures of each prompt, from the argument `image` of a call."""
    entries = [image] * prompts if image is None or isinstance(image, Image.Image) else list(image)
    if len(entries) != prompts:
        raise ValueError(f"image needs an entry for each of {prompts} prompts, got {len(entries)}")
    sources = []
    for entry in entries:
        group = [] if entry is None else [entry] if isinstance(entry, Image.Image) else list(entry)
        for picture in group:
            if not isinstance(picture, Image.Image):
                raise ValueError(f"a source must be a PIL image, got {type(picture).__name__}")
        sources.append(group)
    return sources


def one_each(name: str, text: str | Sequence[str], prompts: int) -> list[str]:
    """One text for each prompt, from one for all or a list; `name` is for the error."""
    texts = [text] * prompts if isinstance(text, str) else list(text)
    if len(texts) != prompts:
        raise ValueError(f"{name} must be one text or {prompts}, got {len(texts)}")
    return texts
