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
