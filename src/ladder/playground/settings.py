"""What is asked of the playground, within its limits, and the link that asks for it again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Literal, get_args
from urllib.parse import urlencode

Task = Literal["generate", "edit", "compare", "inside"]
"""The tabs that draw, by the names that links give them."""
MAXIMUM_SEED = 2**32 - 1
MAXIMUM_STEPS = 100
MAXIMUM_GUIDANCE = 20.0
MAXIMUM_WEIGHT = 2.0
MAXIMUM_PICTURES = 4
"""Drawn at a time."""
MAXIMUM_TEXT = 2000
"""Characters of a prompt or a question; the ladder reads 256 tokens of a prompt."""
WORDS_OF_A_NAME = 60
"""Characters of the prompt that a file's name begins with."""


@dataclass(frozen=True)
class Settings:
    """All that a picture depends on, but for the model and the pictures to change."""

    task: Task
    prompt: str
    rungs: tuple[float, ...]
    """The weight of every rung; 1 leaves it as it is, 0 silences it."""
    seed: int = 0
    """Of the first picture's noise; the next picture's is one more."""
    steps: int = 20
    guidance: float = 3.0
    image_guidance: float = 1.5
    """Towards the pictures to change, where there are any."""
    pictures: int = 1

    def __post_init__(self) -> None:
        check_text("prompt", self.prompt)
        check_range("seed", self.seed, 0, MAXIMUM_SEED)
        check_range("steps", self.steps, 1, MAXIMUM_STEPS)
        check_range("guidance", self.guidance, 0, MAXIMUM_GUIDANCE)
        check_range("image_guidance", self.image_guidance, 0, MAXIMUM_GUIDANCE)
        check_range("pictures", self.pictures, 1, MAXIMUM_PICTURES)
        for weight in self.rungs:
            if not 0 <= weight <= MAXIMUM_WEIGHT:
                raise ValueError(f"the weight of a rung is 0 to {MAXIMUM_WEIGHT}, got {weight}")

    @property
    def plain(self) -> bool:
        """Whether every rung is left as it is."""
        return all(weight == 1 for weight in self.rungs)


def caption(settings: Settings) -> str:
    """All settings in a line, the weight of every rung included."""
    one = settings
    parts = [
        one.prompt.strip(),
        f"seed {one.seed}" + (f" to {one.seed + one.pictures - 1}" if one.pictures > 1 else ""),
        f"{one.steps} steps",
        f"guidance {one.guidance:g}",
        *([f"image guidance {one.image_guidance:g}"] if one.task == "edit" else []),
        f"rungs {' '.join(f'{weight:g}' for weight in one.rungs)}",
    ]
    return " · ".join(parts)


def file_stem(settings: Settings, index: int) -> str:
    """The name of the file of picture `index`: the prompt's beginning, then all settings."""
    one = settings
    words = re.sub(r"[^a-z0-9]+", "-", one.prompt.lower())[:WORDS_OF_A_NAME].strip("-")
    parts = [
        words or "picture",
        f"seed{one.seed + index}",
        f"steps{one.steps}",
        f"guidance{one.guidance:g}",
        *([f"image{one.image_guidance:g}"] if one.task == "edit" else []),
        f"rungs{'-'.join(f'{weight:g}' for weight in one.rungs)}",
    ]
    return "_".join(parts)


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raises ValueError for a value that is not `low` to `high`, both included."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be {low} to {high}, got {value}")


def check_text(name: str, text: str) -> None:
    """Raises ValueError for a text that is too long to be read."""
    if len(text) > MAXIMUM_TEXT:
        raise ValueError(f"{name} must be at most {MAXIMUM_TEXT} characters, got {len(text)}")


def to_query(settings: Settings) -> str:
    """The settings as the query of a link, from which `from_query` makes the same again."""
    values = asdict(settings) | {"rungs": ",".join(map(str, settings.rungs))}
    return urlencode(values, safe=",")


def from_query(query: Mapping[str, str], rungs: int) -> Settings:
    """The settings that a link asks for, of a ladder with `rungs` rungs; the rest are defaults.

    Raises ValueError for an unknown key, for a value that is none or is out of its range, and for
    the weights of another number of rungs.
    """
    readers = {"task": str, "prompt": str, "rungs": _weights, "guidance": float}
    readers |= {"image_guidance": float, "seed": int, "steps": int, "pictures": int}
    values = {"task": "generate", "prompt": "", "rungs": (1.0,) * rungs}
    for key, text in query.items():
        if key not in readers:
            allowed = ", ".join(field.name for field in fields(Settings))
            raise ValueError(f"a link may name {allowed}, got {key!r}")
        try:
            values[key] = readers[key](text)
        except ValueError:
            raise ValueError(f"{key} of a link must be a number, got {text!r}") from None
    if values["task"] not in get_args(Task):
        raise ValueError(f"task must be {' or '.join(get_args(Task))}, got {values['task']!r}")
    settings = Settings(**values)
    if len(settings.rungs) != rungs:
        raise ValueError(f"this ladder has {rungs} rungs, the link weighs {len(settings.rungs)}")
    return settings


def _weights(text: str) -> tuple[float, ...]:
    return tuple(float(weight) for weight in text.split(","))
