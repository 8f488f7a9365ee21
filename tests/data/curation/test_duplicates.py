"""Comparisons of all records: what DuckDB rejects is what a plain loop over pairs would."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.data.curation.test_curate import CURATION

from ladder.data.curation.duplicates import decide
from ladder.data.curation.inspect import SCHEMA, _look, minhash


def verdicts(folder: Path, rows: list[dict], **settings) -> list[dict]:
    """The decisions on rows, which are given as far as they matter."""
    plain = {"set": "a", "shard": "0", "key": "k", "captions": ["x"], "share": 0.9}
    rows = [plain | {"number": n, "content": str(n)} | row for n, row in enumerate(rows)]
    for name in {row["set"] for row in rows}:
        (folder / "parts" / name).mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist([row for row in rows if row["set"] == name], SCHEMA)
        pq.write_table(table, folder / "parts" / name / "0.parquet")
    decide(folder / "parts", folder / "decisions.parquet", replace(CURATION, **settings))
    found = pq.read_table(folder / "decisions.parquet").to_pylist()
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
        {"set": "b", "look": 5, "share": 0.2, "number": 2},
        {"set": "b", "look": 2**40, "share": 0.1, "number": 3},
    ]
    found = verdicts(tmp_path, rows, near_duplicates=1)
    assert reasons(found) == ["near_duplicate", None, "near_duplicate", None]


@pytest.mark.parametrize(("similarity", "rejected"), [(0.999, [2]), (0.5, [2, 3]), (None, [])])
def test_captions_near_one_another(tmp_path, similarity, rejected):
    long = "a quiet harbour at dawn with seven small boats and one tall ship under a pale sky"
    texts = [long, "a dog", long, long.replace("seven", "nine"), "a cat on a mat"]
    rows = [{"captions": [text], "words": minhash(text)} for text in texts]
    found = verdicts(tmp_path, rows, near_captions=similarity)
    assert [n for n, reason in enumerate(reasons(found)) if reason == "near_caption"] == rejected


def test_captions_are_compared_as_a_loop_would(tmp_path):
    """In sets and across splits, with chains of likeness and with repetitions. Those that share 52
    of 64 values share a band at least, so none is missed."""
    rng = np.random.default_rng(0)
    roots = rng.integers(0, 2**32, (4, 64))
    rows = []
    for _ in range(80):
        words = roots[rng.integers(4)].copy()
        changed = rng.permutation(64)[: rng.integers(9)]
        words[changed] = rng.integers(0, 2**32, len(changed))
        rows.append(
            {"words": words.tolist(), "set": "ab"[rng.integers(2)], "share": rng.random() * 0.6}
        )
    rows += rows[:20]
    found = verdicts(tmp_path, rows, near_captions=0.8)
    split = ["evaluation" if row["share"] < CURATION.evaluation_share else "train" for row in rows]

    def rejects(a: int, b: int) -> bool:
        later = rows[a]["set"] == rows[b]["set"] and a < b and split[a] == split[b]
        across = (split[a], split[b]) == ("evaluation", "train")
        return (later or across) and np.equal(rows[a]["words"], rows[b]["words"]).mean() >= 0.8

    wanted = {b for b in range(len(rows)) if any(rejects(a, b) for a in range(len(rows)))}
    assert {row["number"] for row in found if row["reason"] == "near_caption"} == wanted
    assert 20 < len(wanted) < len(rows)


def test_a_look_survives_what_people_do_to_pictures():
    """Scaled, compressed a little darker: few bits. Another picture: many."""
    rng = np.random.default_rng(0)
    one, two = (
        Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((256, 192), 3)
        for _ in range(2)
    )
    changed = one.resize((128, 96)).point(lambda value: value * 9 // 10)
    bits = lambda a, b: ((_look(a) ^ _look(b)) & (2**64 - 1)).bit_count()  # noqa: E731
    assert bits(one, changed) <= 6
    assert bits(one, two) >= 16
