"""Curated pictures to latents, once: training then never runs the autoencoder.

curated shards --chunks, over processes and GPUs--> files, each whole or absent --links--> OUT

A chunk is some shards behind one another. What it becomes is named by a hash of the shards'
content and of all that decides the result. So an encoding that was stopped goes on where it was,
and new sets and shards are added without encoding the others again. What is unfinished lies in the
output's neighbour of the same name with a dot before it. The same input gives the same bytes.

Letters: B samples of a batch, C H W channels, height and width of latents.
"""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoModel
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch import distributed as ranks
from tqdm import tqdm

from ladder.config.load import Config, Encoding
from ladder.data.curation.dask_map import spread
from ladder.data.images import encode_png
from ladder.data.resize import WHOLE, Size, bring, buckets, framed, open_stored
from ladder.data.shards import SPLITS, Packed, read_packed
from ladder.data.training.encoded import (
    MANIFEST,
    ONLY,
    Part,
    PartWriter,
    Row,
    assemble,
    hashed,
    read_manifest,
    write_manifest,
)
from ladder.models.generator.autoencoder import Autoencoder, compression, encoded, load_autoencoder
from ladder.models.loading import generator_folder, located
from ladder.models.reference import content_hash

log = logging.getLogger(__name__)

FORMAT = 1
"""Counted up when the same input shall give other files."""
PARTS, OLD = "parts.json", "old"

Made = list[tuple[Part, Path]]
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
        pixels = compression(_autoencoder(source, dtype, device_of(config.encoding)))
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


def encode(
    config: Config, curated: Path = Path("data/curated"), out: Path = Path("data/encoded")
) -> None:
    """Encode every set of `curated` (as `curate` left it) into `out`/SET/{train,evaluation}.

    What `out` holds is described in `ladder.data.training.encoded`. Pictures are scaled and cropped
    to the nearest bucket, a source together with its target. An empty split is left out. Work is
    shared by the processes that torchrun started, if it did, and by those of Dask. Raises
    ValueError for a shard that is not whole, and if `out` holds what isn't ours.
    """
    sets = json.loads((curated / "manifest.json").read_text())["sets"]
    recipe, encoding = Recipe.of(config), config.encoding
    work = out.parent / f".{out.name}"
    earlier = _earlier(out, work / OLD)
    work.mkdir(parents=True, exist_ok=True)
    chunks = _chunks(curated, sets, encoding.chunk * 2**20)
    rank, processes = (int(os.environ.get(name, n)) for name, n in (("RANK", 0), ("WORLD_SIZE", 1)))
    mine = chunks[rank::processes]
    here = encoding.workers == 0 and encoding.scheduler is None
    total = sum(sets[chunk.name][chunk.split] for chunk in _firsts(chunks)) // processes
    keys: dict[int, str] = {}
    with tqdm(total=total, desc="encode", unit="sample") as bar:
        # Only where it works itself, a process hears of single batches.
        tick = bar.update if here else _nothing
        task = partial(_encode_chunk, recipe, work, {*earlier}, tick)
        for number, key, rows in spread(task, mine, encoding):
            keys[number] = key
            if not here:
                bar.update(rows)
    _autoencoder.cache_clear()
    keys = _gathered(keys, processes)
    if rank == 0:
        _finish(out, work, sets, [(chunk, keys[chunk.number]) for chunk in chunks], earlier, recipe)


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


def device_of(encoding: Encoding) -> str:
    """Where this process computes: on one of several GPUs, processes beside it on the others."""
    wanted = encoding.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if wanted == "cpu":
        return wanted
    number = int(os.environ.get("LOCAL_RANK", _worker() or 0))
    return f"cuda:{number % torch.cuda.device_count()}"


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


@lru_cache(maxsize=1)
def _autoencoder(generator: str, dtype: str, device: str) -> Autoencoder:
    """Loaded once a process, not once a chunk."""
    return load_autoencoder(generator, getattr(torch, dtype)).to(device).eval()


def _chunks(curated: Path, sets: dict, size: int) -> list[Chunk]:
    """The shards of every split, in their order, in chunks of at most `size` bytes if they can."""
    chunks: list[Chunk] = []
    for name in sets:
        for split in SPLITS:
            waiting: list[Path] = []
            full = 0
            for shard in sorted((curated / name / split).glob("*.tar")):
                more = shard.stat().st_size
                if waiting and full + more > size:
                    chunks.append(Chunk(len(chunks), name, split, tuple(waiting)))
                    waiting, full = [], 0
                waiting.append(shard)
                full += more
            if waiting:
                chunks.append(Chunk(len(chunks), name, split, tuple(waiting)))
    return chunks


def _firsts(chunks: Iterable[Chunk]) -> Iterable[Chunk]:
    """One chunk of every split."""
    return {(chunk.name, chunk.split): chunk for chunk in chunks}.values()


def _encode_chunk(
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
        Part(key, bucket, rows, hashed([unfinished / _file(bucket)]))
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
    autoencoder = _autoencoder(recipe.generator, recipe.dtype, device_of(encoding))
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


def _earlier(out: Path, old: Path) -> dict[str, Made]:
    """What an earlier encoding left in `out`, by key; one that was stopped when it replaced `out`
    left that as `old`.

    Raises ValueError if there is something else.
    """
    if not out.exists() and old.is_dir():
        old.rename(out)
    if out.is_dir() and not (out / MANIFEST).is_file() and (found := sorted(out.iterdir())):
        names = [path.name for path in found[:5]]
        raise ValueError(
            f"{out} must be empty or have the {MANIFEST} of an earlier encoding, but has {names}; "
            "remove it to encode anew"
        )
    made: dict[str, Made] = {}
    for path, part in read_manifest(out).items():
        if path.is_file():
            made.setdefault(part.key, []).append((part, path))
    return made


def _gathered(keys: dict[int, str], processes: int) -> dict[int, str]:
    """The keys of all chunks, from all processes of torchrun."""
    if processes == 1:
        return keys
    # One may have much more to do than another.
    ranks.init_process_group("gloo", timeout=timedelta(days=7))
    found: list[dict[int, str]] = [{} for _ in range(processes)]
    ranks.all_gather_object(found, keys)
    ranks.destroy_process_group()
    return {number: key for one in found for number, key in one.items()}


def _finish(
    out: Path,
    work: Path,
    sets: dict,
    done: list[tuple[Chunk, str]],
    earlier: dict[str, Made],
    recipe: Recipe,
) -> None:
    """Put `out` together from what is done, in the place of what it was, and remove `work`."""
    new = work / "out"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    splits: dict[tuple[str, str], Made] = {}
    for chunk, key in done:
        made = earlier.get(key) or _made(work / key)
        splits.setdefault((chunk.name, chunk.split), []).extend(made)
    files: dict[Path, Part] = {}
    for (name, split), made in splits.items():
        fingerprint = sets[name]["hash"]
        files |= assemble(new / name / split, made, fingerprint, len(recipe.sizes) > 1)
    write_manifest(new, files)
    kept = sum(key in earlier for _, key in done)
    log.info("%s: %d files of samples, %d of them as they were", out, len(files), kept)
    old = work / OLD
    shutil.rmtree(old, ignore_errors=True)
    if out.is_dir():
        out.rename(old)
    new.rename(out)
    shutil.rmtree(work)


def _made(folder: Path) -> Made:
    parts = [Part(**part) for part in json.loads((folder / PARTS).read_text())]
    return [(part, folder / _file(part.bucket)) for part in parts]


def _file(bucket: str) -> str:
    return f"{bucket or 'all'}.arrow"


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def _nothing(_: int) -> None:
    """In place of a progress bar's."""
