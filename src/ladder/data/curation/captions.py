"""What is wrong with a caption, and what of it can be repaired.

Captions of web sets and of models hold broken encodings, refusals of the model that was asked to
describe a picture, placeholders, the marks of picture agencies, and special tokens of tokenizers,
which would end a turn of the chat or be taken for a picture.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import ftfy
import pyarrow as pa
import pyarrow.compute as pc

from ladder.data.images import refused_as

FAULTS = {
    "special_token": re.compile(r"<\|[^<>|\s]{1,40}\|>"),
    "refusal": re.compile(
        r"^\W*(?:i'?m sorry\b|i am sorry\b|sorry, (?:but )?i\b|i apologi[sz]e\b|as an ai\b"
        r"|i(?:'m| am) (?:unable|not able) to\b"
        r"|i (?:can(?:no|')t|do not|don't|will not|won't) "
        r"(?:assist|help|provide|describe|identify|see|view|process|comply|create|generate)\b)",
        re.IGNORECASE,
    ),
    "placeholder": re.compile(
        r"^\W*(?:n/?a|none|null|nan|todo|tbd|untitled|caption|no caption|no description"
        r"|image description|insert (?:caption|text) here|lorem ipsum\b.*|<[a-z_]+>"
        r"|\[[a-z _]+\]|(?:img|dsc|dscn|image|photo)[_-]?\d+(?:\.\w{3,4})?)\W*$",
        re.IGNORECASE | re.DOTALL,
    ),
    "watermark": re.compile(
        r"\b(?:shutterstock|getty ?images|istock(?:photo)?|dreamstime|alamy|depositphotos|123rf"
        r"|adobe ?stock|watermark(?:ed|s)?|stock (?:photo|image|illustration|vector)s?)\b",
        re.IGNORECASE,
    ),
}
"""By the reason that a sample is rejected for, in the order in which they are looked for."""
FLAGS = {re.IGNORECASE: "i", re.DOTALL: "s"}
ANY_FAULT = "|".join(
    f"(?{''.join(name for flag, name in FLAGS.items() if pattern.flags & flag)}:{pattern.pattern})"
    for pattern in FAULTS.values()
)
"""Finds what any of them finds in printable ASCII, for which the words of RE2 (Arrow's) mean what
Python's do; one search of a column takes a tenth of the time."""


def repaired(caption: str) -> str:
    """The caption with broken encodings mended (ftfy), without control characters around it."""
    # Nothing in plain ASCII can be broken but an entity of HTML, and most captions are.
    if caption.isascii() and caption.isprintable() and "&" not in caption:
        return caption.strip()
    with refused_as("bad_encoding"):
        return ftfy.fix_text(caption).strip()


def faults(captions: Sequence[str], maximum: int) -> list[str | None]:
    """Why each of some repaired captions may not be trained on; `maximum` is in characters."""
    searched = [caption if _is_plain(caption, maximum) else "" for caption in captions]
    found = pc.match_substring_regex(pa.array(searched, pa.string()), ANY_FAULT).to_pylist()
    return [
        _fault(caption, maximum) if matched or not text else None
        for caption, text, matched in zip(captions, searched, found, strict=True)
    ]


def _is_plain(caption: str, maximum: int) -> bool:
    return len(caption) <= maximum and caption.isascii() and caption.isprintable()


def _fault(caption: str, maximum: int) -> str | None:
    if len(caption) > maximum:
        return "long_caption"
    return next((reason for reason, pattern in FAULTS.items() if pattern.search(caption)), None)
