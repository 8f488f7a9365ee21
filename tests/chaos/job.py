"""A tiny main job whose stages can be killed: each runs in a process of its own.

Processes come from a fork server, which imports everything once, so that a stage takes no longer
than its work. A stage is repeated as DVC repeats it: what dvc.yaml names as its outputs is removed
first, unless it persists, and then the same command runs.
"""

from __future__ import annotations

import hashlib
import itertools
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
PIPELINE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
STAGES = ("world", "curate", "encode", "t2i", "ti2i", "finetune")
"""All that change files on which others build, but for the foundations, which have no resuming."""
PRELOADED = [
    "ladder.cli.main", "ladder.world.shards", "ladder.data.curation.curate",
    "ladder.data.training.encode",
    "ladder.training.stages", "ladder.models.generator.rung_attention",
    "duckdb", "matplotlib.pyplot",
]  # fmt: skip
PROFILE = """\
threads: 1
world: {t2i_samples: 16, edit_samples: 12, curated_samples: 10, shard_samples: 5, captions: 2}
curation: {evaluation_share: 0.2, workers: 0}
model: {queries: 2, query_text: null}
connector_warmup: {steps: 0}
foundations: {mllm: models/mllm, generator: models/sana, dtype: float32}
stages:
  t2i: {steps: 6, batch: 2, accumulate: 1, warmup: 1, sample_every: 3, checkpoint_every: 2}
  ti2i: {steps: 4, batch: 2, accumulate: 1, warmup: 1, sample_every: 2, checkpoint_every: 1}
  finetune: {steps: 4, batch: 2, accumulate: 1, warmup: 1, sample_every: 4, checkpoint_every: 3}
monitor: {warmup: 2}
sampling: {steps: 1, batch: 4}
"""
YEAR = 365 * 24 * 3600.0
"""In seconds."""
TIMED = re.compile(r"tensorboard|events\.out|/samples/")
"""What holds times of day, or pictures that only show progress; nothing depends on it."""

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(PRELOADED)


@dataclass(frozen=True)
class Ending:
    """How a stage ended."""

    code: int
    """What the process returned; the negative of a signal that killed it."""
    seconds: float
    said: str


def prepare(place: Path) -> None:
    """The configuration and tiny foundations in `place`, where the job is to run."""
    from tests.tiny import tiny_mllm, tiny_sana

    shutil.copy(ROOT / "params.yaml", place)
    shutil.copytree(ROOT / "experiments/arms", place / "experiments/arms")
    (place / "experiments/profiles").mkdir()
    (place / "experiments/profiles/tiny.yaml").write_text(PROFILE)
    tiny_mllm(place / "models/mllm")
    tiny_sana(place / "models/sana")


def run(
    place: Path,
    stage: str,
    during: Callable[[int], None] = lambda pid: None,
    limit: int = 0,
    unsteady: bool = False,
) -> Ending:
    """Run a stage in `place`; `during` gets the id of its process once it has begun.

    `limit` is the largest file, in bytes, that the stage may write; 0 is none. With an `unsteady`
    clock every other look at it says that it is a year ago.
    """
    words = [*PIPELINE[stage]["cmd"].split()[1:], "--profile", "tiny"]
    log = Path(tempfile.mkstemp(".log")[1])
    begin, started = SERVER.Pipe()
    process = SERVER.Process(
        target=_work, args=(str(place), words, str(log), limit, unsteady, started)
    )
    process.start()
    begin.recv()
    began = time.monotonic()
    during(process.pid)
    process.join()
    ended = Ending(process.exitcode, time.monotonic() - began, log.read_text(errors="replace"))
    log.unlink()
    return ended


def _work(place: str, words: list[str], log: str, limit: int, unsteady: bool, started) -> None:
    """Within the new process: the command, with what it says in a file."""
    os.chdir(place)
    output = os.open(log, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(output, stream)
    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if unsteady:
        steady, looks = time.time, itertools.count()
        time.time = lambda: steady() - YEAR * (next(looks) % 2)
    from ladder.cli import main

    started.send(True)
    sys.exit(main.main(words))


def repeat(place: Path, stage: str) -> Ending:
    """Run a stage again, as DVC does."""
    for path, persists in outputs(stage):
        if not persists:
            remove(place / path)
    return run(place, stage)


def outputs(stage: str) -> list[tuple[str, bool]]:
    """The outputs of a stage, and whether DVC leaves each in its place."""
    found = []
    for entry in PIPELINE[stage]["outs"]:
        path, options = (entry, {}) if isinstance(entry, str) else next(iter(entry.items()))
        path = path.replace("${arm}", "ladder").replace("${seed}", "0")
        found.append((path, bool(options.get("persist"))))
    return found


def remove(path: Path) -> None:
    """A file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def set_clock_back(place: Path, seconds: float) -> None:
    """As if the clock had been set back: all that was written so far is of the future."""
    for path in place.rglob("*"):
        written = path.stat().st_mtime + seconds
        os.utime(path, (written, written))


def forget(place: Path, stage: str) -> None:
    """As if the stage and those after it had never been run."""
    for name in STAGES[STAGES.index(stage) :]:
        for path, _ in outputs(name):
            remove(place / path)
        if name in ("t2i", "ti2i", "finetune"):
            remove(place / f"runs/ladder-0/{name}")
    if stage in ("world", "curate"):
        remove(place / "data/.curated")


def results(place: Path, stage: str) -> dict[str, str]:
    """A hash of every file that the stage leaves, by its path."""
    return {
        str(file.relative_to(place)): hashlib.sha256(file.read_bytes()).hexdigest()
        for path, _ in outputs(stage)
        for file in sorted((place / path).rglob("*"))
        if file.is_file() and not TIMED.search(str(file.relative_to(place)))
    }
