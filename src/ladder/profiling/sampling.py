"""`ladder bench sample`: our pipeline against the published way of sampling, from the same weights.

Both draw the same pictures from the same noise (equal latents), and decode nothing. Three cases:

text        text to image with guidance: the null prompt is read once, not once a picture, and what
            depends on the conditions alone is computed once, not at each step
edit        with guidance by text and source
unguided    text to image with guidance switched off: one branch and not two
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ladder.config.load import load
from ladder.inference.pipeline import LadderPipeline
from ladder.inference.sampler import make_scheduler
from ladder.profiling.paired_timing import alternate
from ladder.profiling.published_step import Published
from ladder.profiling.random_models import (
    SIZES,
    SizeName,
    make_autoencoder,
    make_ladder,
    make_pictures,
    make_prompts,
)
from ladder.training.stages import attention

BATCH, TOKENS = 4, 60
TOLERANCE = 1e-4
"""Of the latents: their largest difference, as a share of the largest value."""


@dataclass(frozen=True)
class Case:
    """One kind of sampling."""

    edit: bool
    guidance: float
    image_guidance: float


CASES = {
    "text": Case(edit=False, guidance=4.5, image_guidance=1.0),
    "edit": Case(edit=True, guidance=4.5, image_guidance=1.5),
    "unguided": Case(edit=False, guidance=1.0, image_guidance=1.0),
}


def sample(size: SizeName, pairs: int, steps: int) -> dict[str, Any]:
    """For each case: the ratio of CPU seconds, and how far the latents differ.

    Raises ValueError if that is more than TOLERANCE.
    """
    models, settings = SIZES[size], load("paper").sampling
    ladder = make_ladder(models, torch.float32, "cpu").eval()
    pipeline = LadderPipeline(ladder, make_autoencoder(models, "cpu"), make_scheduler(settings))
    pipeline.set_progress_bar_config(disable=True)
    published = Published(ladder).eval()
    texts, pictures = make_prompts(BATCH, TOKENS), make_pictures(models, BATCH)
    shape = (BATCH, *(models.generator[key] for key in ("in_channels", *("sample_size",) * 2)))
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    measured = {}
    for name, case in CASES.items():

        def theirs(case: Case = case) -> Tensor:
            return published.sample(
                ladder,
                make_scheduler(settings),
                texts,
                pictures if case.edit else None,
                noise,
                steps,
                (case.guidance, case.image_guidance),
            )

        def ours(case: Case = case) -> Tensor:
            return pipeline(
                texts,
                pictures if case.edit else None,
                num_inference_steps=steps,
                guidance_scale=case.guidance,
                image_guidance_scale=case.image_guidance,
                latents=noise,
                output_type="latent",
            ).images

        with attention():
            expected, got = theirs(), ours()
            difference = ((expected - got).abs().max() / expected.abs().max()).item()
            if difference > TOLERANCE:
                raise ValueError(
                    f"both ways must draw the same latents to {TOLERANCE}, got {difference} "
                    f"for {name}"
                )
            found = alternate(theirs, ours, pairs)
        measured[name] = {
            "ratio": asdict(found.ratio),
            "seconds": {"ours": found.ours, "published": found.theirs},
            "latents_difference": difference,
        }
    return measured
