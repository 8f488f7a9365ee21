"""What can be said of a record by looking at it alone: readable, sizes, captions, hashes.

The expensive half of curation (reading and decoding), a map over chunks of records, which may run
on many machines. What only a comparison can tell is decided in `ladder.data.curation.duplicates`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache

import imagehash
import numpy as np
import pyarrow as pa
import xxhash
from datasketch import MinHash
from PIL import Image

from ladder.config.load import Curation
from ladder.data.curation.captions import fault, repaired
from ladder.data.curation.contamination import Finder
from ladder.data.shards import Sample
from ladder.data.sources.record import Record, Rejected

SCHEMA = pa.schema(
    {
        "set": pa.string(),
        "number": pa.int64(),
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
        "words": pa.list_(pa.int64()),
        "benchmark": pa.string(),
        "tier": pa.string(),
    }
)
"""A row for every record that was read; what could not be read has only the first five.

`number` is the place in the set, `share` where the hash of the pixels lies between 0 and 1 (it
chooses the split), `content` the hash of pixels and, of an edit, captions, `look` the target's
perceptual hash, `words` the captions' MinHash.
"""
PERMUTATIONS = 64
"""Values of a MinHash: similarities are estimated to about 0.06."""
SHINGLE = 3
"""Words in a shingle."""


def examine(
    records: Sequence[Record | Rejected],
    place: tuple[str, int],
    curation: Curation,
    finder: Finder | None,
) -> pa.Table:
    """Rows of SCHEMA for records; `place` is the set and the number of the first of them."""
    folder, first = place
    rows = []
    for number, record in enumerate(records, first):
        row = {"set": folder, "number": number, "shard": record.shard, "key": record.key}
        rows.append(row | _seen(record, curation, finder))
    return pa.Table.from_pylist(rows, SCHEMA)


def _seen(record: Record | Rejected, curation: Curation, finder: Finder | None) -> dict:
    loaded = record.load(curation.maximum_pixels) if isinstance(record, Record) else record
    if isinstance(loaded, Rejected):
        return {"reason": loaded.reason}
    captions = loaded.captions
    if curation.captions:
        captions = tuple(repaired(caption) for caption in captions)
    hashes = [_hash(picture) for picture in (*loaded.sources, loaded.target)]
    facts = {
        "captions": captions,
        "repaired": captions != loaded.captions,
        "truth": None if loaded.truth is None else json.dumps(loaded.truth),
        "width": loaded.target.width,
        "height": loaded.target.height,
        "sources": len(loaded.sources),
        # An edit and its inverse, of the same pictures, lie on one side.
        "share": xxhash.xxh3_128_intdigest("".join(sorted(hashes)).encode()) / 2**128,
        "reason": _reason(loaded, captions, curation),
    }
    content = [*hashes, *captions] if loaded.sources else hashes
    facts["content"] = xxhash.xxh3_128_hexdigest(json.dumps(content).encode())
    if curation.near_duplicates is not None:
        facts["look"] = _look(loaded.target)
    if curation.near_captions is not None:
        facts["words"] = minhash(" ".join(captions))
    if finder and (match := finder.find(captions)):
        facts |= {"benchmark": match.benchmark, "tier": match.tier}
    return facts


def _reason(sample: Sample, captions: tuple[str, ...], curation: Curation) -> str | None:
    """Why a readable sample may not be trained on, whatever the others are."""
    pictures = (*sample.sources, sample.target)
    if min(min(picture.size) for picture in pictures) < curation.minimum_side:
        return "too_small"
    if max(max(picture.size) / min(picture.size) for picture in pictures) > curation.maximum_aspect:
        return "long_shape"
    if len(sample.sources) == 1 and curation.edits:
        (source,), target = sample.sources, sample.target
        if source.size == target.size and source.tobytes() == target.tobytes():
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


def _hash(picture: Image.Image) -> str:
    hasher = xxhash.xxh3_128(str(picture.size).encode())
    hasher.update(picture.tobytes())
    return hasher.hexdigest()


def _look(picture: Image.Image) -> int:
    """The 64 bits of imagehash's pHash as a signed integer."""
    # Decoding a photograph dwarfs the hash only if it isn't resized from its full size.
    small = picture.reduce(max(1, min(picture.size) // 128))
    bits = imagehash.phash(small).hash
    return int(np.packbits(bits.flatten()).view(">i8")[0])


def minhash(text: str) -> list[int]:
    """MinHash of the shingles of a text's words: equal places estimate the Jaccard similarity."""
    words = text.casefold().split()
    shingles = {" ".join(words[i : i + SHINGLE]) for i in range(max(1, len(words) - SHINGLE + 1))}
    values = _empty().copy()
    values.update_batch([shingle.encode() for shingle in sorted(shingles)])
    return values.hashvalues.astype(np.int64).tolist()


@cache
def _empty() -> MinHash:
    """Made once: its permutations take longer than the hash of a caption."""
    return MinHash(PERMUTATIONS, hashfunc=xxhash.xxh32_intdigest)
