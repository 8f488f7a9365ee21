"""What settings may be: each check raises ValueError with the setting, the rule and what came."""

from __future__ import annotations


def at_least(section: object, least: float, *names: str) -> None:
    """The fields `names` of `section` are `least` or more."""
    for name in names:
        if getattr(section, name) < least:
            raise ValueError(f"{name} must be at least {least}, got {getattr(section, name)}")


def above(section: object, bound: float, *names: str) -> None:
    """The fields `names` of `section` are more than `bound`."""
    for name in names:
        if getattr(section, name) <= bound:
            raise ValueError(f"{name} must be above {bound}, got {getattr(section, name)}")


def within(section: object, low: float, high: float, *names: str) -> None:
    """The fields `names` of `section` are `low` to `high`, both included."""
    for name in names:
        if not low <= getattr(section, name) <= high:
            raise ValueError(f"{name} must be {low} to {high}, got {getattr(section, name)}")


def named(section: object, *names: str) -> None:
    """The texts `names` of `section` are not empty."""
    for name in names:
        if not getattr(section, name):
            raise ValueError(f"{name} must not be empty")


def shares(section: object, *fields: str) -> None:
    """Each field holds shares above 0, by name, that add up to 1."""
    for field in fields:
        values = getattr(section, field).values()
        if not all(share > 0 for share in values) or abs(sum(values) - 1) > 1e-6:
            raise ValueError(
                f"{field} must be shares above 0 that sum to 1, got {getattr(section, field)}"
            )
