"""Draws the pictures that are judged: many prompts, a few pictures each, each from its own noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from ladder.config import Sampling
from ladder.pipeline import LadderPipeline


@dataclass(frozen=True)
class Request:
    """A prompt, or an instruction with the picture to edit."""

    text: str
    source: Image.Image | None = None


def draw(
    pipeline: LadderPipeline,
    requests: Sequence[Request],
    images: int,
    seed: int,
    sampling: Sampling,
    title: str,
) -> list[np.ndarray]:
    """`images` pictures for each request: a uint8 array (images, H, W, 3) each, in their order.

    The noise of a picture depends on (seed, request, image) only, not on the batch.
    """
    pictures: list[np.ndarray] = []
    with tqdm(total=len(requests) * images, desc=title, unit="picture") as progress:
        for start, part in _batches(requests, max(1, sampling.batch // images)):
            pipeline.set_progress_bar_config(disable=True)
            seeds = [
                (seed * 1_000_003 + start + i) * 1000 + j
                for i in range(len(part))
                for j in range(images)
            ]
            drawn = pipeline(
                [request.text for request in part],
                image=[request.source for request in part],
                num_inference_steps=sampling.steps,
                guidance_scale=sampling.guidance,
                image_guidance_scale=sampling.image_guidance,
                num_images_per_prompt=images,
                generator=[torch.Generator().manual_seed(one) for one in seeds],
                output_type="np",
            ).images
            pixels = (np.asarray(drawn) * 255).round().astype(np.uint8)
            pictures += [*pixels.reshape(len(part), images, *pixels.shape[1:])]
            progress.update(len(pixels))
    return pictures


def _batches(
    requests: Sequence[Request], size: int
) -> Iterator[tuple[int, Sequence[Request]]]:
    for start in range(0, len(requests), size):
        yield start, requests[start : start + size]
