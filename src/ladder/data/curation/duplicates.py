"""What only a comparison of all records can tell: repetitions, benchmarks, the split.

Queries of DuckDB over the parquet files that `ladder.data.curation.inspect` left. What does not fit
into MEMORY lies on disk, in the folder of the parts.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import duckdb

from ladder.config.load import Curation
from ladder.data.curation.inspect import PERMUTATIONS

MEMORY = "2GB"
BANDS = 16
"""Bands of a MinHash: captions with a similarity of s share one with 1 - (1 - s^4)^16."""


REJECTS = """(
    (a.set = b.set AND a.number < b.number AND a.split = b.split)
    OR (a.split = 'evaluation' AND b.split = 'train')
)"""
"""Of two that are alike, `a` rejects `b`: the later in a set, and across splits the trained one."""


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
    _set_repeated_apart(db, "look")
    for low, high in pairwise(edges):
        _take_band(db, f"(look >> {low}) & {(1 << (high - low)) - 1}")
        db.execute(
            f"""
            INSERT INTO found
            SELECT DISTINCT b.set, b.number FROM banded AS a JOIN banded AS b USING (bits)
            WHERE {REJECTS} AND bit_count(xor(a.look, b.look)) <= {distance}
            """
        )
    _reject(db, "near_duplicate", "SELECT * FROM found")


def _near_captions(db: duckdb.DuckDBPyConnection, similarity: float) -> None:
    """Captions that share a band of their MinHash and then `similarity` of all its values.

    MinHashes are wide, so they are looked up for pairs only.
    """
    width = PERMUTATIONS // BANDS
    shared = "len(list_filter(list_zip(a.words, b.words), lambda pair: pair[1] = pair[2]))"
    _set_repeated_apart(db, "hash(words)")
    for band in range(BANDS):
        _take_band(db, f"hash(words[{width * band + 1} : {width * (band + 1)}])")
        db.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE pairs AS
            SELECT a.set AS first_set, a.number AS first_number, b.set, b.number
            FROM banded AS a JOIN banded AS b USING (bits) WHERE {REJECTS};
            INSERT INTO found
            SELECT DISTINCT b.set, b.number FROM pairs
            JOIN judged AS a ON a.set = first_set AND a.number = first_number
            JOIN judged AS b ON b.set = pairs.set AND b.number = pairs.number
            WHERE {shared} >= {similarity * PERMUTATIONS}
            """
        )
    _reject(db, "near_caption", "SELECT * FROM found")


def _set_repeated_apart(db: duckdb.DuckDBPyConnection, value: str) -> None:
    """Make the tables `firsts`, of each `value` the first in its set and split, and `found`, which
    begins with all others.

    The first of equals stands for all of them, so that a caption which was used a thousand times
    does not make half a million pairs.
    """
    db.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE ranked AS
        SELECT set, number, row_number() OVER (PARTITION BY set, split, {value} ORDER BY number)
        AS place FROM judged WHERE reason IS NULL;
        CREATE OR REPLACE TEMP TABLE firsts AS SELECT set, number FROM ranked WHERE place = 1;
        CREATE OR REPLACE TEMP TABLE found AS SELECT set, number FROM ranked WHERE place > 1
        """
    )


def _take_band(db: duckdb.DuckDBPyConnection, bits: str) -> None:
    """Make the table `banded`, one band at a time: those with equal `bits` may be alike."""
    db.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE banded AS
        SELECT set, number, split, look, {bits} AS bits FROM judged JOIN firsts USING (set, number)
        """
    )
