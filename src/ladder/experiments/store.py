"""Adding runs to the results of a study: written aside and renamed, one process at a time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ladder.config.files import read_json, replacing, write_text
from ladder.config.lock import locked
from ladder.experiments.results import (
    CEILINGS,
    PICTURES,
    RUNS,
    TABLES,
    picture_name,
    read_rows,
    read_table,
)


@dataclass(frozen=True)
class Result:
    """What a run gives to the results of its study."""

    row: dict[str, Any]
    """Its line: run, preset, arm, seed, status, error, code, config, provenance, cost and more."""
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """Its rows of TABLES, without the column `run`."""
    ceilings: dict[str, Any] | None = None
    picture: Path | None = None


def add(folder: Path, results: list[Result]) -> None:
    """Add runs to the results in `folder`, each in place of an older one of its arm and seed."""
    if not results:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f".{folder.name}.lock"), wait=True):
        mine = {_place(one.row): one for one in results}
        old = {_place(row): row for row in read_rows(folder)}
        rows = dict(sorted((old | {place: one.row for place, one in mine.items()}).items()))
        kept = {row["run"] for place, row in old.items() if place not in mine}
        for name in TABLES:
            table = read_table(folder, name)
            parts = dict(tuple(table[table["run"].isin(kept)].groupby("run", sort=False)))
            parts |= {
                one.row["run"]: one.tables[name].assign(run=one.row["run"])
                for one in results
                if name in one.tables
            }
            ordered = [parts[row["run"]] for row in rows.values() if row["run"] in parts]
            if ordered:
                _write_table(pd.concat(ordered, ignore_index=True), folder / f"{name}.parquet")
        for one in results:
            _keep(one, folder)
        lines = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows.values())
        write_text(folder / RUNS, lines)


def _place(row: dict[str, Any]) -> tuple[str, str, int]:
    return row["preset"], row["arm"], row["seed"]


def _keep(one: Result, folder: Path) -> None:
    """The ceilings of the preset, and the run's row of pictures."""
    preset, arm, seed = _place(one.row)
    if one.ceilings is not None:
        path = folder / CEILINGS
        known = read_json(path) if path.is_file() else {}
        text = json.dumps(dict(sorted((known | {preset: one.ceilings}).items())), indent=1)
        write_text(path, f"{text}\n")
    if one.picture is not None:
        path = folder / PICTURES / f"{picture_name(preset, arm, seed)}.webp"
        with replacing(path) as part:
            shutil.copyfile(one.picture, part)


def _write_table(table: pd.DataFrame, path: Path) -> None:
    ordered = table[["run", *(name for name in table.columns if name != "run")]]
    with replacing(path) as part:
        ordered.to_parquet(part, compression="zstd", compression_level=19, index=False)
