"""Where the texts of a command come from: its words, files and stdin, one text a line."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

STDIN = "-"
"""In place of a text: the lines of what is piped in."""
MOST = 1000
"""Texts of a command."""


def texts(words: Sequence[str], file: Path | None = None) -> list[str]:
    """The words, with the lines of stdin in place of STDIN, and after them the lines of a file.

    Raises ValueError where there is none, for more than MOST, for bytes that aren't UTF-8, and
    where stdin holds nothing.
    """
    found = [line for word in words for line in (lines(Path(word)) if word == STDIN else [word])]
    if words and not found:
        raise ValueError("stdin must hold a line of text, got none")
    if file is not None:
        found += lines(file)
    if not found:
        raise ValueError("there must be a prompt, on the command line or in a file, got none")
    if len(found) > MOST:
        raise ValueError(f"there must be at most {MOST} prompts, got {len(found)}")
    for text in found:
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError(f"words must be UTF-8, got {text[:50]!a}")
    return found


def lines(path: Path) -> list[str]:
    """The lines of a text file, or of stdin, without those that are empty.

    Raises ValueError, which names the file, where it isn't UTF-8.
    """
    name = "stdin" if str(path) == STDIN else str(path)
    try:
        text = sys.stdin.read() if name == "stdin" else path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name}: must be text in UTF-8, got {error.reason} at byte {error.start}"
        ) from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def require_quotes(command: str, words: Sequence[str]) -> None:
    """Refuse several words of which none has a space: a prompt without its quotes.

    `command` is what stands before them. Raises ValueError, which says what to type.
    """
    if len(words) < 2 or STDIN in words or any(re.search(r"\s", word) for word in words):
        return
    raise ValueError(f"a text of several words must be quoted: {command} {quoted(' '.join(words))}")


def quoted(text: str) -> str:
    """A text as one word of a shell."""
    return f'"{text}"' if re.fullmatch(r"[\w ,.:;?'+-]+", text) else shlex.quote(text)
