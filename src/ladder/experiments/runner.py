"""Runs of a notebook, a process for each, several at a time, and each only once.

FOLDER/<key>/executed.ipynb, result.json    of a finished run
             log.txt, failed.json           what it said; the end of that, if it failed
             lock                           which process is at work

Several runners may work in one folder: each run is locked while it runs, and its process holds the
lock too. So a run goes on when its runner is killed, and the next runner finds its result. A run
without a whole result.json is not finished and is run again.
"""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ladder.config.files import read_json, write_text
from ladder.config.lock import BusyError, locked
from ladder.experiments.keys import Keys, key_of
from ladder.experiments.notebook import FOLDER, RESULT, defaults_of, require_parameters
from ladder.experiments.study import Planned

log = logging.getLogger(__name__)

FAILED, LOG = "failed.json", "log.txt"
TAIL = 2000
"""Characters of a log that are kept as the error of a failed run."""
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Keyed:
    """A run with its key."""

    planned: Planned
    parts: dict[str, str]
    """A hash of each thing that it depends on."""
    key: str
    folder: Path
    """Where it runs."""

    @property
    def values(self) -> dict[str, Any] | None:
        """What a finished run showed as its result; None if it isn't finished."""
        try:
            found = json.loads((self.folder / RESULT).read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None  # half a file is no result
        return found.get("values") if isinstance(found, dict) else None

    @property
    def error(self) -> str | None:
        """The end of the error of a failed run; None if it didn't fail."""
        path = self.folder / FAILED
        return read_json(path)["error"] if path.is_file() else None


def keyed(notebook: Path, runs: Sequence[Planned], folder: Path) -> list[Keyed]:
    """The runs with their keys, which live in `folder`.

    Raises ValueError for a parameter that the notebook doesn't have or of another type than its
    default, ConfigError for an arm or profile that isn't there.
    """
    for planned in runs:
        require_parameters(notebook, planned.parameters)
    keys = Keys(notebook)
    found = []
    for planned in runs:
        parts = keys.parts(planned.parameters)
        key = key_of(parts)
        found.append(Keyed(planned, parts, key, folder / key))
    return found


def run_all(
    notebook: Path,
    runs: Sequence[Keyed],
    jobs: int = 1,
    ended: Callable[[Keyed], None] = lambda run: None,
) -> None:
    """Run what isn't finished, `jobs` at a time; `ended` is called after each, failed or not.

    What another runner is at work on is waited for at the end.
    """
    waiting = [run for run in runs if run.values is None]
    log.info("%d runs, %d of them finished before", len(runs), len(runs) - len(waiting))
    pool = ThreadPoolExecutor(jobs)
    with tqdm(total=len(waiting), desc="runs", unit="run", mininterval=1) as bar:

        def attempt(run: Keyed, wait: bool) -> bool:
            """Whether the run has ended; False if another runner is at work on it."""
            try:
                with locked(run.folder / "lock", wait=wait) as descriptor:
                    if run.values is None:
                        _run(notebook, run, descriptor)
            except BusyError:
                return False
            ended(run)
            bar.set_postfix_str(run.planned.name, refresh=False)
            bar.update()
            return True

        try:
            done = [*pool.map(lambda run: attempt(run, False), waiting)]
            elsewhere = [run for run, ok in zip(waiting, done, strict=True) if not ok]
            for _ in pool.map(lambda run: attempt(run, True), elsewhere):
                pass
        finally:
            pool.shutdown(cancel_futures=True)


def _run(notebook: Path, run: Keyed, descriptor: int) -> None:
    """Run one in a process of its own, which inherits the lock; errors end up in FAILED."""
    folder, parameters = run.folder, dict(run.planned.parameters)
    (folder / FAILED).unlink(missing_ok=True)
    (folder / RESULT).unlink(missing_ok=True)
    if FOLDER in defaults_of(notebook):
        parameters[FOLDER] = str(folder)
    command = [sys.executable, "-m", "ladder.experiments.execute", str(notebook), str(folder)]
    with (folder / LOG).open("w") as said:
        ended = subprocess.run(
            [*command, repr(parameters)], stdout=said, stderr=subprocess.STDOUT, check=False,
            pass_fds=[descriptor], env=_environment(),
        )  # fmt: skip
    if ended.returncode:
        text = COLOURS.sub("", (folder / LOG).read_text(errors="replace")).strip()[-TAIL:]
        error = text or f"ended with {ended.returncode} without a word"
        record = {"parameters": run.planned.parameters, "error": error}
        write_text(folder / FAILED, json.dumps(record, indent=1, default=str))


def _environment() -> Mapping[str, str]:
    """One thread a run, unless the user says otherwise."""
    return {"OMP_NUM_THREADS": "1"} | os.environ | {"PYTHONHASHSEED": "0"}
