"""Curated pictures to latents, once: training then never runs the autoencoder.

Every split of every curated set becomes a Hugging Face dataset on disk with key, captions, sources
(PNG files, for the MLLM) and latents. The same input gives the same bytes.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import datasets
import numpy as np
import torch
from datasets import Array3D, Dataset, Features, List, Value
from diffusers import AutoModel
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from ladder.config.load import Config
from ladder.data.images import encode_png
from ladder.data.shards import SPLITS, Sample, read_shards
from ladder.models.generator.autoencoder import Autoencoder, compression, encoded, load_autoencoder
from ladder.models.loading import generator_folder, located

# Shapes: B samples of a batch, C H W channels, height and width of latents.


def encode(
    curated: Path,
    out: Path,
    autoencoder: Autoencoder,
    batch: int = 64,
    side: int | None = None,
) -> None:
    """Encodes every set of `curated` (as `curate` left it) into `out`/SET/{train,evaluation}.

    Latents are float32 (C, H, W), already shifted and scaled (see
    `ladder.models.generator.autoencoder`): the generator trains on them as they are. With `side`
    all pictures, sources included, are scaled and centre-cropped to `side` x `side` pixels; without
    it the targets of a set must be of one size. An empty split is left out. Errors: targets of
    several sizes, or not divisible by the autoencoder's compression; a split that is already there.
    """
    sets = json.loads((curated / "manifest.json").read_text())["sets"]
    splits = [(name, split) for name in sets for split in SPLITS if sets[name][split]]
    total = sum(sets[name][split] for name, split in splits)
    out.mkdir(parents=True, exist_ok=True)
    with tqdm(total=total, desc="encode", unit="sample") as bar, _quiet_datasets():
        for name, split in splits:
            folder = Path(name) / split
            if (out / folder).exists():
                raise ValueError(f"{out / folder} must not exist yet")
            samples = _resized(read_shards(curated / folder), side)
            rows = _rows(samples, autoencoder.eval(), batch, bar)
            first = next(rows)
            _save(first, rows, out / folder, fingerprint=sets[name]["hash"])


@torch.inference_mode()
def latents_of(pictures: list[Image.Image], autoencoder: Autoencoder) -> Float[Tensor, "B C H W"]:
    """Scaled latents (float32, on the CPU) of RGB `pictures` of one size.

    Errors: sizes that differ or are not divisible by the autoencoder's compression.
    """
    factor = compression(autoencoder)
    width, height = pictures[0].size
    sizes = {picture.size for picture in pictures}
    if len(sizes) > 1 or width % factor or height % factor:
        rule = f"pictures of a set must be of one size, divisible by {factor}"
        raise ValueError(f"{rule}, but are {sorted(sizes)}")
    pixels = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))
    pixels = pixels.to(autoencoder.device, autoencoder.dtype).permute(0, 3, 1, 2) / 127.5 - 1
    return encoded(autoencoder, pixels).float().cpu()


def _rows(
    samples: Iterator[Sample], autoencoder: Autoencoder, batch: int, bar: tqdm
) -> Iterator[dict]:
    while group := list(islice(samples, batch)):
        latents = latents_of([sample.target for sample in group], autoencoder).numpy()
        for sample, latent in zip(group, latents, strict=True):
            pngs = [{"bytes": encode_png(source), "path": None} for source in sample.sources]
            captions = list(sample.captions)
            yield {"key": sample.key, "captions": captions, "sources": pngs, "latents": latent}
        bar.update(len(group))


def _save(first: dict, rest: Iterator[dict], folder: Path, fingerprint: str) -> None:
    """Writes rows to `folder` a part at a time, so that memory does not grow with the set."""
    features = Features(
        key=Value("string"),
        captions=List(Value("string")),
        sources=List(datasets.Image()),
        latents=Array3D(first["latents"].shape, "float32"),
    )

    def rows() -> Iterator[dict]:
        yield first
        yield from rest

    with tempfile.TemporaryDirectory(dir=folder.parents[1]) as cache:
        # Without a given fingerprint, a random one would change the bytes at every run.
        dataset = Dataset.from_generator(
            rows, features=features, cache_dir=cache, fingerprint=fingerprint
        )
        dataset.save_to_disk(folder)


def _resized(samples: Iterator[Sample], side: int | None) -> Iterator[Sample]:
    if side is None:
        yield from samples
        return
    for sample in samples:
        target, *sources = (
            ImageOps.fit(picture, (side, side), Image.Resampling.BICUBIC)
            for picture in (sample.target, *sample.sources)
        )
        yield dataclasses.replace(sample, target=target, sources=tuple(sources))


@contextmanager
def _quiet_datasets() -> Iterator[None]:
    """Our own progress bar knows the total; the library's bars would run beside it."""
    shown = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not shown:
            datasets.enable_progress_bars()


def main(
    config: Config, curated: Path = Path("data/curated"), out: Path = Path("data/encoded")
) -> None:
    """Encodes with the generator's own autoencoder, at the size the generator was made for."""
    folder = config.foundations.generator
    dtype = getattr(torch, config.foundations.dtype)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    autoencoder = load_autoencoder(folder, dtype)
    name, revision = located(folder)
    generator = AutoModel.load_config(name, subfolder=generator_folder(folder), revision=revision)
    side = generator["sample_size"] * compression(autoencoder)
    encode(curated, out, autoencoder.to(device), side=side)
