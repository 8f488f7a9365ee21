"""Imports of large libraries, without a third of the time that they would take."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Import inside with Python's garbage collector off, and keep what is there out of its sight.

    Classes and functions of libraries are no garbage, but while torch, transformers and diffusers
    are imported the collector walks over all of them again and again, and once more at the end of
    the process.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
