"""`ladder bench sample`: our pipeline against the published way of sampling, from the same weights.

Both draw the same pictures from the same noise (equal latents), and decode nothing. Three cases:

text        text to image with guidance: the null prompt is read once, not once a picture, and what
            depends on the conditions alone is computed once, not at each step
edit        with guidance by text and source
unguided    text to image with guidance switched off: one branch and not two
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ladder.config.load import load
from ladder.inference.pipeline import LadderPipeline
from ladder.inference.sampler import make_scheduler
from ladder.profiling.paired_timing import alternate, cpu_seconds, gpu_seconds
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
ROUNDED = 0.1
"""The same where the MLLM computes in bfloat16, whose values have 8 bits."""


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


def sample(
    size: SizeName, pairs: int, steps: int, device: Literal["cpu", "cuda"] = "cpu"
) -> dict[str, Any]:
    """For each case: the ratio of CPU seconds (of seconds on a GPU, where the MLLM computes in
    bfloat16), and how far the latents differ.

    Raises ValueError if that is more than the tolerance.
    """
    models, settings = SIZES[size], load("paper").sampling
    on_gpu = device == "cuda"
    ladder = make_ladder(models, torch.bfloat16 if on_gpu else torch.float32, device).eval()
    pipeline = LadderPipeline(ladder, make_autoencoder(models, device), make_scheduler(settings))
    pipeline.set_progress_bar_config(disable=True)
    published = Published(ladder).eval()
    texts, pictures = make_prompts(BATCH, TOKENS), make_pictures(models, BATCH)
    shape = (BATCH, *(models.generator[key] for key in ("in_channels", *("sample_size",) * 2)))
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
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
            if difference > (ROUNDED if on_gpu else TOLERANCE):
                raise ValueError(
                    f"both ways must draw the same latents but for rounding, got {difference} "
                    f"for {name}"
                )
            found = alternate(theirs, ours, pairs, gpu_seconds if on_gpu else cpu_seconds)
        measured[name] = {
            "ratio": asdict(found.ratio),
            "seconds": {"ours": found.ours, "published": found.theirs},
            "latents_difference": difference,
        }
    return measured
