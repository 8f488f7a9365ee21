"""Two ways of doing the same, measured in pairs: what else the machine does concerns both."""

from __future__ import annotations

import gc
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import trange


@dataclass(frozen=True)
class Ratio:
    """Of the seconds of the one to those of the other, over pairs."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Pairs:
    """What alternating them found."""

    ratio: Ratio
    theirs: float
    """Seconds (of the CPU, or on a GPU), the median."""
    ours: float


def alternate(
    theirs: Callable[[], object],
    ours: Callable[[], object],
    pairs: int,
    clock: Callable[[Callable[[], object]], float] | None = None,
) -> Pairs:
    """Run both in turn, each first in every other pair, with a progress bar on stderr.

    Both must have run before. `clock` tells what one run takes, by default `cpu_seconds`.
    """
    found = []
    for number in trange(pairs, unit="pair"):
        order = (theirs, ours) if number % 2 == 0 else (ours, theirs)
        spent = {run: (clock or cpu_seconds)(run) for run in order}
        found.append((spent[theirs], spent[ours]))
    ratios = [first / second for first, second in found]
    medians = (statistics.median(column) for column in zip(*found, strict=True))
    return Pairs(Ratio(statistics.median(ratios), min(ratios), max(ratios)), *medians)


def cpu_seconds(run: Callable[[], object]) -> float:
    """What all threads of this process spend on `run`."""
    begun = time.process_time()
    run()
    return time.process_time() - begun


def gpu_seconds(run: Callable[[], object]) -> float:
    """Seconds until all that `run` gave to the GPU is done."""
    torch.cuda.synchronize()
    begun = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - begun


def memory_rise(run: Callable[[], object]) -> float:
    """MiB by which the memory of this process rises at most while `run` runs.

    From Linux' own account (proc(5)), whose peak can be set back to the present. getrusage can't
    forget what the models took while they were made, nor the process that began this one.
    """
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak()
    run()
    return _peak() - before


def _peak() -> float:
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(peak) / 1024
