"""The account of a curation: counts and hashes in JSON, from its decisions."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import xxhash

from ladder.config.files import write_text
from ladder.data.shards import SPLITS

log = logging.getLogger(__name__)

MOST = 100
"""Unread files of a set that the report names."""
FINGERPRINT = ("set", "split", "shard", "key", "content", "captions", "truth")
"""What a sample is, to those who train on it."""


def query(decisions: Path, sql: str, **tables: pa.Table) -> pd.DataFrame:
    """The answer to a query of the table `decisions`, and of further ones by name.

    DuckDB is given tables, never paths: it would take a folder `key=value` for a column, and a
    quote for the end of the query.
    """
    with duckdb.connect() as db:
        db.register("decisions", ds.dataset(str(decisions), format="parquet", partitioning=None))
        for name, table in tables.items():
            db.register(name, table)
        return db.execute(sql).df()


def summarize(out: Path, unread: dict[str, list[str]]) -> None:
    """Write report.json, then manifest.json, beside `out`/decisions.parquet.

    The report has the counts of reasons by set and shard, of captions found in benchmarks, and the
    files that are `unread` by set (all counted, MOST of them named); the manifest the samples of
    each split, with a hash of each set and of all.
    """
    decisions = out / "decisions.parquet"
    counts = query(
        decisions,
        """SELECT set, shard, split, reason, benchmark, tier, min(number) AS first,
            count(*) AS records
        FROM decisions GROUP BY ALL ORDER BY set, first""",
    )
    sets = {str(name): _of_set(rows) for name, rows in counts.groupby("set")}
    for name, files in unread.items():
        sets.setdefault(name, {"read": 0, "kept": 0, "rejected": 0, "reasons": {}, "shards": {}})
        sets[name] |= {"unread": files[:MOST], "unread_files": len(files)}
        if files:
            log.warning("%s: %d files were not read, the first is %s", name, len(files), files[0])
    report = {
        "sets": sets,
        "total": _account(counts),
        "benchmarks": _benchmarks(counts),
    }
    hashes = _hashes(decisions)
    splits = {
        str(name): {split: int(rows[rows.split == split].records.sum()) for split in SPLITS}
        | {"hash": hashes.get(name, "")}
        for name, rows in counts.groupby("set")
    }
    total = xxhash.xxh3_128_hexdigest(json.dumps(hashes).encode())
    for name, content in (("report", report), ("manifest", {"sets": splits, "hash": total})):
        write_text(out / f"{name}.json", json.dumps(content, indent=2) + "\n")


def _of_set(rows: pd.DataFrame) -> dict:
    shards = {str(name): _account(part) for name, part in rows.groupby("shard", sort=False)}
    return _account(rows) | {"shards": shards}


def _account(rows: pd.DataFrame) -> dict:
    """How many records were read, kept, and rejected for which reason."""
    reasons = rows[rows.reason.notna()].groupby("reason").records.sum()
    read, rejected = int(rows.records.sum()), int(reasons.sum())
    reasons = {str(reason): int(count) for reason, count in reasons.items()}
    return {"read": read, "kept": read - rejected, "rejected": rejected, "reasons": reasons}


def _benchmarks(counts: pd.DataFrame) -> dict:
    """Captions found in each benchmark, by the tier that found them."""
    found = counts[counts.tier.notna()].groupby(["benchmark", "tier"]).records.sum()
    benchmarks: dict[str, dict[str, int]] = {}
    for (benchmark, tier), records in found.items():
        benchmarks.setdefault(str(benchmark), {})[str(tier)] = int(records)
    return benchmarks


def _hashes(decisions: Path) -> dict[str, str]:
    """A hash of the kept samples of each set, in their order."""
    hashers: dict[str, xxhash.xxh3_128] = {}
    for batch in pq.ParquetFile(decisions).iter_batches(columns=[*FINGERPRINT]):
        for row in batch.to_pylist():
            if row["split"]:
                hasher = hashers.setdefault(row["set"], xxhash.xxh3_128())
                hasher.update(json.dumps([row[name] for name in FINGERPRINT]).encode())
    return {name: hasher.hexdigest() for name, hasher in hashers.items()}
