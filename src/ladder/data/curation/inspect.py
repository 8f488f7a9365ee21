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
from ladder.data.shards import Sample
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
class Seen:
    """A readable sample without its pixels."""

    captions: tuple[str, ...]
    """Repaired, if that was asked for."""
    repaired: bool
    """Whether one of them was broken."""
    truth: str | None
    """In JSON."""
    sizes: tuple[tuple[int, int], ...]
    """Of its pictures: the sources, then the target."""
    formats: tuple[str | None, ...]
    hashes: tuple[str, ...]
    small: tuple[UInt8[np.ndarray, "32 32 4"], ...]
    """What `small` made of the pictures; none if it isn't asked for."""


def examine(
    records: Sequence[Record | Rejected],
    chunk: str,
    curation: Curation,
    finder: Finder | None,
) -> pa.Table:
    """Rows of SCHEMA for the records of a chunk.

    All pictures are looked at first, then all captions: in turn, each would find the processor's
    caches full of the other's, and take twice as long.
    """
    rows: list[dict] = []
    readable: list[tuple[dict, Seen]] = []
    for number, record in enumerate(records):
        row = {"chunk": chunk, "row": number, "shard": record.shard, "key": record.key}
        rows.append(row)
        looked = _look(record, curation) if isinstance(record, Record) else record
        if isinstance(looked, Rejected):
            row["reason"] = looked.reason
        else:
            readable.append((row, looked))
    seen = [one for _, one in readable]
    found = [row for row, _ in readable]
    for row, facts in zip(found, _facts(seen, curation, finder), strict=True):
        row |= facts
    if curation.near_duplicates is not None:
        for row, (*sources, target) in zip(found, _looks(seen), strict=True):
            row |= {"source_looks": sources, "look": target}
    if curation.near_captions is not None or curation.near_duplicates is not None:
        for row, facts in zip(found, shingled([" ".join(x.captions) for x in seen]), strict=True):
            row |= facts
    return pa.Table.from_pylist(rows, SCHEMA)


def _look(record: Record, curation: Curation) -> Seen | Rejected:
    """Afterwards nothing holds the pictures, whose memory the next ones take."""
    loaded = record.load(curation.maximum_pixels)
    if isinstance(loaded, Rejected):
        return loaded
    try:
        return _seen(loaded, curation)
    except BadSampleError as bad:
        return Rejected(record.key, record.shard, bad.reason)


def _seen(sample: Sample, curation: Curation) -> Seen:
    """Raises BadSampleError: words that can't be repaired or written."""
    captions = sample.captions
    if curation.captions:
        captions = tuple(
            # Repairing shortens a text to a quarter at most, and takes long for megabytes.
            caption if len(caption) > 4 * curation.maximum_caption else repaired(caption)
            for caption in captions
        )
    with refused_as("bad_json"):
        truth = None if sample.truth is None else json.dumps(sample.truth)
    pictures = (*sample.sources, sample.target)
    pixels = [pixels_of(picture) for picture in pictures]
    return Seen(
        captions,
        captions != sample.captions,
        truth,
        tuple(picture.size for picture in pictures),
        tuple(picture.format for picture in pictures),
        tuple(map(_hash, pixels)),
        () if curation.near_duplicates is None else tuple(map(small, pixels)),
    )


def _facts(seen: Sequence[Seen], curation: Curation, finder: Finder | None) -> Iterator[dict]:
    """The columns of each sample that don't depend on what is asked of near ones."""
    said = [caption for one in seen for caption in one.captions]
    wrong = iter(faults(said, curation.maximum_caption) if curation.captions else ())
    for one in seen:
        width, height = one.sizes[-1]
        content = [*one.hashes, *one.captions] if len(one.sizes) > 1 else one.hashes
        own = list(islice(wrong, len(one.captions)))
        if curation.captions and not all(one.captions):
            own = ["empty_caption"]
        facts = {
            "captions": one.captions,
            "repaired": one.repaired,
            "truth": one.truth,
            "width": width,
            "height": height,
            "sources": len(one.sizes) - 1,
            "formats": one.formats,
            # An edit and its inverse, of the same pictures, lie on one side.
            "share": xxhash.xxh3_128_intdigest("".join(sorted(one.hashes)).encode()) / 2**128,
            "content": xxhash.xxh3_128_hexdigest(json.dumps(content).encode()),
            "reason": _fault_of_pictures(one, curation) or next(filter(None, own), None),
        }
        if finder and (match := finder.find(one.captions)):
            facts |= {"benchmark": match.benchmark, "tier": match.tier}
        yield facts


def _looks(seen: Sequence[Seen]) -> Iterator[list[int]]:
    """Of each sample, the perceptual hashes of its pictures."""
    all_small = [picture for one in seen for picture in one.small]
    found = iter(looks(np.stack(all_small)) if all_small else [])
    return (list(islice(found, len(one.small))) for one in seen)


def _fault_of_pictures(seen: Seen, curation: Curation) -> str | None:
    """Why pictures may not be trained on, whatever the others are."""
    if min(map(min, seen.sizes)) < curation.minimum_side:
        return "too_small"
    if max(max(size) / min(size) for size in seen.sizes) > curation.maximum_aspect:
        return "long_shape"
    if len(seen.sizes) == 2 and curation.edits:
        if seen.hashes[0] == seen.hashes[1]:
            return "no_op_edit"
        (source, target) = (width / height for width, height in seen.sizes)
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
