"""Comparisons of all records: what DuckDB rejects is what a plain loop over pairs would."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.data.curation.test_curate import CURATION

from ladder.data.curation import near
from ladder.data.curation.duplicates import ExaminedChunk, decide
from ladder.data.curation.inspect import SCHEMA, looks, pixels_of, small
from ladder.data.curation.shingles import PERMUTATIONS, shingled


def words(text: str) -> dict:
    """What is compared of one text."""
    (facts,) = shingled([text])
    return facts


def verdicts(folder: Path, rows: list[dict], **settings) -> list[dict]:
    """The decisions on rows, which are given as far as they matter, in the order of the sets."""
    plain = {"shard": "0", "key": "k", "captions": ["x"], "share": 0.9, "sources": 0}
    folder = Path(tempfile.mkdtemp(dir=folder))
    sets: dict[str, list[dict]] = {}
    for number, row in enumerate(rows):
        mine = sets.setdefault(row.get("set", "a"), [])
        given = {name: value for name, value in row.items() if name != "set"}
        mine.append(
            plain | {"content": str(number), "chunk": f"{len(sets)}", "row": len(mine)} | given
        )
    parts = []
    for name, some in sorted(sets.items()):
        path = folder / f"{name}.parquet"
        chunk = some[0]["chunk"]
        pq.write_table(pa.Table.from_pylist([row | {"chunk": chunk} for row in some], SCHEMA), path)
        parts.append(ExaminedChunk(path, chunk, name, 0))
    out = folder / "decisions.parquet"
    decide(parts, out, folder / "scratch", replace(CURATION, **settings))
    found = pq.read_table(out, partitioning=None).to_pylist()
    assert len(found) == len(rows)
    return found


def reasons(found: list[dict]) -> list[str | None]:
    return [row["reason"] for row in found]


def test_the_first_good_one_of_equal_ones_is_kept(tmp_path):
    rows = [
        {"content": "c", "reason": "too_small"},
        {"content": "c"},
        {"content": "c"},
        {"set": "b", "content": "c"},
        {"content": None, "reason": "undecodable"},
    ]
    found = verdicts(tmp_path, rows)
    assert reasons(found) == ["too_small", None, "duplicate", "undecodable", None]
    assert [row["split"] for row in found] == [None, "train", None, None, "train"]
    off = verdicts(tmp_path, rows, duplicates=False)
    assert reasons(off) == ["too_small", None, None, "undecodable", None]


@given(st.lists(st.integers(0, 2**12 - 1), max_size=30), st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_hashes_near_one_another(tmp_path_factory, hashes, distance):
    """In bits spread over all 64, the sign's included; a pair is never missed, none is invented."""
    spread = [sum((h >> i & 1) << (63 - 5 * i) for i in range(12)) for h in hashes]
    looks = [int(np.uint64(look).astype(np.int64)) for look in spread]
    found = verdicts(
        tmp_path_factory.mktemp("near"), [{"look": look} for look in looks] or [{"look": 0}],
        near_duplicates=distance,
    )  # fmt: skip
    for number, row in enumerate(found[: len(hashes)]):
        near = any(
            (hashes[number] ^ earlier).bit_count() <= distance for earlier in hashes[:number]
        )
        assert row["reason"] == ("near_duplicate" if near else None)


def test_what_is_held_out_is_not_trained_on_nearly(tmp_path):
    """Whatever the order and the set, the trained one is rejected."""
    rows = [
        {"look": 7},
        {"set": "b", "look": 5, "share": 0.1},
        {"set": "b", "look": 5, "share": 0.2},
        {"set": "b", "look": 2**40, "share": 0.1},
    ]
    found = verdicts(tmp_path, rows, near_duplicates=1)
    assert reasons(found) == ["near_duplicate", None, "near_duplicate", None]


@pytest.mark.parametrize(("similarity", "rejected"), [(0.999, [2]), (0.5, [2, 3]), (None, [])])
def test_captions_near_one_another(tmp_path, similarity, rejected):
    long = "a quiet harbour at dawn with seven small boats and one tall ship under a pale sky"
    texts = [long, "a dog", long, long.replace("seven", "nine"), "a cat on a mat"]
    rows = [{"captions": [text], **words(text)} for text in texts]
    found = verdicts(tmp_path, rows, near_captions=similarity)
    assert [n for n, reason in enumerate(reasons(found)) if reason == "near_caption"] == rejected


def groups(text: str) -> set[tuple[str, ...]]:
    said = text.split()
    return {tuple(said[i : i + 3]) for i in range(len(said) - 2)}


def jaccard(one: str, two: str) -> float:
    return len(groups(one) & groups(two)) / len(groups(one) | groups(two))


def test_captions_are_compared_as_a_loop_would(tmp_path):
    """In sets and across splits, with chains of likeness and with repetitions, by their true
    similarity: what MinHash proposes is verified, and at .9 it misses one in 10^7."""
    rng = np.random.default_rng(0)
    vocabulary = [f"word{number}" for number in range(200)]
    roots = [list(rng.choice(vocabulary, 60)) for _ in range(4)]
    rows = []
    for _ in range(80):
        said = list(roots[rng.integers(4)])
        for place in rng.permutation(60)[: rng.integers(6)]:
            said[place] = str(rng.choice(vocabulary))
        text = " ".join(said)
        row = {"captions": [text], "set": "ab"[rng.integers(2)], "share": rng.random() * 0.6}
        rows.append(row | words(text))
    rows += rows[:20]
    for likeness in (0.6, 0.9):
        found = verdicts(tmp_path, rows, near_captions=likeness)
        ordered = sorted(rows, key=lambda row: row["set"])
        wanted = rejected_by_a_loop(ordered, likeness)
        near = {place for place, row in enumerate(found) if row["reason"] == "near_caption"}
        assert near == wanted
        assert 20 < len(wanted) < len(rows)


def rejected_by_a_loop(rows: list[dict], likeness: float) -> set[int]:
    held_out = [row["share"] < CURATION.evaluation_share for row in rows]

    def rejects(a: int, b: int) -> bool:
        later = rows[a]["set"] == rows[b]["set"] and a < b and held_out[a] == held_out[b]
        across = held_out[a] and not held_out[b]
        alike = jaccard(rows[a]["captions"][0], rows[b]["captions"][0]) >= likeness
        return (later or across) and alike

    return {b for b in range(len(rows)) if any(rejects(a, b) for a in range(len(rows)))}


def test_captions_of_a_template_are_not_alike(tmp_path):
    """They share MinHash bands by the thousand; what counts is that they share few word groups."""
    things = [
        f"{a} {b}" for a in ["red", "blue", "green", "grey"] for b in ["cat", "dog", "cup", "hat"]
    ]
    texts = [
        f"a photo of a {one} to the left of a {two}, seen from above in the early morning light"
        for one in things for two in things
    ]  # fmt: skip
    found = verdicts(tmp_path, [{"captions": [t], **words(t)} for t in texts], near_captions=0.8)
    kept = [text for text, row in zip(texts, found, strict=True) if row["reason"] is None]
    for number, text in enumerate(texts):
        if found[number]["reason"] == "near_caption":
            assert any(jaccard(text, other) >= 0.8 for other in texts[:number])
    for one, two in combinations(kept, 2):
        assert jaccard(one, two) < 0.9


def edit(source: int, target: int, instruction: str) -> dict:
    facts = {"sources": 1, "source_looks": [source], "look": target}
    return facts | {"captions": [instruction]} | words(instruction)


def test_edits_are_alike_in_source_target_and_instruction(tmp_path):
    far = 2**40 - 1
    rows = [
        edit(0, 0, "make the sky red"),
        edit(0, 0, "make the sky blue at last"),
        edit(far, 0, "make the sky red"),
        edit(0, far, "make the sky red"),
        edit(1, 2, "make the sky red"),
        {"look": 0, **words("make the sky red")},
    ]
    found = verdicts(tmp_path, rows, near_duplicates=2, near_captions=0.8)
    assert reasons(found) == [None] * 4 + ["near_duplicate", None]
    found = verdicts(tmp_path, rows, near_duplicates=2)
    assert reasons(found) == [None] * 4 + ["near_duplicate", None]


def test_one_instruction_serves_for_many_edits(tmp_path):
    """60 edits of 30 pictures with 3 instructions are all different."""
    rng = np.random.default_rng(0)
    looks = [int(x) for x in rng.integers(-(2**63), 2**63, 30)]
    told = ["make it red please", "turn it upside down now", "remove the thing at the left"]
    rows = [
        edit(look, look ^ (1 << bit), told[(number + bit) % 3])
        for number, look in enumerate(looks) for bit in range(2)
    ]  # fmt: skip
    found = verdicts(tmp_path, rows, near_duplicates=4, near_captions=0.8)
    assert reasons(found) == [None] * 60


def test_small_additions_to_a_picture_are_different_edits(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        edit(look, look ^ 1, f"add a small {thing} at the top")
        for look in (int(x) for x in rng.integers(-(2**63), 2**63, 10))
        for thing in ("star", "cloud", "bird")
    ]
    assert reasons(verdicts(tmp_path, rows, near_duplicates=4, near_captions=0.8)) == [None] * 30


def test_work_grows_as_the_set_does():
    """What a row costs (sorted into tables, compared with those that it meets by chance), for the
    sizes that `ladder bench decisions` times."""
    rng = np.random.default_rng(0)

    def each(count: int, distance: int) -> float:
        looks = rng.integers(0, 2**63, count, np.uint64) * np.uint64(2)
        masks = near._masks(count, distance)
        met = sum(
            len(i) for mask in masks[:5] for i, _ in near._meeting((looks & mask) * near.ODD, 0, 1)
        )
        return len(masks) * (near.SORTED + met / min(5, len(masks)) / count)

    for distance in (0, 4):
        costs = [each(count, distance) for count in (125_000, 250_000, 500_000)]
        assert max(np.divide(costs[1:], costs[:-1])) <= 1.2


@pytest.mark.parametrize("prefixes", [1, 8])
def test_prefixes_cut_the_work_and_lose_nothing(tmp_path, monkeypatch, prefixes):
    monkeypatch.setattr(near, "PART", 2**22 if prefixes == 1 else 32)
    rng = np.random.default_rng(0)
    looks = [int(x) for x in rng.integers(-(2**63), 2**63, 200)]
    looks += [look ^ (1 << int(rng.integers(63))) for look in looks[:50]]
    found = verdicts(tmp_path, [{"look": look} for look in looks], near_duplicates=1)
    assert reasons(found) == [None] * 200 + ["near_duplicate"] * 50


def test_folders_of_any_name(tmp_path):
    """DuckDB would take `set=1` for a column, and the quote for the end of a text."""
    folder = tmp_path / "set=1" / "it's [here]*"
    folder.mkdir(parents=True)
    found = verdicts(folder, [{"look": 1, "content": "c"}, {"content": "c"}], near_duplicates=0)
    assert reasons(found) == [None, "duplicate"]
    assert [row["set"] for row in found] == ["a", "a"]


def test_a_look_survives_what_people_do_to_pictures():
    """Scaled, compressed a little darker: few bits. Another picture: many."""
    rng = np.random.default_rng(0)
    one, two = (
        Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((256, 192), 3)
        for _ in range(2)
    )
    changed = one.resize((128, 96)).point(lambda value: value * 9 // 10)
    seen = lambda picture: looks(small(pixels_of(picture))[None])[0]  # noqa: E731
    bits = lambda a, b: ((seen(a) ^ seen(b)) & (2**64 - 1)).bit_count()  # noqa: E731
    assert bits(one, changed) <= 6
    assert bits(one, two) >= 16


def test_many_texts_at_once_are_as_one_by_one():
    """Short ones, empty ones and ones that repeat themselves among them."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["a", "red", "Dog", "é"], n)) for n in (0, 1, 2, 3, 4, 9, 40, 200)]
    together = list(shingled([*texts, *texts]))
    for facts, text in zip(together, [*texts, *texts], strict=True):
        alone = words(text)
        assert facts["shingles"].tolist() == alone["shingles"].tolist()
        assert (facts["phrase"], [*facts["bands"]]) == (alone["phrase"], [*alone["bands"]])
        said = text.casefold().split()
        triples = {" ".join(said[n : n + 3]) for n in range(max(1, len(said) - 2))}
        assert facts["shingles"].tolist() == sorted(
            xxhash.xxh32_intdigest(triple.encode()) for triple in triples
        )
    assert list(shingled([])) == []


def test_texts_meet_in_a_band_if_their_minhashes_agree_there():
    """The values are those of datasketch: a band is the hash of four of them."""
    rng = np.random.default_rng(0)
    roots = rng.integers(0, 30, (6, 11))
    words_of = [[*map(str, roots[n % 6]), str(rng.integers(0, 30))] for n in range(60)]
    texts = [" ".join(said) for said in words_of]
    values = []
    for said in words_of:
        made = MinHash(PERMUTATIONS, hashfunc=xxhash.xxh32_intdigest)
        made.update_batch([" ".join(said[n : n + 3]).encode() for n in range(10)])
        values.append(made.hashvalues.reshape(near.BANDS, -1))
    agree = np.array([[(a == b).all(axis=1) for a in values] for b in values])
    bands = np.stack([facts["bands"] for facts in shingled(texts)])
    assert np.array_equal(bands[:, None] == bands, agree)
    assert agree.sum() > len(texts) * near.BANDS, "some meet"
