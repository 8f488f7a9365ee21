"""`ladder study`: run what is missing of a study, collect it, and say how far it is.

A run counts as finished if its line in runs.jsonl has today's key. Results from before runs had
keys (`legacy`) count too: they are results of earlier code, are named as such, and are run again
only on request. Any other result whose key differs is out of date and is run again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from ladder.config.files import read_json
from ladder.experiments.notebook import RESULT
from ladder.experiments.prepare import configured, data_of
from ladder.experiments.results import CEILINGS, LEGACY, RECORD, RESULTS, TABLES, read_rows
from ladder.experiments.runner import Keyed, keyed, run_all
from ladder.experiments.store import Result, add
from ladder.experiments.study import Study

FOLDER = Path("runs/studies")
"""Where runs are trained; not in git."""

Status = Literal["finished", "of earlier code", "out of date", "failed", "missing"]


@dataclass(frozen=True)
class RunState:
    """How far a run is."""

    run: Keyed
    status: Status
    because: str = ""
    """What of an out-of-date run has changed, or the last line of the error."""


def states(study: Study, results: Path = RESULTS, folder: Path = FOLDER) -> list[RunState]:
    """How far every run of a study is. Raises as `keyed` does."""
    rows = {
        (row["arm"], row["seed"]): row
        for row in read_rows(results / study.name)
        if row["preset"] == study.preset
    }
    runs = keyed(Path(study.notebook), study.runs(), folder / study.name)
    return [_state(run, rows.get(_place(run))) for run in runs]


def _state(run: Keyed, row: dict[str, Any] | None) -> RunState:
    if row is None:
        return RunState(run, "missing")
    if row["code"] == LEGACY:
        return RunState(run, "of earlier code", f"git {row['provenance']['git'][:7]}")
    if row["status"] == "failed":
        return RunState(run, "failed", row["error"].splitlines()[-1])
    if row["run"] == run.key:
        return RunState(run, "finished")
    changed = [name for name, value in run.parts.items() if row["parts"].get(name) != value]
    return RunState(run, "out of date", f"other {', '.join(changed)}")


def run_study(
    study: Study,
    jobs: int = 1,
    again: bool = False,
    results: Path = RESULTS,
    folder: Path = FOLDER,
) -> list[RunState]:
    """Run what isn't finished, `jobs` at a time; returns how far every run is then.

    What is of earlier code is left as it is unless `again`. Raises as `keyed` does, and
    FileNotFoundError if data are missing.
    """
    done = {"finished"} if again else {"finished", "of earlier code"}
    waiting = [one.run for one in states(study, results, folder) if one.status not in done]
    store = results / study.name
    for given in [run.planned.parameters for run in waiting[:1]]:
        data_of(configured(given["profile"], given["arm"]))  # made or found missing before all runs
    # What an earlier runner left behind when it was killed.
    add(store, [_result(run, study) for run in waiting if run.values is not None])
    run_all(Path(study.notebook), waiting, jobs, lambda run: add(store, [_result(run, study)]))
    return states(study, results, folder)


def summary(found: list[RunState]) -> pd.DataFrame:
    """A row for each arm: how many of its runs are in which state, and why."""
    rows: dict[str, dict[str, Any]] = {}
    for one in found:
        row = rows.setdefault(one.run.planned.parameters["arm"], {"because": set()})
        row[one.status] = row.get(one.status, 0) + 1
        row["because"] |= {one.because} - {""}
    for row in rows.values():
        row["because"] = "; ".join(sorted(row["because"]))
    table = pd.DataFrame.from_dict(rows, orient="index")
    counts = table.drop(columns="because").fillna(0).astype(int)
    return counts.assign(because=table["because"]).rename_axis("arm")


def _place(run: Keyed) -> tuple[str, int]:
    return run.planned.parameters["arm"], run.planned.parameters["seed"]


def _result(run: Keyed, study: Study) -> Result:
    """What a run that has ended gives to the results."""
    arm, seed = _place(run)
    row: dict[str, Any] = {"run": run.key, "preset": study.preset, "arm": arm, "seed": seed}
    common = {"code": run.parts["code"], "parts": run.parts, "parameters": run.planned.parameters}
    folder, values = run.folder, run.values
    if values is None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        error = run.error or "ended without a result"
        return Result(row | {"status": "failed", "error": error, "date": now} | common)
    left = folder / f"{arm}-{seed}"
    known = read_json(left / RECORD)
    at = datetime.fromtimestamp((folder / RESULT).stat().st_mtime, UTC)
    row |= {"status": "finished", "error": "", "date": at.isoformat(timespec="seconds")}
    files = {name: left / f"{name}.parquet" for name in TABLES}
    tables = {name: pd.read_parquet(path) for name, path in files.items() if path.is_file()}
    ceilings, picture = left / CEILINGS, left / "picture.webp"
    return Result(
        row | common | {"values": values} | known,
        tables,
        read_json(ceilings) if ceilings.is_file() else None,
        picture if picture.is_file() else None,
    )
