"""Whatever ends a stage of the main job, the same command run again gives what it would have given.

`CHAOS_KILLS` is the number of kills at random moments: 20 unless said, `make chaos` takes 200.
"""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.chaos.job import (
    STAGES,
    YEAR,
    Ending,
    forget,
    prepare,
    remove,
    repeat,
    results,
    run,
    set_clock_back,
)

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("CHAOS_KILLS", "20"))
SEED = int(os.environ.get("CHAOS_SEED", "0"))


@dataclass(frozen=True)
class Undisturbed:
    """The job as it goes when nothing disturbs it."""

    place: Path
    results: dict[str, dict[str, str]]
    """By stage, the hashes of its files."""
    seconds: dict[str, float]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    place = tmp_path_factory.mktemp("whole")
    prepare(place)
    seconds = {}
    for stage in STAGES:
        ended = run(place, stage)
        assert ended.code == 0, ended.said[-3000:]
        seconds[stage] = ended.seconds
    return Undisturbed(place, {stage: results(place, stage) for stage in STAGES}, seconds)


@pytest.fixture
def place(whole: Undisturbed, tmp_path: Path) -> Path:
    """A copy of the finished job, of which stages may be forgotten and run again."""
    return shutil.copytree(whole.place, tmp_path / "job")


def after(seconds: float, signal_number: int) -> Callable[[int], None]:
    """Sends a signal to a process when it has run for so long, unless it has ended."""

    def send(pid: int) -> None:
        time.sleep(seconds)
        with suppress(ProcessLookupError):
            os.kill(pid, signal_number)

    return send


def require_same(place: Path, stage: str, whole: Undisturbed, ended: Ending) -> None:
    """Run the stage again, and compare."""
    again = repeat(place, stage)
    assert again.code == 0, f"{ended}\n\nand then {again.said[-3000:]}"
    found, expected = results(place, stage), whole.results[stage]
    assert found.keys() == expected.keys()
    assert [path for path in found if found[path] != expected[path]] == []


def test_the_job_leaves_files(whole: Undisturbed):
    """Otherwise everything below would be equal."""
    assert all(len(files) > 1 for files in whole.results.values())
    assert any(path.endswith(".safetensors") for path in whole.results["finetune"])


@pytest.mark.parametrize("number", range(KILLS))
def test_killed_at_any_moment(number: int, place: Path, whole: Undisturbed):
    """Each stage in turn; half of the kills hit it, killed once, a second time as it goes on."""
    chance = random.Random(f"{SEED} {number}")
    stage = STAGES[number % len(STAGES)]
    forget(place, stage)
    ended = run(place, stage, after(chance.uniform(0, whole.seconds[stage]), signal.SIGKILL))
    if chance.random() < 0.5:
        moment = chance.uniform(0, whole.seconds[stage])
        ended = run(place, stage, after(moment, signal.SIGKILL))
    require_same(place, stage, whole, ended)


@pytest.mark.parametrize("stage", STAGES)
def test_interrupted_by_the_keyboard(stage: str, place: Path, whole: Undisturbed):
    """It ends in one line, with the code that shells expect, unless it was done already."""
    forget(place, stage)
    ended = run(place, stage, after(whole.seconds[stage] / 2, signal.SIGINT))
    assert ended.code in (0, 130), ended
    if ended.code:
        assert ended.said.rstrip().splitlines()[-1].endswith(": interrupted")
    require_same(place, stage, whole, ended)


@pytest.mark.parametrize("stage", STAGES)
def test_the_clock_changes(stage: str, place: Path, whole: Undisturbed):
    """While the stage runs, and once more before it is run again."""
    forget(place, stage)
    killed = after(whole.seconds[stage] / 2, signal.SIGKILL)
    ended = run(place, stage, killed, unsteady=True)
    set_clock_back(place, YEAR)
    require_same(place, stage, whole, ended)


@pytest.mark.parametrize("stage", STAGES)
def test_no_file_may_become_large(stage: str, place: Path, whole: Undisturbed):
    """As on a disk that is full: what the largest file of the stage needs isn't there."""
    forget(place, stage)
    largest = max((whole.place / path).stat().st_size for path in whole.results[stage])
    ended = run(place, stage, limit=largest // 2)
    assert ended.code > 0, ended
    require_same(place, stage, whole, ended)


@contextmanager
def mounted(folder: Path, size: int) -> Iterator[Callable[[int], None]]:
    """A disk of `size` bytes at `folder`, which can be mounted anew with other flags."""
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(flags: int, size: int = size) -> None:
        options = f"size={size}".encode()
        if libc.mount(b"tmpfs", bytes(folder), b"tmpfs", flags, options):
            pytest.skip(f"only root may mount a disk ({os.strerror(ctypes.get_errno())})")

    folder.mkdir()
    mount(0)
    try:
        yield mount
    finally:
        libc.umount2(bytes(folder), 2)


READ_ONLY, REMOUNT = 1, 32
"""Flags of mount(2)."""
ROOM = 64 * 2**20


@pytest.mark.parametrize(
    ("kind", "stage"), [("full", "ti2i"), ("read-only", "curate"), ("read-only", "ti2i")]
)
def test_a_disk_that_takes_nothing(kind: str, stage: str, whole: Undisturbed, tmp_path: Path):
    disk = tmp_path / "disk"
    with mounted(disk, ROOM) as mount:
        place = shutil.copytree(whole.place, disk / "job")
        forget(place, stage)
        if kind == "full":
            free = shutil.disk_usage(disk).free
            (disk / "filler").write_bytes(bytes(max(0, free - 16_384)))
            ended = run(place, stage)
            remove(disk / "filler")
        else:
            mount(REMOUNT | READ_ONLY)
            ended = run(place, stage)
            mount(REMOUNT)
        assert ended.code > 0, ended
        require_same(place, stage, whole, ended)
