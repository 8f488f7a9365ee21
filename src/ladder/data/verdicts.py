"""What only a comparison of all records can tell: repetitions, benchmarks, the split.

Queries of DuckDB over the parquet files that `ladder.data.examine` left. What does not fit into
MEMORY lies on disk, in the folder of the parts.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import duckdb

from ladder.config import Curation
from ladder.data.examine import PERMUTATIONS

MEMORY = "2GB"
BANDS = 16
"""Bands of a MinHash: captions with a similarity of s share one with 1 - (1 - s^4)^16."""


def decide(parts: Path, out: Path, curation: Curation) -> None:
    """Write `out`, a parquet with all rows of `parts`/*/*.parquet, each with its verdict.

    Added columns: `reason` completed (null: kept), `split` (train or evaluation, null where
    rejected). Of samples that are alike, the first one is kept, in the order of sets and records;
    across sets only what is held out is protected.
    """
    scratch = parts / "scratch.duckdb"
    scratch.unlink(missing_ok=True)
    with duckdb.connect(str(scratch)) as db:
        db.execute(f"SET memory_limit = '{MEMORY}'")
        db.execute(f"SET temp_directory = '{scratch}.tmp'")
        db.execute(
            f"""
            CREATE VIEW part AS SELECT * FROM read_parquet('{parts}/*/*.parquet');
            CREATE TABLE judged AS
            SELECT set, number, content, look, words, CAST(CASE
                    WHEN reason IS NOT NULL THEN reason
                    WHEN tier IS NOT NULL THEN 'benchmark_' || tier
                END AS VARCHAR) AS reason,
                CASE WHEN share < {curation.evaluation_share} THEN 'evaluation' ELSE 'train' END
                AS split
            FROM part
            """
        )
        if curation.duplicates:
            _reject(
                db,
                "duplicate",
                """SELECT set, number FROM judged WHERE reason IS NULL
                QUALIFY row_number() OVER (PARTITION BY set, content ORDER BY number) > 1""",
            )
        if curation.near_duplicates is not None:
            _near_pictures(db, curation.near_duplicates)
        if curation.near_captions is not None:
            _near_captions(db, curation.near_captions)
        db.execute(
            f"""
            COPY (
                SELECT part.* EXCLUDE (reason, words), judged.reason,
                    CASE WHEN judged.reason IS NULL THEN judged.split END AS split
                FROM part JOIN judged USING (set, number) ORDER BY set, number
            ) TO '{out}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 4096)
            """
        )
    scratch.unlink()


def _reject(db: duckdb.DuckDBPyConnection, reason: str, query: str) -> None:
    """Reject, for a reason, the (set, number) that a query finds."""
    db.execute(
        f"""
        UPDATE judged SET reason = '{reason}' FROM (SELECT DISTINCT * FROM ({query})) AS found
        WHERE judged.set = found.set AND judged.number = found.number
        """
    )


def _near_pictures(db: duckdb.DuckDBPyConnection, distance: int) -> None:
    """Two hashes at most `distance` bits apart agree wholly in one of distance + 1 bands."""
    edges = [64 * band // (distance + 1) for band in range(distance + 2)]
    bands = " UNION ALL ".join(
        f"""SELECT *, {band} AS band, (look >> {low}) & {(1 << (high - low)) - 1} AS bits
        FROM judged WHERE reason IS NULL"""
        for band, (low, high) in enumerate(pairwise(edges))
    )
    alike = f"bit_count(xor(a.look, b.look)) <= {distance}"
    _reject_alike(db, "near_duplicate", bands, alike)


def _near_captions(db: duckdb.DuckDBPyConnection, similarity: float) -> None:
    """Captions that share a band of their MinHash and then `similarity` of all its values."""
    width = PERMUTATIONS // BANDS
    bands = f"""
        SELECT *, hash(words[{width} * band + 1 : {width} * (band + 1)]) AS bits
        FROM judged, range({BANDS}) AS bands(band) WHERE reason IS NULL"""
    pairs = "list_zip(a.words, b.words)"
    equal = f"len(list_filter({pairs}, lambda pair: pair[1] = pair[2]))"
    _reject_alike(db, "near_caption", bands, f"{equal} >= {similarity * PERMUTATIONS}")


def _reject_alike(db: duckdb.DuckDBPyConnection, reason: str, bands: str, alike: str) -> None:
    """Reject the later of two that are alike in a set, and of two across splits the trained one."""
    db.execute(f"CREATE OR REPLACE TEMP TABLE banded AS {bands}")
    later = "a.set = b.set AND a.number < b.number AND a.split = b.split"
    held_out = "a.split = 'evaluation' AND b.split = 'train'"
    _reject(
        db,
        reason,
        f"""SELECT b.set, b.number FROM banded AS a JOIN banded AS b USING (band, bits)
        WHERE (({later}) OR ({held_out})) AND {alike}""",
    )
