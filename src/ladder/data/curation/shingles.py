"""Texts as sets of three-word groups (shingles), by hashes: what captions are compared by.

All texts of a chunk at once, since NumPy takes as long to begin with one text as to do a hundred.

T: texts, S: groups of all texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import xxhash
from datasketch import MinHash
from jaxtyping import UInt32, UInt64

from ladder.data.curation.near import BANDS, ODD

WORDS = 3
"""In a group."""
PERMUTATIONS = 64
"""Values of a MinHash."""


def shingled(texts: Sequence[str]) -> Iterator[dict]:
    """Of each text the columns `shingles`, `phrase` and `bands` of `inspect.SCHEMA`."""
    groups = [_groups(text) for text in texts]
    counts = [len(own) for own in groups]
    each = (xxhash.xxh32_intdigest(group) for own in groups for group in own)
    hashes = np.fromiter(each, np.uint32, sum(counts))
    owner = np.repeat(np.arange(len(texts), dtype=np.uint64), counts)
    marked = np.unique(owner << np.uint64(32) | hashes)
    hashes = marked.astype(np.uint32)
    starts = np.searchsorted(marked, np.arange(len(texts) + 1, dtype=np.uint64) << np.uint64(32))
    bands = _bands(hashes, starts[:-1]) if texts else ()
    for first, end, own in zip(starts, starts[1:], bands, strict=False):
        phrase = xxhash.xxh3_64_intdigest(hashes[first:end])
        yield {"shingles": hashes[first:end], "phrase": phrase, "bands": own}


def _groups(text: str) -> list[bytes]:
    """At least one; of a text that is shorter, all of it."""
    said = " ".join(text.casefold().split()).encode().split(b" ")
    if len(said) < WORDS:
        return [b" ".join(said)]
    return [b" ".join(group) for group in zip(*(said[n:] for n in range(WORDS)), strict=False)]


def _bands(hashes: UInt32[np.ndarray, " S"], starts: np.ndarray) -> UInt64[np.ndarray, "T 16"]:
    """Hashes of the bands of MinHashes; the groups of a text lie from one of `starts` to the next.

    The values are those of datasketch (affine32: MurmurHash3's finalizer, then a line modulo
    2^32 for each value).
    """
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        hashes = (hashes ^ (hashes >> np.uint32(shift))) * np.uint32(factor)
    hashes = hashes ^ (hashes >> np.uint32(16))
    values = np.empty((len(starts), PERMUTATIONS), np.uint32)
    for place, (factor, shift) in enumerate(zip(*_lines(), strict=True)):
        values[:, place] = np.minimum.reduceat(hashes * factor + shift, starts)
    mixed = np.zeros((len(starts), BANDS), np.uint64)
    for part in np.moveaxis(values.view(np.uint64).reshape(len(starts), BANDS, -1), -1, 0):
        mixed = (mixed ^ part) * ODD
        mixed ^= mixed >> np.uint64(29)
    return mixed


@cache
def _lines() -> UInt32[np.ndarray, "2 64"]:
    return MinHash(PERMUTATIONS).permutations
