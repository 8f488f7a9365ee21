"""Types of settings that say what a value may be; pydantic checks them where a section is built."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

RULES = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
"""Of every section: no value is converted to another type, and no key is ignored."""


def _listed(value: Any) -> Any:
    """YAML has lists where a frozen section has tuples; nothing else becomes one."""
    return tuple(value) if isinstance(value, list) else value


def _sums_to_one(shares: dict[str, float]) -> dict[str, float]:
    if not all(share > 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError(f"must be shares above 0 that sum to 1, got {shares}")
    return shares


T = TypeVar("T")
Several = Annotated[tuple[T, ...], BeforeValidator(_listed)]
"""A list in YAML."""
Natural = Annotated[int, Field(ge=0)]
"""A whole number from 0 on."""
Count = Annotated[int, Field(ge=1)]
"""A whole number from 1 on."""
AtLeastOne = Annotated[float, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""Of random numbers, as torch takes them."""
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, le=0.999999)]
"""Of a moving average; 1 would never take in a value."""
Name = Annotated[str, Field(min_length=1)]
"""A text that isn't empty."""
Shares = Annotated[dict[str, float], AfterValidator(_sums_to_one)]
"""A share above 0 for each name; they add up to 1."""
