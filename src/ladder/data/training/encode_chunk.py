"""What one process does to encode curated data: a chunk of shards to files of latents.

Letters: B samples of a batch, C H W channels, height and width of latents.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoModel
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ladder.config.files import read_json
from ladder.config.load import Config, Encoding
from ladder.data.images import encode_png
from ladder.data.resize import WHOLE, Size, bring, buckets, framed, open_stored
from ladder.data.shards import Packed, read_packed
from ladder.data.training.encoded import ONLY, EncodedFile, PartWriter, Row, hashed
from ladder.models.device import find_device
from ladder.models.generator.autoencoder import Autoencoder, compression, encoded, load_autoencoder
from ladder.models.loading import generator_folder, located
from ladder.models.reference import content_hash

FORMAT = 1
"""Counted up when the same input shall give other files."""
PARTS = "parts.json"
"""In the folder of a chunk that is done: its parts."""

Made = list[tuple[EncodedFile, Path]]
"""What a chunk became, and the files it is in."""


@dataclass(frozen=True)
class Chunk:
    """Shards that are encoded together."""

    number: int
    name: str
    """Of the set."""
    split: str
    shards: tuple[Path, ...]


@dataclass(frozen=True)
class Recipe:
    """How shards are encoded."""

    generator: str
    weights: str
    """A hash of the autoencoder's, or where they are on the hub."""
    dtype: str
    """In which the autoencoder computes."""
    sizes: tuple[Size, ...]
    """Of the buckets."""
    encoding: Encoding

    @classmethod
    def of(cls, config: Config) -> Recipe:
        """By the settings, and by what the generator was made for where these say nothing."""
        source, dtype = config.foundations.generator, config.foundations.dtype
        name, revision = located(source)
        generator = AutoModel.load_config(
            name, subfolder=generator_folder(source), revision=revision
        )
        pixels = compression(autoencoder_of(source, dtype, device_of(config.encoding)))
        side = config.encoding.side or generator["sample_size"] * pixels
        sizes = buckets(side, config.encoding.aspects, pixels * generator.get("patch_size", 1))
        folder = Path(source) / "vae"
        weights = content_hash(folder) if folder.is_dir() else source
        return cls(source, weights, dtype, sizes, config.encoding)

    def key(self, shards: Sequence[Path]) -> str:
        """Of what shards become: other content or another result gives another key."""
        encoding = self.encoding
        decides = [FORMAT, self.weights, self.dtype, self.sizes, encoding.latents, encoding.batch]
        decides += [encoding.sources, encoding.quality]
        return hashed(shards, json.dumps(decides))

    def bucket(self, size: Size) -> str:
        """The name of the bucket of pictures of `size`."""
        return f"{size[0]}x{size[1]}" if len(self.sizes) > 1 else ONLY


@dataclass(frozen=True)
class Prepared:
    """A sample whose pictures are at their sizes."""

    key: str
    captions: tuple[str, ...]
    target: Image.Image
    sources: tuple[bytes, ...]
    """As they will be kept."""


def encode_chunk(
    recipe: Recipe, work: Path, known: set[str], tick: Callable[[int], object], chunk: Chunk
) -> tuple[int, str, int]:
    """Encode a chunk into a folder of `work`, unless its key is `known` or the folder is there.

    Returns the chunk's number and key, and how many samples were encoded.
    """
    key = recipe.key(chunk.shards)
    folder = work / key
    if key in known or folder.is_dir():
        return chunk.number, key, 0
    if _worker() is not None:
        torch.set_num_threads(1)  # there is a worker for every core
    unfinished = work / f"{key}.{os.getpid()}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    written = _write_parts(recipe, chunk, unfinished, tick)
    parts = [
        EncodedFile(key, bucket, rows, hashed([unfinished / _file(bucket)]))
        for bucket, rows in sorted(written.items())
    ]
    (unfinished / PARTS).write_text(json.dumps([asdict(part) for part in parts]))
    try:
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process has made the same of an equal chunk
            raise
        shutil.rmtree(unfinished)
    return chunk.number, key, sum(written.values())


def _write_parts(
    recipe: Recipe, chunk: Chunk, folder: Path, tick: Callable[[int], object]
) -> dict[str, int]:
    """Write a file for every bucket that occurs in a chunk; returns how many samples each has."""
    encoding = recipe.encoding
    autoencoder = autoencoder_of(recipe.generator, recipe.dtype, device_of(encoding))
    waiting: dict[str, list[Prepared]] = {}
    writers: dict[str, PartWriter] = {}
    with ExitStack() as open_files:

        def flush(bucket: str) -> None:
            samples = waiting.pop(bucket)
            latents = latents_of([sample.target for sample in samples], autoencoder)
            if bucket not in writers:
                writer = PartWriter(folder / _file(bucket))
                writers[bucket] = open_files.enter_context(writer)
            for sample, latent in zip(
                samples, latents.to(getattr(torch, encoding.latents)), strict=True
            ):
                writers[bucket].write(Row(sample.key, sample.captions, sample.sources, latent))
            tick(len(samples))

        for sample in _samples(recipe, chunk):
            bucket = recipe.bucket(sample.target.size)
            waiting.setdefault(bucket, []).append(sample)
            if len(waiting[bucket]) == encoding.batch:
                flush(bucket)
        for bucket in [*waiting]:
            flush(bucket)
    return {bucket: writer.written for bucket, writer in writers.items()}


def _samples(recipe: Recipe, chunk: Chunk) -> Iterator[Prepared]:
    for shard in chunk.shards:
        for sample in read_packed(shard):
            yield prepared(sample, recipe.sizes, recipe.encoding)


def prepared(sample: Packed, sizes: Sequence[Size], encoding: Encoding) -> Prepared:
    """A sample of a curated shard with its pictures brought to their sizes."""
    target, *sources = (open_stored(data) for _, data in sample.pictures)
    places = framed(target.size, [source.size for source in sources], sizes)
    picture = bring(target, *places[0])
    files = []
    for source, (_, data), place in zip(sources, sample.sources, places[1:], strict=True):
        if encoding.sources == "original" and place == (source.size, WHOLE):
            files.append(data)
        elif encoding.sources == "png":
            files.append(encode_png(bring(source, *place)))
        else:
            files.append(_jpeg(bring(source, *place), encoding.quality))
    return Prepared(sample.key, sample.captions, picture, tuple(files))


@torch.inference_mode()
def latents_of(pictures: list[Image.Image], autoencoder: Autoencoder) -> Float[Tensor, "B C H W"]:
    """Scaled latents (float32, on the CPU) of RGB `pictures` of one size.

    Raises ValueError for sizes that differ or aren't divisible by the autoencoder's compression.
    """
    factor = compression(autoencoder)
    width, height = pictures[0].size
    sizes = {picture.size for picture in pictures}
    if len(sizes) > 1 or width % factor or height % factor:
        rule = f"pictures of a batch must be of one size, divisible by {factor}"
        raise ValueError(f"{rule}, but are {sorted(sizes)}")
    pixels = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))
    pixels = pixels.to(autoencoder.device, autoencoder.dtype).permute(0, 3, 1, 2) / 127.5 - 1
    return encoded(autoencoder, pixels).float().cpu()


def parts_of(folder: Path) -> Made:
    """What `encode_chunk` left in a folder."""
    parts = [EncodedFile(**part) for part in read_json(folder / PARTS)]
    return [(part, folder / _file(part.bucket)) for part in parts]


@lru_cache(maxsize=1)
def autoencoder_of(generator: str, dtype: str, device: str) -> Autoencoder:
    """Loaded once a process, not once a chunk."""
    return load_autoencoder(generator, getattr(torch, dtype)).to(device).eval()


def device_of(encoding: Encoding) -> str:
    """Where this process computes: on one of several GPUs, processes beside it on the others."""
    return str(find_device(encoding.device or "auto", _worker()))


def _worker() -> int | None:
    """The number of this process among the workers of a Dask cluster; None outside of one."""
    if "distributed" not in sys.modules:
        return None
    from distributed import get_worker

    try:
        name = get_worker().name
    except ValueError:
        return None
    return name if isinstance(name, int) else os.getpid()


def _file(bucket: str) -> str:
    return f"{bucket or 'all'}.arrow"


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()
