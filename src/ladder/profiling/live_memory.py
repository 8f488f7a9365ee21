"""The most memory that tensors take at once in some computation, counted without computing it.

Tensors are torch's fake ones: they have a shape, a type and a device, and no bytes. Every operation
runs as it would, autocast and gradients with it; what each storage would take is added when it is
made and subtracted when the last tensor lets go of it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Live(TorchDispatchMode):
    """Counts the bytes of all storages that operations make within it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        """Bytes at present."""
        self.most = 0
        """Bytes at the worst moment."""
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        before = _storages((args, kwargs))
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, Tensor) and id(value.untyped_storage()) not in before:
                self.note(value)
        return out

    def note(self, value: Tensor) -> None:
        """Count what `value` keeps, until nothing keeps it any more."""
        storage = value.untyped_storage()
        key = id(storage)
        if key in self._known:
            return
        size = storage.nbytes()
        self.now += size
        self.most = max(self.most, self.now)

        def gone(_: Any) -> None:
            self.now -= size
            del self._known[key]

        self._known[key] = weakref.ref(storage, gone)


def _storages(values: Any) -> set[int]:
    return {id(x.untyped_storage()) for x in tree_leaves(values) if isinstance(x, Tensor)}


def rise(run: Callable[[], object]) -> int:
    """Bytes by which tensors rise at most while `run` runs, above those that were there before."""
    live = Live()
    with live:
        kept = run()
    del kept
    return live.most


without_fakes = unset_fake_temporarily
"""Within it, within `fake`, tensors are real or of the meta device."""


@contextmanager
def fake() -> Iterator[None]:
    """Within it tensors and modules are made without any bytes."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield
