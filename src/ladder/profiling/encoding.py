"""How fast encoding brings pictures to the autoencoder: a measurement on made-up photographs.

ladder bench encode    samples/s of preparing alone, without the autoencoder, by processes
"""

from __future__ import annotations

import io
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from ladder.config.load import Encoding, load

SIDE, TARGET, QUALITY = 1024, 512, 90
"""Pixels of what is read and of what is encoded, and of the JPEGs that are read."""
PROCESSES = 2


def encoding(sizes: list[int] | None) -> list[dict[str, float]]:
    """Samples/s of two processes (by the clock, by their CPU time) for shards of `sizes` samples.

    They read curated JPEGs of 1,024 pixels and bring them to 512.
    """
    measured = []
    for size in sizes or [600]:
        with tempfile.TemporaryDirectory() as name:
            shard = Path(name) / "00000.tar"
            _shard(shard, size)
            with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
                # The first round imports and warms up.
                list(pool.map(_prepare, [shard] * PROCESSES))
                begun = time.perf_counter()
                spent = list(pool.map(_prepare, [shard] * PROCESSES))
                taken = time.perf_counter() - begun
        measured.append(
            {
                "samples": size,
                "processes": PROCESSES,
                "prepared/s": PROCESSES * size / taken,
                "prepared/CPU s": PROCESSES * size / sum(spent),
            }
        )
    return measured


def _prepare(shard: Path) -> float:
    """Prepare the samples of a shard; returns seconds of CPU time."""
    from ladder.data.shards import read_packed
    from ladder.data.training.encode_chunk import prepared

    settings = _settings()
    begun = time.process_time()
    for sample in read_packed(shard):
        prepared(sample, ((TARGET, TARGET),), settings)
    return time.process_time() - begun


def _settings() -> Encoding:
    return load().encoding


def _shard(path: Path, count: int) -> None:
    """Captioned pictures, smooth with a little noise: about as hard to decode as photographs."""
    from ladder.data.shards import Packed, write_shard

    rng = np.random.default_rng(0)
    noise = rng.normal(0, 6, (SIDE, SIDE, 3))
    files = []
    for _ in range(20):
        small = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        pixels = np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) + noise
        file = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=QUALITY)
        files.append(("jpg", file.getvalue()))
    samples = (Packed(str(n), ("a photograph",), files[n % len(files)]) for n in range(count))
    write_shard(samples, path)
