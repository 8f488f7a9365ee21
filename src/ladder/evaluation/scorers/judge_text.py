"""How a judge's text is read, whatever the benchmark: without drafts, by a rule, or not at all."""

from __future__ import annotations

import re

THINK = re.compile(r"<(/?)think(?:ing)?>", re.IGNORECASE)
YES_OR_NO = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)
REFUSAL = re.compile(
    r"\W*(?:i(?:'|\N{RIGHT SINGLE QUOTATION MARK})?m (?:very )?sorry|i am (?:very )?sorry|sorry\b"
    r"|i (?:can(?:no|'|\N{RIGHT SINGLE QUOTATION MARK})t|am unable|won't|am not able)"
    r"|i(?:'|\N{RIGHT SINGLE QUOTATION MARK})m (?:unable|not able)|as an ai\b)",
    re.IGNORECASE,
)
"""How a model begins that declines. It is looked for only in a text that fits no rule."""


LONGEST = 9
"""Digits of a number that is read as it is."""


def whole(digits: str) -> int:
    """The whole number in `digits`; of more than LONGEST, one that is above every scale.

    Python itself refuses to read numbers of more than 4,300 digits.
    """
    return int(digits) if len(digits) <= LONGEST else 10**LONGEST


def final_text(text: str) -> str:
    """What stands behind the drafts of a model that thinks aloud; nothing if a draft has no end.

    Some chat templates open the draft themselves, so that a text holds the closing mark alone.
    """
    ends = [found for found in THINK.finditer(text) if found[1]]
    rest = text[ends[-1].end() :] if ends else text
    opened = THINK.search(rest)
    return (rest[: opened.start()] if opened else rest).strip()


def yes_or_no(text: str) -> str | None:
    """`yes` or `no` where the final text begins with it, else None."""
    found = YES_OR_NO.match(final_text(text))
    return found[1].lower() if found else None


def is_refusal(text: str) -> bool:
    """Whether a text that fits no rule says that the judge declines."""
    return REFUSAL.match(final_text(text)) is not None
