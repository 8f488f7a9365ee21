"""What can be said of a record by looking at it alone: readable, sizes, captions, hashes.

The expensive half of curation (reading and decoding), a map over chunks of records, which may run
on many machines. What only a comparison can tell is decided in `ladder.data.curation.duplicates`.

H, W: height and width in pixels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache, lru_cache

import cv2
import numpy as np
import pyarrow as pa
import xxhash
from datasketch import MinHash
from jaxtyping import UInt8
from PIL import Image

from ladder.config.load import Curation
from ladder.data.curation.captions import fault, repaired
from ladder.data.curation.contamination import Finder
from ladder.data.curation.near import BANDS
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
chooses the split), `content` the hash of pixels and, of an edit, captions, `look` the target's
perceptual hash and `source_looks` those of what is edited; of the captions, `shingles` are the
hashes of their three-word groups, `phrase` the hash of those, `bands` the hashes of their MinHash's
bands.
"""
PERMUTATIONS = 64
"""Values of a MinHash."""
SHINGLE = 3
"""Words in a shingle."""


def examine(
    records: Sequence[Record | Rejected],
    chunk: str,
    curation: Curation,
    finder: Finder | None,
) -> pa.Table:
    """Rows of SCHEMA for the records of a chunk."""
    rows = []
    for number, record in enumerate(records):
        row = {"chunk": chunk, "row": number, "shard": record.shard, "key": record.key}
        try:
            rows.append(row | _seen(record, curation, finder))
        except BadSampleError as bad:
            rows.append(row | {"reason": bad.reason})
    return pa.Table.from_pylist(rows, SCHEMA)


def _seen(record: Record | Rejected, curation: Curation, finder: Finder | None) -> dict:
    loaded = record.load(curation.maximum_pixels) if isinstance(record, Record) else record
    if isinstance(loaded, Rejected):
        return {"reason": loaded.reason}
    captions = loaded.captions
    if curation.captions:
        captions = tuple(
            # Repairing shortens a text to a quarter at most, and takes long for megabytes.
            caption if len(caption) > 4 * curation.maximum_caption else repaired(caption)
            for caption in captions
        )
    hashes, looks = [], []
    for picture in (*loaded.sources, loaded.target):
        pixels = _pixels(picture)
        hashes.append(_hash(pixels))
        if curation.near_duplicates is not None:
            looks.append(look(pixels))
    with refused_as("bad_json"):
        truth = None if loaded.truth is None else json.dumps(loaded.truth)
    facts = {
        "captions": captions,
        "repaired": captions != loaded.captions,
        "truth": truth,
        "width": loaded.target.width,
        "height": loaded.target.height,
        "sources": len(loaded.sources),
        # An edit and its inverse, of the same pictures, lie on one side.
        "share": xxhash.xxh3_128_intdigest("".join(sorted(hashes)).encode()) / 2**128,
        "reason": _reason(loaded, captions, hashes, curation),
    }
    content = [*hashes, *captions] if loaded.sources else hashes
    facts["content"] = xxhash.xxh3_128_hexdigest(json.dumps(content).encode())
    if curation.near_duplicates is not None:
        *facts["source_looks"], facts["look"] = looks
    if curation.near_captions is not None or curation.near_duplicates is not None:
        facts |= words(" ".join(captions))
    if finder and (match := finder.find(captions)):
        facts |= {"benchmark": match.benchmark, "tier": match.tier}
    return facts


def _reason(
    sample: Sample, captions: tuple[str, ...], hashes: list[str], curation: Curation
) -> str | None:
    """Why a readable sample may not be trained on, whatever the others are."""
    pictures = (*sample.sources, sample.target)
    if min(min(picture.size) for picture in pictures) < curation.minimum_side:
        return "too_small"
    if max(max(picture.size) / min(picture.size) for picture in pictures) > curation.maximum_aspect:
        return "long_shape"
    if len(sample.sources) == 1 and curation.edits:
        (source,), target = sample.sources, sample.target
        if hashes[0] == hashes[1]:
            return "no_op_edit"
        ratio = (source.width / source.height) / (target.width / target.height)
        if max(ratio, 1 / ratio) > curation.edit_aspect:
            return "size_mismatch"
    if not curation.captions:
        return None
    if not all(captions):
        return "empty_caption"
    faults = (fault(caption, curation.maximum_caption) for caption in captions)
    return next((reason for reason in faults if reason), None)


def _pixels(picture: Image.Image) -> UInt8[np.ndarray, "H W 3"]:
    """The pixels of a picture, until the next one of its size is asked for.

    Room for a photograph takes longer to get than its pixels to copy, so it is kept.
    """
    try:
        held = pa.array(picture).flatten().to_numpy()
    except ValueError:  # more than Pillow keeps in one block
        return np.asarray(picture)
    room = _room(picture.height, picture.width)
    return cv2.cvtColor(held.reshape(picture.height, picture.width, 4), cv2.COLOR_RGBA2RGB, room)


@lru_cache(maxsize=2)
def _room(height: int, width: int) -> UInt8[np.ndarray, "H W 3"]:
    return np.empty((height, width, 3), np.uint8)


def _hash(pixels: UInt8[np.ndarray, "H W 3"]) -> str:
    height, width, _ = pixels.shape
    hasher = xxhash.xxh3_128(str((width, height)).encode())
    hasher.update(np.ascontiguousarray(pixels))
    return hasher.hexdigest()


def look(pixels: UInt8[np.ndarray, "H W 3"]) -> int:
    """The perceptual hash of a picture (pHash), 64 bits as a signed integer.

    The signs, about their median, of the 8 x 8 lowest frequencies of its brightness on 32 x 32
    boxes (www.hackerfactor.com/blog/index.php?/archives/432-Looks-Like-It.html).
    """
    step = max(1, min(pixels.shape[:2]) // 128)  # of what is averaged, 16 pixels a box do
    small = cv2.resize(pixels[::step, ::step], (32, 32), interpolation=cv2.INTER_AREA)
    grey = small.astype(np.float32) @ np.float32([0.299, 0.587, 0.114])
    low = cv2.dct(grey)[:8, :8]
    return int(np.packbits((low > np.median(low)).flatten()).view(">i8")[0])


def words(text: str) -> dict:
    """The columns `shingles`, `phrase` and `bands` of a text."""
    said = text.casefold().split()
    groups = {" ".join(said[i : i + SHINGLE]) for i in range(max(1, len(said) - SHINGLE + 1))}
    encoded = [group.encode() for group in groups]
    shingles = np.unique(np.array([xxhash.xxh32_intdigest(group) for group in encoded], np.uint32))
    values = _empty().copy()
    values.update_batch(encoded)
    bands = values.hashvalues.astype(np.uint64).reshape(BANDS, -1)
    return {
        "shingles": shingles,
        "phrase": xxhash.xxh3_64_intdigest(shingles.tobytes()),
        "bands": [xxhash.xxh3_64_intdigest(band.tobytes()) for band in bands],
    }


@cache
def _empty() -> MinHash:
    """Made once: its permutations take longer than the hash of a caption."""
    return MinHash(PERMUTATIONS, hashfunc=xxhash.xxh32_intdigest)
