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


def spread(
    function: Callable[[T], R], tasks: Iterable[T], curation: Curation | Encoding
) -> Iterator[R]:
    """`function` of every task, in the order in which they are done.

    On the workers of `curation.scheduler`, which must see the same folders; else on an embedded
    cluster of `curation.workers` processes; with 0 of them, here. An error of a task is raised.
    """
    if curation.scheduler is None and curation.workers == 0:
        yield from map(function, tasks)
        return
    from distributed import Client, as_completed

    # Imported, it sets INFO, and tells of each connection that opens and closes.
    logging.getLogger("distributed").setLevel(logging.WARNING)
    where = {"n_workers": curation.workers, "threads_per_worker": 1, "dashboard_address": None}
    with Client(curation.scheduler, **({} if curation.scheduler else where)) as client:
        rest = iter(tasks)
        slots = AHEAD * max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
        running = as_completed(client.map(function, list(islice(rest, slots)), pure=False))
        for done in running:
            yield done.result()
            for task in islice(rest, 1):
                running.add(client.submit(function, task, pure=False))
