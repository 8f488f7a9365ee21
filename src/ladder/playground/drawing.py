"""Pictures with weighted rungs, beside those of a reference on the same noise.

The reference of a picture is the same ladder with all its rungs as they are. In a comparison it is
another ladder, such as one of the arm `last`, whose blocks all read one layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageChops
from torch import Tensor

from ladder.config.schema import Dtype
from ladder.data.images import BadSampleError, decode
from ladder.data.resize import fit
from ladder.inference.open import open_ladder
from ladder.inference.pipeline import LadderPipeline, LadderPipelineOutput
from ladder.inference.rung_attribution import weighted_rungs
from ladder.inference.shipped import shipped_ladder
from ladder.models.device import Device
from ladder.models.layer_selection import MIXED, NORM, Taps
from ladder.playground.settings import Settings

MAXIMUM_SOURCES = 4
"""Pictures that are changed or combined at a time."""
MAXIMUM_PIXELS = 2**24
"""Larger uploads are refused before they are decoded."""
PLAIN = "all rungs at 1"
"""What a reference of the same ladder is called."""
OnStep = Callable[[int, int], None]
"""Told how many of how many steps are done."""


@dataclass(frozen=True)
class Models:
    """The ladder to play with, and one to compare it with."""

    pipeline: LadderPipeline
    name: str
    other: LadderPipeline | None = None
    other_name: str = ""

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

    @property
    def blocks(self) -> int:
        """How many rungs the ladder has."""
        return self.pipeline.ladder.taps.blocks

    @property
    def rungs(self) -> list[str]:
        """What each rung of the ladder is made of, in words."""
        return rung_names(self.pipeline.ladder.taps)


@dataclass(frozen=True)
class Drawing:
    """What came of some settings."""

    settings: Settings
    sources: list[Image.Image]
    pictures: list[Image.Image]
    references: list[Image.Image]
    """One for each picture, or none where a reference would be the picture itself."""
    reference_name: str

    @property
    def differences(self) -> list[Image.Image]:
        """What each picture changes: white where it differs most from its source or, without one,
        from its reference. None without either."""
        if self.sources:
            before = [fit(self.sources[0], picture.size) for picture in self.pictures]
        else:
            before = self.references
        return [difference(*pair) for pair in zip(before, self.pictures, strict=bool(before))]

    @property
    def rows(self) -> list[list[tuple[str, Image.Image, str]]]:
        """For each picture what stands side by side: kind, picture, and the words beneath it."""
        of = {
            "source": self.sources[:1] * len(self.pictures),
            "picture": self.pictures,
            "reference": self.references,
            "difference": self.differences,
        }
        words = {"reference": self.reference_name}
        return [
            [
                (kind, some[index], words.get(kind, f"seed {self.settings.seed + index}"))
                if kind in ("picture", "reference")
                else (kind, some[index], kind)
                for kind, some in of.items()
                if some
            ]
            for index in range(len(self.pictures))
        ]


def draw(
    models: Models, settings: Settings, sources: list[Image.Image], on_step: OnStep
) -> Drawing:
    """Draw the pictures and, where they can differ, their references.

    Meanwhile the weights are those of the ladder itself, so that nothing else may draw with it.
    Raises ValueError for an empty prompt, for an edit of no picture or of too many, for a
    comparison with no other ladder, and unless each rung has a weight.
    """
    if not settings.prompt.strip():
        raise ValueError("say what to draw or to change first: the prompt is empty")
    if settings.task == "edit" and not 1 <= len(sources) <= MAXIMUM_SOURCES:
        raise ValueError(f"1 to {MAXIMUM_SOURCES} pictures can be changed, got {len(sources)}")
    if settings.task == "compare" and models.other is None:
        raise ValueError("a comparison needs another ladder: start the page with --compare FOLDER")
    weighted = [(models.pipeline, settings.rungs)]
    name = PLAIN
    if settings.task == "compare":
        weighted.append((models.other, (1.0,) * models.other.ladder.taps.blocks))
        name = models.other_name
    elif not settings.plain:
        weighted.append((models.pipeline, (1.0,) * models.blocks))
    total = settings.steps * len(weighted)
    drawn = [
        draw_weighted(
            *one, settings, sources, lambda step, done=done: on_step(done + step, total)
        ).images
        for one, done in zip(weighted, (0, settings.steps), strict=False)
    ]
    return Drawing(settings, sources, drawn[0], drawn[1] if len(drawn) > 1 else [], name)


def draw_weighted(
    pipeline: LadderPipeline,
    weights: Sequence[float],
    settings: Settings,
    sources: list[Image.Image],
    on_step: Callable[[int], None],
    explain: bool = False,
) -> LadderPipelineOutput:
    """What the pipeline returns while its rungs have these weights."""

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
            explain=explain,
        )


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


def difference(before: Image.Image, after: Image.Image) -> Image.Image:
    """How far two pictures of one size are apart: the largest difference of a channel, as grey."""
    red, green, blue = ImageChops.difference(before, after).split()
    return ImageChops.lighter(ImageChops.lighter(red, green), blue).convert("RGB")


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
