"""A map on Dask gives what a plain map gives: in processes of its own and on workers by address."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from tests.data.curation.test_curate import CURATION, same_bytes

from ladder.data.curation import curate as module
from ladder.data.curation.curate import curate
from ladder.data.curation.dask_map import map_unordered


def process_of(_: int) -> int:
    return os.getpid()


def fails(number: int) -> int:
    if number == 3:
        raise ValueError("the third")
    return number


def test_in_this_process():
    assert {*map_unordered(process_of, range(3), replace(CURATION, workers=0))} == {os.getpid()}


@pytest.mark.slow
def test_in_processes_of_its_own():
    found = [*map_unordered(process_of, range(20), replace(CURATION, workers=2))]
    assert len(found) == 20
    assert len({*found}) == 2
    assert os.getpid() not in found


@pytest.mark.slow
def test_an_error_is_raised():
    with pytest.raises(ValueError, match="the third"):
        [*map_unordered(fails, range(9), replace(CURATION, workers=1))]


def _start(command: list[str]) -> subprocess.Popen:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
def scheduler():
    """The address of a scheduler with two workers, each a process started by hand."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard"]
    started = [_start([*command, "--host", "127.0.0.1", "--port", str(port)])]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-dashboard"]
    started += [_start([*worker, "--nthreads", "1", "--no-nanny"]) for _ in range(2)]
    yield address
    for process in started:
        process.kill()
        process.wait()


def slowly(_: int) -> int:
    time.sleep(0.5)
    return os.getpid()


@pytest.mark.slow
def test_a_worker_that_joins_late_gets_work(scheduler):
    from distributed import Client

    with Client(scheduler, timeout=60) as client:
        client.wait_for_workers(2, timeout=120)
        workers = list(client.scheduler_info(n_workers=-1)["workers"])
        client.retire_workers(workers[:1])
        done = map_unordered(slowly, range(60), replace(CURATION, scheduler=scheduler))
        alone = {next(done) for _ in range(4)}
        assert len(alone) == 1
        late = _start([sys.executable, "-m", "distributed.cli.dask_worker", scheduler,
                       "--nthreads", "1", "--no-nanny", "--no-dashboard"])  # fmt: skip
        try:
            client.wait_for_workers(2, timeout=120)
            assert len({*done} - alone) >= 1, "the late worker did nothing"
        finally:
            late.kill()
            late.wait()


@pytest.mark.slow
def test_two_workers_by_address_give_the_same_bytes(
    tmp_path, monkeypatch, scheduler, write_tar, picture, image_file
):
    monkeypatch.setattr(module, "save_figures", lambda *_: None)
    monkeypatch.setattr(module, "CHUNK", 7)
    members = []
    for number in range(60):
        members += [(f"{number}.png", image_file(picture(number)))]
        members += [(f"{number}.txt", f"caption {number}".encode())]
    write_tar(tmp_path / "raw/set/0.tar", members)
    from distributed import Client

    with Client(scheduler, timeout=30) as client:
        client.wait_for_workers(2, timeout=60)
    curate(tmp_path / "raw", tmp_path / "here", CURATION)
    begun = time.time()
    curate(tmp_path / "raw", tmp_path / "there", replace(CURATION, scheduler=scheduler))
    assert time.time() - begun < 120
    same_bytes(tmp_path / "here", tmp_path / "there")
