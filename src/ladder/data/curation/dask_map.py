"""A map over processes and machines, with Dask."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from ladder.config.load import Curation, Encoding

T = TypeVar("T")
R = TypeVar("R")
AHEAD = 2
"""Tasks a worker that are sent before they are asked for; more would fill the memory."""
PATIENCE = 2.0
"""Seconds after which new workers are looked for, even if no task was done."""


def map_unordered(
    function: Callable[[T], R], tasks: Iterable[T], curation: Curation | Encoding
) -> Iterator[R]:
    """`function` of every task, in the order in which they are done.

    On the workers of `curation.scheduler`, which must see the same folders, those that join later
    as well; else on an embedded cluster of `curation.workers` processes; with 0 of them, here. An
    error of a task is raised.
    """
    if curation.scheduler is None and curation.workers == 0:
        yield from map(function, tasks)
        return
    rest = iter(tasks)
    if not (first := list(islice(rest, 1))):
        return  # no cluster is started for nothing
    from distributed import Client, wait

    # Imported, it sets INFO, and tells of each connection that opens and closes.
    logging.getLogger("distributed").setLevel(logging.WARNING)
    where = {"n_workers": curation.workers, "threads_per_worker": 1, "dashboard_address": None}
    with Client(curation.scheduler, **({} if curation.scheduler else where)) as client:
        running = {client.submit(function, task, pure=False) for task in first}
        while running:
            slots = AHEAD * max(1, sum(client.nthreads().values()))
            for task in islice(rest, max(0, slots - len(running))):
                running.add(client.submit(function, task, pure=False))
            try:
                done, _ = wait(running, timeout=PATIENCE, return_when="FIRST_COMPLETED")
            except TimeoutError:
                continue
            for future in done:
                running.remove(future)
                yield future.result()
