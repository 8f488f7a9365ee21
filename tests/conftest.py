"""Set up for every test: offline, one thread, and shapes and types checked at run time.

The import hook checks the annotations of every function of `ladder`, shapes of tensors included,
against what is passed and returned. It must be installed before any of its modules is imported,
so nothing here may import `ladder` at the top. The product itself runs unchecked.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

# PEP 484's tower: an int may stand where a float is asked for, as type checkers have it.
install_import_hook("ladder", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

# Started in the background, tests and what they start would ignore interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Other work on the machine must not fail a test: no example has a time limit.
settings.register_profile("ladder", deadline=None)
settings.register_profile("fuzz", deadline=None, max_examples=10_000)  # `make fuzz`
settings.load_profile("ladder")

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Verbs set their own number, and with two threads sums of other shapes round differently."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def golden() -> Path:
    """Recorded outputs of the published code, which lie beside some checkouts."""
    folder = ROOT.parent / "shared/golden"
    if not folder.is_dir():
        pytest.skip(f"no golden files at {folder}")
    return folder


@pytest.fixture
def config(root: Path):
    """The configuration as shipped: params.yaml with the arm it names."""
    from ladder.config.load import load

    return load(root=root)


@pytest.fixture
def slowness() -> float:
    """How much slower this core is now than the one for which limits of time are given, at least 1.

    That one adds up a million squares in 45 ms; the limits are stretched for a slower one.
    """
    spent = []
    for _ in range(5):
        began = time.process_time()
        sum(number * number for number in range(1_000_000))
        spent.append(time.process_time() - began)
    return max(1.0, sorted(spent)[2] / 0.045)


@pytest.fixture
def seconds():
    """Times a statement after a setup, on one core: the least of ten runs, of which the first
    fills caches. In a process of its own, without the checks of types that tests add."""

    def measure(statement: str, setup: str) -> float:
        timed = f"timeit.repeat({statement!r}, {setup!r}, time.process_time, 10, 1)"
        command = [sys.executable, "-c", f"import time, timeit; print(min({timed}))"]
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
        return float(ended.stdout)

    return measure
