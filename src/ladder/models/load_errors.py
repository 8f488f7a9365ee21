"""What comes from outside, a folder of weights above all, is taken as it should be or refused.

Libraries raise many kinds of errors on files that are damaged or were made up; at the command line
each of them must be one line that names the folder.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

if TYPE_CHECKING:
    from torch import Tensor, nn

UNREADABLE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    SafetensorError,
    pickle.UnpicklingError,
)
"""What diffusers, transformers, safetensors and torch raise on such files."""

FLOATS = ("F64", "F32", "F16", "BF16")
"""Types of weights, as safetensors calls them."""


@contextmanager
def reading(folder: Path, what: str) -> Iterator[None]:
    """Within it, an error on the content of `folder` raises a ValueError that names it.

    `what` is what the folder should have been, such as "a ladder".
    """
    try:
        yield
    except UNREADABLE as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{folder}: not {what} that can be used: {reason}") from error


def require_floats(folder: Path) -> None:
    """Raises ValueError for a weight in the files of a folder that isn't a floating-point number.

    Libraries would convert truth values and whole numbers without a word.
    """
    for path in sorted(folder.rglob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 (it is no mapping)
                if (kind := file.get_slice(name).get_dtype()) not in FLOATS:
                    known = ", ".join(FLOATS)
                    raise ValueError(f"{path}: weights must be {known}, {name} is {kind}")


def require_finite(parts: Mapping[str, nn.Module], source: Path) -> None:
    """Raises ValueError for a weight that is infinite or no number, with its name."""
    for part, module in parts.items():
        for name, value in module.state_dict().items():
            if not value.isfinite().all():
                raise ValueError(f"{source}: weights must be finite, {part}.{name} is not")


def require_weights(own: Mapping[str, Tensor], found: Mapping[str, Tensor], source: Path) -> None:
    """Raises ValueError unless the tensors `found` in `source` are those of a model: its `own`
    names, and for each the same shape. It names up to three that aren't."""
    wrong = [f"{name} is missing" for name in sorted(own.keys() - found.keys())]
    wrong += [f"{name} isn't known" for name in sorted(found.keys() - own.keys())]
    wrong += [
        f"{name} is {list(found[name].shape)} instead of {list(own[name].shape)}"
        for name in sorted(own.keys() & found.keys())
        if found[name].shape != own[name].shape
    ]
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(f"the weights of {source} must fit: {', '.join(wrong[:3])}{more}")
