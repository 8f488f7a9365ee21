"""One process at a time works on a run. A process that is killed leaves the run free."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path


class BusyError(ValueError):
    """Another process holds the lock."""


@contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[int]:
    """Hold the lock `path`, whose text names the holder; yields its file descriptor.

    The operating system frees it with the last process that has the descriptor, however that ends,
    so that no lock is ever stale. The file stays. Raises BusyError, naming the holder, if another
    process has it, unless `wait`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            name = path.name.removeprefix(".").removesuffix(".lock")
            place = path.parent if name == "lock" else path.with_name(name)
            raise BusyError(
                f"one process at a time works in {place}; at work is {file.read().strip()}"
            ) from error
        file.truncate(0)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        file.write(f"process {os.getpid()} of {socket.gethostname()} since {now}\n")
        file.flush()
        yield file.fileno()
