"""Pictures with weighted rungs, beside those of a reference on the same noise.

The reference is the same ladder with all its rungs as they are or, better, a ladder that was
trained otherwise, such as the arm `last`, whose blocks all read one layer.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ladder import __version__
from ladder.config.schema import Dtype
from ladder.data.images import BadSampleError, decode, encode_png
from ladder.inference.open import open_ladder
from ladder.inference.pipeline import LadderPipeline
from ladder.inference.rung_attribution import weighted_rungs
from ladder.inference.shipped import shipped_ladder
from ladder.models.device import Device
from ladder.models.layer_selection import MIXED, NORM, Taps
from ladder.playground.settings import Settings, to_query

MAXIMUM_SOURCES = 4
"""Pictures that are changed or combined at a time."""
MAXIMUM_PIXELS = 2**24
"""Larger uploads are refused before they are decoded."""
OnStep = Callable[[int, int], None]
"""Told how many of how many steps are done."""


@dataclass(frozen=True)
class Models:
    """The ladder to play with, and one that is drawn beside it."""

    pipeline: LadderPipeline
    name: str
    other: LadderPipeline | None = None
    other_name: str = "all rungs at 1"

    def __post_init__(self) -> None:
        if self.other is not None and noise_shape(self.other) != noise_shape(self.pipeline):
            raise ValueError(
                "ladders can be compared on the same noise only, got noise of the shapes "
                f"{noise_shape(self.pipeline)} and {noise_shape(self.other)}"
            )

    @classmethod
    def open(
        cls,
        folder: Path | None,
        other: Path | None,
        device: Device = "auto",
        dtype: Dtype = "float32",
    ) -> Models:
        """The ladder in a folder, by default the shipped one, and the one to compare it with."""
        folder = folder or shipped_ladder()
        compared = (
            () if other is None else (open_ladder(other, device, dtype), other.resolve().name)
        )
        return cls(open_ladder(folder, device, dtype), folder.resolve().name, *compared)


@dataclass(frozen=True)
class Drawing:
    """What came of some settings."""

    settings: Settings
    sources: list[Image.Image]
    pictures: list[Image.Image]
    references: list[Image.Image]
    """One for each picture, or none where a reference would be the picture itself."""
    reference_name: str

    def captioned(self) -> list[tuple[Image.Image, str]]:
        """Each picture, followed by its reference, with the words beneath it."""
        pairs = []
        for index, picture in enumerate(self.pictures):
            pairs.append((picture, f"seed {self.settings.seed + index}"))
            if self.references:
                pairs.append((self.references[index], self.reference_name))
        return pairs


def draw(
    models: Models, settings: Settings, sources: list[Image.Image], on_step: OnStep
) -> Drawing:
    """Draw the pictures and, where they can differ, their references.

    Meanwhile the weights are those of the ladder itself, so that nothing else may draw with it.
    Raises ValueError for an empty prompt, for an edit of no picture or of too many, and unless each
    rung has a weight.
    """
    if not settings.prompt.strip():
        raise ValueError("say what to draw or to change first: the prompt is empty")
    if settings.task == "edit" and not 1 <= len(sources) <= MAXIMUM_SOURCES:
        raise ValueError(f"1 to {MAXIMUM_SOURCES} pictures can be changed, got {len(sources)}")
    weighted = [(models.pipeline, settings.rungs)]
    if models.other is not None or not settings.plain:
        reference = models.other or models.pipeline
        weighted.append((reference, (1.0,) * reference.ladder.taps.blocks))
    total = settings.steps * len(weighted)
    drawn = [
        _draw_one(*one, settings, sources, lambda step, done=done: on_step(done + step, total))
        for one, done in zip(weighted, (0, settings.steps), strict=False)
    ]
    references = drawn[1] if len(drawn) > 1 else []
    return Drawing(settings, sources, drawn[0], references, models.other_name)


def pack(drawing: Drawing, models: Models, path: Path) -> Path:
    """Write the pictures as PNG, and `settings.json`, into one zip file; returns its path."""
    settings = asdict(drawing.settings) | {"link": f"?{to_query(drawing.settings)}"}
    settings |= {"model": models.name, "reference": drawing.reference_name}
    settings |= {"ladder": __version__}
    named = {
        f"{kind}-{index}.png": picture
        for kind, pictures in (
            ("source", drawing.sources),
            ("picture", drawing.pictures),
            ("reference", drawing.references),
        )
        for index, picture in enumerate(pictures)
    }
    with zipfile.ZipFile(path, "w") as file:
        for name, picture in named.items():
            file.writestr(name, encode_png(picture))
        file.writestr("settings.json", json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
    return path


def read_sources(paths: Sequence[str]) -> list[Image.Image]:
    """Uploaded pictures, RGB and upright.

    Raises ValueError for too many, and for one that is none or is kept no longer, by its name.
    """
    if len(paths) > MAXIMUM_SOURCES:
        raise ValueError(f"at most {MAXIMUM_SOURCES} pictures can be used, got {len(paths)}")
    pictures = []
    for path in map(Path, paths):
        try:
            pictures.append(decode(path.read_bytes(), MAXIMUM_PIXELS))
        except FileNotFoundError:
            raise ValueError(f"{path.name}: kept no longer, upload it again") from None
        except BadSampleError as error:
            raise ValueError(
                f"{path.name}: not a picture that can be used ({error.reason}); it must be a PNG, "
                f"JPEG or WebP of one frame and at most {MAXIMUM_PIXELS} pixels"
            ) from error
    return pictures


def rung_names(taps: Taps) -> list[str]:
    """What each rung is made of, in words."""
    if taps.scheme in MIXED:
        return [f"Rung {rung}: mixture" for rung in range(1, taps.blocks + 1)]
    names = ["final norm" if layer == NORM else f"layer {layer}" for layer in taps.layers]
    return [f"Rung {rung}: {name}" for rung, name in enumerate(names, start=1)]


def noise_shape(pipeline: LadderPipeline) -> tuple[int, int]:
    """Channels and side of the latents that a ladder draws."""
    settings = pipeline.ladder.generator.config
    return settings.in_channels, settings.sample_size


def _draw_one(
    pipeline: LadderPipeline,
    weights: Sequence[float],
    settings: Settings,
    sources: list[Image.Image],
    on_step: Callable[[int], None],
) -> list[Image.Image]:
    def ended(_: object, step: int, *__: object) -> dict[str, Tensor]:
        on_step(step + 1)
        return {}

    seeds = range(settings.seed, settings.seed + settings.pictures)
    pipeline.set_progress_bar_config(disable=True)
    with weighted_rungs(pipeline.ladder, weights):
        return pipeline(
            [settings.prompt],
            image=[sources] if settings.task == "edit" else None,
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance,
            image_guidance_scale=settings.image_guidance,
            num_images_per_prompt=settings.pictures,
            # On the CPU, so that a seed is the same noise wherever the ladder runs.
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            callback_on_step_end=ended,
        ).images
