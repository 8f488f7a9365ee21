"""Samples that are nearly equal, found by hashes of their parts instead of by comparing all pairs.

Pictures: two hashes of 64 bits that differ in at most d agree wholly in m - d of any m bands, so
every choice of m - d bands is a table in which near ones meet (banded locality-sensitive hashing;
none is missed). Captions meet in a band of their MinHash. Every pair that meets is then verified:
by the bits in which it differs, by the true Jaccard similarity of its words. An edit is near
another if its sources, its target and its instruction are.

With m large enough few meet that aren't near, and the work grows as the set does. It is cut into
tables and prefixes of their hashes, each of which is a task for a process or a machine.

N: samples of a kind, K: pictures of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from math import comb
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int64, UInt64

BANDS = 16
"""Bands of a MinHash of 64 values: captions with a similarity of s meet with 1 - (1 - s^4)^16."""
PART = 2**22
"""Samples in a task, about: a table of more is cut by prefixes of its hashes."""
PAIRS = 2**15
"""Pairs of captions that are compared at once."""
SORTED = 2
"""What it costs to sort a hash into a table, in comparisons of two pictures (measured: 150 ns, and
75 ns)."""
ODD = np.uint64(0x9E3779B97F4A7C15)
"""The golden ratio in 64 bits: multiplied by it, the upper bits depend on all lower ones."""

COLUMNS = {
    "set": np.int32, "number": np.int64, "held_out": np.uint8, "looks": np.uint64,
    "phrase": np.uint64, "bands": np.uint64, "ends": np.int64, "shingles": np.uint32,
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """Samples with equally many pictures, as arrays in files of `folder`."""

    folder: Path
    pictures: int
    distance: int | None
    """Bits in which near pictures differ at most; None: pictures aren't compared."""
    similarity: float | None
    """Jaccard similarity from which on words are alike; None: if they are the same."""

    def column(self, name: str) -> np.ndarray:
        path = self.folder / name
        empty = not path.stat().st_size
        flat = np.empty(0, COLUMNS[name]) if empty else np.memmap(path, COLUMNS[name], "r")
        width = {"looks": self.pictures, "bands": BANDS}.get(name)
        return flat if width is None else flat.reshape(-1, width)

    def append(self, batch: pa.RecordBatch) -> None:
        """Add rows with the columns set, number, held_out, looks, phrase, bands and shingles."""
        lists = {"looks", "bands", "shingles"}
        lengths = batch["shingles"].value_lengths().fill_null(0)
        shingles = self.folder / "shingles"
        before = shingles.stat().st_size // 4 if shingles.exists() else 0
        for name, kind in COLUMNS.items():
            if name == "ends":
                values = before + np.cumsum(lengths.to_numpy(zero_copy_only=False))
            else:
                column = batch[name].flatten() if name in lists else batch[name]
                values = column.fill_null(0).to_numpy(zero_copy_only=False)
            with (self.folder / name).open("ab") as file:
                values.astype(kind).tofile(file)


@dataclass(frozen=True)
class Task:
    """One table of a kind, as far as its hashes begin with a prefix."""

    kind: Kind
    of: str
    """pictures or captions."""
    table: int
    prefix: int
    prefixes: int


def tasks(kind: Kind, of: str) -> list[Task]:
    """The tasks that find what is near in `of` (pictures, captions); none where nothing can be."""
    count = len(kind.column("number"))
    if count < 2:
        return []
    first_of_equals(kind, of).tofile(kind.folder / f"firsts.{of}")
    tables = BANDS if of == "captions" else len(_masks(count, kind.distance or 0))
    prefixes = max(1, 1 << (count // PART).bit_length() if count > PART else 1)
    return [Task(kind, of, t, p, prefixes) for t in range(tables) for p in range(prefixes)]


def rejected(task: Task) -> Int64[np.ndarray, " R"]:
    """Rows of the kind which another one, that meets them in this table, rejects.

    The later in a set rejects none; what is held out rejects what is trained on, in any set.
    """
    kind = task.kind
    firsts = np.fromfile(kind.folder / f"firsts.{task.of}", np.int64)
    keys = _keys(task)[firsts]
    column = {name: kind.column(name) for name in ("set", "number", "held_out")}
    found = []
    for i, j in _meeting(keys, task.prefix, task.prefixes):
        a, b = firsts[i], firsts[j]
        for low, high in ((a, b), (b, a)):
            earlier = column["number"][low] < column["number"][high]
            same = column["held_out"][low] == column["held_out"][high]
            within = earlier & same & (column["set"][low] == column["set"][high])
            across = (column["held_out"][low] == 1) & (column["held_out"][high] == 0)
            rejects = within | across
            one, other = low[rejects], high[rejects]
            found.append(other[_alike(kind, task.of, one, other)])
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)


def first_of_equals(kind: Kind, of: str) -> Int64[np.ndarray, " F"]:
    """Of samples that are equal in all that is compared, the first of each set and side.

    It stands for the others, so that a caption which was used a thousand times does not make half
    a million pairs.
    """
    key = _mixed(kind, of)
    order = np.lexsort((kind.column("number"), key))
    first = np.ones(len(order), bool)
    first[1:] = key[order][1:] != key[order][:-1]
    return np.sort(order[first])


def _mixed(kind: Kind, of: str) -> UInt64[np.ndarray, " N"]:
    """A hash of what is compared, of the set and of the side."""
    parts = [kind.column("set").astype(np.uint64), kind.column("held_out").astype(np.uint64)]
    if of == "pictures":
        parts += list(kind.column("looks").T)
    if of == "captions" or kind.pictures > 1:
        parts.append(kind.column("phrase"))
    key = np.zeros(len(parts[0]), np.uint64)
    for part in parts:
        key = (key ^ part) * ODD
        key ^= key >> np.uint64(29)
    return key


def _keys(task: Task) -> UInt64[np.ndarray, " N"]:
    if task.of == "captions":
        return task.kind.column("bands")[:, task.table] * ODD
    target = task.kind.column("looks")[:, -1]
    masks = _masks(len(target), task.kind.distance or 0)
    return (target & masks[task.table]) * ODD


def _masks(count: int, distance: int) -> list[np.uint64]:
    """The bits of each table: those of all but `distance` of m bands.

    m is where the tables, each of which is sorted, and the pairs that meet by chance cost least.
    """

    def cost(bands: int) -> float:
        bits = 64 * (bands - distance) // bands
        return comb(bands, distance) * (SORTED * count + count**2 / 2 ** (bits + 1))

    bands = min(range(distance + 1, distance + 9), key=cost)
    edges = [64 * band // bands for band in range(bands + 1)]
    band_bits = [(1 << edges[n + 1]) - (1 << edges[n]) for n in range(bands)]
    return [np.uint64(sum(chosen)) for chosen in combinations(band_bits, bands - distance)]


def _meeting(
    keys: UInt64[np.ndarray, " F"], prefix: int, prefixes: int
) -> Iterator[tuple[Int64[np.ndarray, " P"], Int64[np.ndarray, " P"]]]:
    """Pairs of places with equal keys, as far as the upper bits of the key are `prefix`.

    Key and place share 64 bits, so that one sort of numbers does; keys that differ only in the
    bits which the place takes may meet, too.
    """
    places = np.arange(len(keys), dtype=np.uint64)
    if prefixes > 1:
        shift = np.uint64(64 - (prefixes.bit_length() - 1))
        places = places[keys >> shift == prefix]
    low = np.uint64((1 << len(keys).bit_length()) - 1)
    packed = np.sort((keys[places.astype(np.int64)] & ~low) | places)
    upper, place = packed & ~low, (packed & low).astype(np.int64)
    ahead, start = 1, np.arange(len(packed))
    while True:
        start = start[start < len(packed) - ahead]
        start = start[upper[start] == upper[start + ahead]]
        if not len(start):
            return
        yield place[start], place[start + ahead]
        ahead += 1


def _alike(
    kind: Kind, of: str, a: Int64[np.ndarray, " P"], b: Int64[np.ndarray, " P"]
) -> Bool[np.ndarray, " P"]:
    alike = np.ones(len(a), bool)
    if of == "pictures":
        looks = kind.column("looks")
        differing = np.bitwise_count(looks[a] ^ looks[b]).max(axis=1)
        alike = differing <= (kind.distance or 0)
        if kind.pictures == 1:
            return alike
    at = np.flatnonzero(alike)
    if kind.similarity is None:
        phrase = kind.column("phrase")
        alike[at] = phrase[a[at]] == phrase[b[at]]
        return alike
    for first in range(0, len(at), PAIRS):
        some = at[first : first + PAIRS]
        alike[some] = jaccard(kind, a[some], b[some]) >= kind.similarity
    return alike


def jaccard(kind: Kind, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The share of three-word groups of either of two texts that both have, pair by pair."""
    ends, shingles = kind.column("ends"), kind.column("shingles")
    owner, values = [], []
    for side in (a, b):
        begins = np.where(side > 0, ends[side - 1], 0)
        lengths = ends[side] - begins
        pair = np.repeat(np.arange(len(side)), lengths)
        offset = np.arange(len(pair)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        values.append(shingles[begins[pair] + offset])
        owner.append(pair)
    marked = np.sort(
        np.concatenate(owner).astype(np.uint64) << np.uint64(32) | np.concatenate(values)
    )
    twice = marked[1:][marked[1:] == marked[:-1]] >> np.uint64(32)
    both = np.bincount(twice.astype(np.int64), minlength=len(a))
    either = (
        np.bincount(owner[0], minlength=len(a)) + np.bincount(owner[1], minlength=len(a)) - both
    )
    return both / np.maximum(either, 1)
