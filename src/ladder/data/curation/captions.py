"""What is wrong with a caption, and what of it can be repaired.

Captions of web sets and of models hold broken encodings, refusals of the model that was asked to
describe a picture, placeholders, the marks of picture agencies, and special tokens of tokenizers,
which would end a turn of the chat or be taken for a picture.
"""

from __future__ import annotations

import re

import ftfy

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


def repaired(caption: str) -> str:
    """The caption with broken encodings mended (ftfy), without control characters around it."""
    # Nothing in plain ASCII can be broken but an entity of HTML, and most captions are.
    if caption.isascii() and caption.isprintable() and "&" not in caption:
        return caption.strip()
    with refused_as("bad_encoding"):
        return ftfy.fix_text(caption).strip()


def fault(caption: str, maximum: int) -> str | None:
    """Why a repaired caption may not be trained on, or None; `maximum` is in characters."""
    if len(caption) > maximum:
        return "long_caption"
    return next((reason for reason, pattern in FAULTS.items() if pattern.search(caption)), None)
