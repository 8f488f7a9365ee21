"""What can be said of a record by looking at it alone: readable, sizes, captions, hashes.

The expensive half of curation (reading and decoding), a map over chunks of records, which may run
on many machines. What only a comparison can tell is decided in `ladder.data.curation.duplicates`.

H, W: height and width in pixels; K: pictures of a sample.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import islice

import cv2
import numpy as np
import pyarrow as pa
import xxhash
from jaxtyping import Float, UInt8
from PIL import Image

from ladder.config.load import Curation
from ladder.data.curation.captions import faults, repaired
from ladder.data.curation.contamination import Finder
from ladder.data.curation.shingles import shingled
from ladder.data.images import BadSampleError, refused_as
from ladder.data.sources.record import Record, Rejected

SCHEMA = pa.schema(
    {
        "chunk": pa.string(),
        "row": pa.int64(),
        "shard": pa.string(),
        "key": pa.string(),
        "reason": pa.string(),
        "captions": pa.list_(pa.string()),
        "repaired": pa.bool_(),
        "truth": pa.string(),
        "width": pa.int32(),
        "height": pa.int32(),
        "sources": pa.int32(),
        "formats": pa.list_(pa.string()),
        "share": pa.float64(),
        "content": pa.string(),
        "look": pa.int64(),
        "source_looks": pa.list_(pa.int64()),
        "phrase": pa.uint64(),
        "bands": pa.list_(pa.uint64()),
        "shingles": pa.list_(pa.uint32()),
        "benchmark": pa.string(),
        "tier": pa.string(),
    }
)
"""A row for every record that was read; what could not be read has only the first five.

`row` is the place in the chunk, `share` where the hash of the pixels lies between 0 and 1 (it
chooses the split), `formats` the image formats of the sources and the target if their files may
be kept as they are, `content` the hash of pixels and, of an edit, captions, `look` the target's
perceptual hash and `source_looks` those of what is edited; of the captions, `shingles` are the
hashes of their three-word groups, `phrase` the hash of those, `bands` the hashes of their MinHash's
bands.
"""
BRIGHTNESS = np.float32([0.299, 0.587, 0.114, 0])
"""What each byte of a pixel adds to it."""


@dataclass(frozen=True)
class Looked:
    """What was seen in the pictures of a sample: the sources, then the target."""

    sizes: tuple[tuple[int, int], ...]
    formats: tuple[str | None, ...]
    hashes: tuple[str, ...]
    small: tuple[UInt8[np.ndarray, "32 32 4"], ...]
    """What `small` made of them; none if it isn't asked for."""


@dataclass(frozen=True)
class Words:
    """What is said of a sample."""

    captions: tuple[str, ...]
    """Repaired, if that was asked for."""
    repaired: bool
    """Whether one of them was broken."""
    truth: str | None
    """In JSON."""


def examine(
    records: Sequence[Record | Rejected],
    chunk: str,
    curation: Curation,
    finder: Finder | None,
) -> pa.Table:
    """Rows of SCHEMA for the records of a chunk.

    All pictures are looked at first, then all words: in turn, each would find the processor's
    caches full of the other's, and take twice as long. What is wrong with both has the fault of the
    words.
    """
    rows: list[dict] = []
    looked = [_look(record, curation) for record in records]
    readable: list[tuple[dict, Looked, Words]] = []
    for number, (record, one) in enumerate(zip(records, looked, strict=True)):
        row = {"chunk": chunk, "row": number, "shard": record.shard, "key": record.key}
        rows.append(row)
        try:
            readable.append((row, *_read(record, one, curation)))
        except BadSampleError as bad:
            row["reason"] = bad.reason
    for (row, *_), facts in zip(readable, _facts(readable, curation, finder), strict=True):
        row |= facts
    if curation.near_duplicates is not None:
        pictures = [one.small for _, one, _ in readable]
        for (row, *_), (*sources, target) in zip(readable, _looks(pictures), strict=True):
            row |= {"source_looks": sources, "look": target}
    if curation.near_captions is not None or curation.near_duplicates is not None:
        texts = [" ".join(words.captions) for *_, words in readable]
        for (row, *_), facts in zip(readable, shingled(texts), strict=True):
            row |= facts
    return pa.Table.from_pylist(rows, SCHEMA)


def _look(record: Record | Rejected, curation: Curation) -> Looked | str:
    """What is in the pictures of a record, or why they can't be used.

    Afterwards nothing holds them, so that the next ones take their memory.
    """
    if isinstance(record, Rejected):
        return record.reason
    try:
        pictures = record.pictures(curation.maximum_pixels)
    except BadSampleError as bad:
        return bad.reason
    pixels = [pixels_of(picture) for picture in pictures]
    return Looked(
        tuple(picture.size for picture in pictures),
        tuple(picture.format for picture in pictures),
        tuple(map(_hash, pixels)),
        () if curation.near_duplicates is None else tuple(map(small, pixels)),
    )


def _read(
    record: Record | Rejected, looked: Looked | str, curation: Curation
) -> tuple[Looked, Words]:
    """What was seen, and the words. Raises BadSampleError: why a record can't be used."""
    said, truth = record.words() if isinstance(record, Record) else ((), None)
    if isinstance(looked, str):
        raise BadSampleError(looked)
    captions = said
    if curation.captions:
        captions = tuple(
            # Repairing shortens a text to a quarter at most, and takes long for megabytes.
            caption if len(caption) > 4 * curation.maximum_caption else repaired(caption)
            for caption in said
        )
    with refused_as("bad_json"):
        written = None if truth is None else json.dumps(truth)
    return looked, Words(captions, captions != said, written)


def _facts(
    readable: Sequence[tuple[dict, Looked, Words]], curation: Curation, finder: Finder | None
) -> Iterator[dict]:
    """The columns of each sample that don't depend on what is asked of near ones."""
    said = [caption for *_, words in readable for caption in words.captions]
    wrong = iter(faults(said, curation.maximum_caption) if curation.captions else ())
    for _, looked, words in readable:
        width, height = looked.sizes[-1]
        hashes, captions = looked.hashes, words.captions
        content = [*hashes, *captions] if len(hashes) > 1 else hashes
        own = list(islice(wrong, len(captions)))
        if curation.captions and not all(captions):
            own = ["empty_caption"]
        facts = {
            "captions": captions,
            "repaired": words.repaired,
            "truth": words.truth,
            "width": width,
            "height": height,
            "sources": len(hashes) - 1,
            "formats": looked.formats,
            # An edit and its inverse, of the same pictures, lie on one side.
            "share": xxhash.xxh3_128_intdigest("".join(sorted(hashes)).encode()) / 2**128,
            "content": xxhash.xxh3_128_hexdigest(json.dumps(content).encode()),
            "reason": _fault_of_pictures(looked, curation) or next(filter(None, own), None),
        }
        if finder and (match := finder.find(captions)):
            facts |= {"benchmark": match.benchmark, "tier": match.tier}
        yield facts


def _looks(pictures: Sequence[Sequence[UInt8[np.ndarray, "32 32 4"]]]) -> Iterator[list[int]]:
    """Of each sample, the perceptual hashes of its pictures."""
    together = [picture for own in pictures for picture in own]
    found = iter(looks(np.stack(together)) if together else [])
    return (list(islice(found, len(own))) for own in pictures)


def _fault_of_pictures(looked: Looked, curation: Curation) -> str | None:
    """Why pictures may not be trained on, whatever the others are."""
    if min(map(min, looked.sizes)) < curation.minimum_side:
        return "too_small"
    if max(max(size) / min(size) for size in looked.sizes) > curation.maximum_aspect:
        return "long_shape"
    if len(looked.sizes) == 2 and curation.edits:
        if looked.hashes[0] == looked.hashes[1]:
            return "no_op_edit"
        (source, target) = (width / height for width, height in looked.sizes)
        if max(source / target, target / source) > curation.edit_aspect:
            return "size_mismatch"
    return None


def pixels_of(picture: Image.Image) -> UInt8[np.ndarray, "H W 4"]:
    """The pixels of an RGB picture as Pillow holds them, with a fourth byte that means nothing."""
    try:
        held = pa.array(picture).values.to_numpy()
    except ValueError:  # more than Pillow keeps in one block
        return cv2.cvtColor(np.asarray(picture), cv2.COLOR_RGB2RGBA)
    return held.reshape(picture.height, picture.width, 4)


@lru_cache(maxsize=2)
def _room(height: int, width: int) -> UInt8[np.ndarray, "H W 3"]:
    """Kept, since room for a photograph takes longer to get than its pixels to copy."""
    return np.empty((height, width, 3), np.uint8)


def _hash(pixels: UInt8[np.ndarray, "H W 4"]) -> str:
    height, width, _ = pixels.shape
    hasher = xxhash.xxh3_128(str((width, height)).encode())
    hasher.update(cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB, _room(height, width)))
    return hasher.hexdigest()


def small(pixels: UInt8[np.ndarray, "H W 4"]) -> UInt8[np.ndarray, "32 32 4"]:
    """The means of a picture's colours on 32 x 32 boxes, of about 16 pixels in each."""
    step = max(1, min(pixels.shape[:2]) // 128)
    some = np.ascontiguousarray(pixels.view(np.uint32)[::step, ::step])
    some = some.view(np.uint8).reshape(*some.shape[:2], 4)
    return cv2.resize(some, (32, 32), interpolation=cv2.INTER_AREA)


def looks(pictures: UInt8[np.ndarray, "K 32 32 4"]) -> list[int]:
    """The perceptual hashes (pHash) of what `small` made of pictures: 64 bits as signed integers.

    The signs, about their median, of the 8 x 8 lowest frequencies of the brightness
    (www.hackerfactor.com/blog/index.php?/archives/432-Looks-Like-It.html).
    """
    low = _cosines() @ (pictures @ BRIGHTNESS) @ _cosines().T
    low = low.reshape(-1, 64)
    middle = np.partition(low, (31, 32))[:, 31:33].mean(axis=1, keepdims=True)
    return np.packbits(low > middle, axis=1).view(">i8")[:, 0].tolist()


@cache
def _cosines() -> Float[np.ndarray, "8 32"]:
    """The 8 lowest frequencies of the cosine transform (DCT-II, orthonormal) of 32 values."""
    waves = np.cos(np.pi / 64 * np.outer(np.arange(8), 2 * np.arange(32) + 1)) / 4
    waves[0] /= np.sqrt(2)
    return waves.astype(np.float32)
