"""Pictures to be judged, drawn by a pipeline from noise that depends on what is asked alone.

A prompt starts from the same noise in every arm and training seed, so that two ladders can be
compared prompt by prompt.

Letters: P prompts, I pictures of each, H and W height and width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xxhash
from jaxtyping import UInt8
from PIL import Image
from tqdm import tqdm

from ladder.config.load import Sampling
from ladder.inference.pipeline import LadderPipeline


def draw(
    pipeline: LadderPipeline,
    texts: Sequence[str],
    sources: Sequence[Image.Image | None],
    images: int,
    sampling: Sampling,
    seed: int,
    title: str,
) -> UInt8[np.ndarray, "P I H W 3"]:
    """`images` pictures for each text, edits of its source where there is one.

    `title` stands before the progress bar.
    """
    pipeline.set_progress_bar_config(disable=True)
    step = max(1, sampling.batch // images)
    drawn, places = [], range(len(texts))
    with tqdm(total=len(texts) * images, desc=title, unit="picture", mininterval=5) as bar:
        for first in range(0, len(texts), step):
            part = slice(first, first + step)
            pictures = pipeline(
                list(texts[part]),
                image=list(sources[part]),
                num_inference_steps=sampling.steps,
                guidance_scale=sampling.guidance,
                image_guidance_scale=sampling.image_guidance,
                num_images_per_prompt=images,
                generator=[g for n in places[part] for g in noise(texts[n], n, images, seed)],
                output_type="np",
            ).images
            drawn.append((pictures * 255).round().astype(np.uint8))
            bar.update(len(pictures))
    joined = np.concatenate(drawn)
    return joined.reshape(len(texts), images, *joined.shape[1:])


def noise(text: str, place: int, images: int, seed: int) -> list[torch.Generator]:
    """A generator of noise for each of the pictures of the text at that place of a list."""
    entropy = [seed, xxhash.xxh64_intdigest(text.encode()), place]
    states = np.random.SeedSequence(entropy).generate_state(images, np.uint64)
    return [torch.Generator().manual_seed(int(state >> np.uint64(1))) for state in states]
