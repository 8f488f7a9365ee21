"""What only a comparison of all records can tell: repetitions, benchmarks, the split.

Queries of DuckDB over the parquet files that `ladder.data.curation.inspect` left, and the searches
of `ladder.data.curation.near`. What does not fit into MEMORY lies on disk, in a scratch folder.
DuckDB is given tables, never paths: it would take a folder `key=value` for a column and quotes for
the end of a query.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from ladder.config.files import replacing
from ladder.config.load import Curation
from ladder.data.curation.dask_map import map_unordered
from ladder.data.curation.inspect import SCHEMA
from ladder.data.curation.near import Kind, rejected, tasks

MEMORY = "800MB"
ROWS = 4096
"""In a row group of the decisions."""


@dataclass(frozen=True)
class ExaminedChunk:
    """The examined rows of a chunk, and where they are in their set."""

    path: Path
    """A parquet file of the columns SCHEMA."""
    chunk: str
    set: str
    first: int
    """Place of the chunk's first record in the set."""


def decide(parts: Sequence[ExaminedChunk], out: Path, scratch: Path, curation: Curation) -> None:
    """Write `out`, a parquet with a row for every record, each with its verdict.

    Added columns: `set`, `number` (the place in the set), `reason` completed (null: kept), `split`
    (train or evaluation, null where rejected). Of samples that are alike, the first one is kept, in
    the order of sets and records; across sets only what is held out is protected.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    with duckdb.connect(config={"temp_directory": str(scratch), "memory_limit": MEMORY}) as db:
        db.execute("SET preserve_insertion_order = false")
        files = [str(part.path) for part in parts]
        whole = ds.dataset(files, SCHEMA, format="parquet", partitioning=None)
        db.register("part", whole if files else SCHEMA.empty_table())
        names = {"chunk": pa.string(), "set": pa.string(), "first": pa.int64()}
        places = [{name: getattr(part, name) for name in names} for part in parts]
        db.register("place", pa.Table.from_pylist(places, pa.schema(names)))
        db.execute(
            """
            CREATE TABLE judged AS
            SELECT set, first + row AS number, chunk, row, sources, content,
                CAST(CASE
                    WHEN reason IS NOT NULL THEN reason
                    WHEN tier IS NOT NULL THEN 'benchmark_' || tier
                END AS VARCHAR) AS reason,
                CASE WHEN share < $share THEN 'evaluation' ELSE 'train' END AS split
            FROM part JOIN place USING (chunk)
            """,
            {"share": curation.evaluation_share},
        )
        if curation.duplicates:
            db.execute(
                """
                UPDATE judged SET reason = 'duplicate' FROM (
                    SELECT set, number FROM judged WHERE reason IS NULL
                    QUALIFY row_number() OVER (PARTITION BY set, content ORDER BY number) > 1
                ) AS found WHERE judged.set = found.set AND judged.number = found.number
                """
            )
        if curation.near_duplicates is not None:
            _reject_near(db, "near_duplicate", "pictures", scratch, curation)
        if curation.near_captions is not None:
            _reject_near(db, "near_caption", "captions", scratch, curation)
        _write(db, out)
    shutil.rmtree(scratch)


def _reject_near(
    db: duckdb.DuckDBPyConnection, reason: str, of: str, scratch: Path, curation: Curation
) -> None:
    """Reject what is near an earlier, or a held out, sample of equally many pictures.

    Captions alone reject pictures with captions only: an instruction is used for many edits.
    """
    counts = [0]
    if of == "pictures":
        found = db.execute("SELECT DISTINCT sources FROM judged WHERE reason IS NULL ORDER BY ALL")
        counts = [count for (count,) in found.fetchall()]
    names = db.execute("SELECT DISTINCT set FROM judged ORDER BY set").fetchnumpy()["set"]
    for sources in counts:
        folder = scratch / f"{of}{sources}"
        folder.mkdir()
        kind = Kind(folder, sources + 1, curation.near_duplicates, curation.near_captions)
        _export(db, kind, sources, list(names))
        if not (folder / "number").exists():
            continue
        todo = tasks(kind, of)
        if not todo:
            continue
        bad = np.ones(len(kind.column("number")), bool)
        bad[np.fromfile(folder / f"firsts.{of}", np.int64)] = False
        for rows in map_unordered(rejected, todo, curation):
            bad[rows] = True
        columns = [pa.array(names).take(kind.column("set")[bad]), kind.column("number")[bad]]
        db.register("found", pa.table(columns, ["name", "number"]))
        db.execute(
            """
            UPDATE judged SET reason = $reason FROM found
            WHERE judged.set = found.name AND judged.number = found.number
            """,
            {"reason": reason},
        )
        db.unregister("found")


def _export(db: duckdb.DuckDBPyConnection, kind: Kind, sources: int, names: list[str]) -> None:
    """What is compared of the samples with `sources`, into the files of `kind`."""
    db.register("name", pa.table({"set": names, "place": pa.array(range(len(names)), pa.int32())}))
    reader = db.sql(
        """
        SELECT place AS set, number, (split = 'evaluation')::INT AS held_out,
            list_append(coalesce(source_looks, []), coalesce(look, 0)) AS looks,
            phrase, bands, shingles
        FROM (
            SELECT chunk, row, set, number, split FROM judged
            WHERE reason IS NULL AND sources = $sources
        ) JOIN part USING (chunk, row) JOIN name USING (set)
        """,
        params={"sources": sources},
    ).to_arrow_reader(50_000)
    for batch in reader:
        kind.append(batch)
    db.unregister("name")


def _write(db: duckdb.DuckDBPyConnection, out: Path) -> None:
    hidden = ("chunk", "row", "phrase", "bands", "shingles")
    reader = db.sql(
        f"""
        SELECT judged.set, judged.number, part.* EXCLUDE (reason, {", ".join(hidden)}),
            judged.reason, CASE WHEN judged.reason IS NULL THEN judged.split END AS split
        FROM part JOIN judged USING (chunk, row) ORDER BY judged.set, judged.number
        """
    ).to_arrow_reader(ROWS)
    with (
        replacing(out) as part,
        pq.ParquetWriter(part, reader.schema, compression="zstd") as writer,
    ):
        for batch in reader:
            writer.write_batch(batch, row_group_size=ROWS)
