"""A record of a raw set: where its parts lie, and the one verdict that loading it gives.

Listing records is cheap (headers only), loading them is not (reading, decoding), so the work can
be spread over processes; a record is a few numbers and can be sent anywhere.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from PIL import Image

from ladder.data.images import BadSampleError, decode, refused_as
from ladder.data.shards import Sample

PLACEHOLDER = re.compile(r"\s*<image>\s*")
"""Where a picture stands in a turn of a conversation; it is no word of the instruction."""
WORDS = ("input_prompt", "caption", "text", "prompt")
"""Where the facts of a sample keep its first caption, if no file does."""


class UnknownLayoutError(ValueError):
    """A file that is read but not understood: it is named in the report, as unread."""


@runtime_checkable
class Part(Protocol):
    """Where a part of a record lies: bytes of a file, a cell of a table. It can be pickled."""

    def read(self) -> bytes:
        """The bytes of the part; raises BadSampleError where they can't be had."""
        ...


@dataclass(frozen=True)
class Rejected:
    """A record which may not be trained on; `key` is empty where a whole shard is at fault."""

    key: str
    shard: str
    reason: str


@dataclass(frozen=True)
class Record:
    """A sample as it lies on disk, paired but not read yet."""

    key: str
    shard: str
    target: Part
    sources: tuple[Part, ...] = ()
    caption: Part | None = None
    """File with the first caption, where captions are files."""
    facts: Part | None = None
    """JSON file with further captions and the truth."""
    row: dict = field(default_factory=dict)
    """The same as a row of a list or table: "input_prompt", "captions", "truth"."""

    def load(self, maximum_pixels: int) -> Sample | Rejected:
        """Reads and decodes; pictures of more than `maximum_pixels` are rejected undecoded."""
        try:
            captions, truth = self.words()
            *sources, target = self.pictures(maximum_pixels)
        except BadSampleError as fault:
            return Rejected(self.key, self.shard, fault.reason)
        return Sample(self.key, captions, target, tuple(sources), truth)

    def words(self) -> tuple[tuple[str, ...], dict | None]:
        """The captions and the truth, read. Raises BadSampleError."""
        facts = self.row if self.facts is None else json_object(self.facts.read())
        first = _first(facts) if self.caption is None else _text(self.caption.read())
        captions = tuple(_caption(text) for text in (first, *_further(facts)))
        return captions, facts.get("truth")

    def pictures(self, maximum_pixels: int) -> tuple[Image.Image, ...]:
        """The sources and the target, read and decoded. Raises BadSampleError."""
        parts = (*self.sources, self.target)
        return tuple(decode(part.read(), maximum_pixels) for part in parts)


def json_object(data: bytes) -> dict:
    """The object that the JSON text `data` is.

    Raises BadSampleError: `bad_encoding`, `bad_json`.
    """
    with refused_as("bad_json"):
        try:
            facts = json.loads(data)
        except UnicodeDecodeError:
            raise BadSampleError("bad_encoding") from None
    if not isinstance(facts, dict):
        raise BadSampleError("bad_json")
    return facts


def encodable(text: str) -> bool:
    """Whether `text` is UTF-8: names of tar members and JSON escapes can be broken halves."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(text: str) -> str:
    """`text` as UTF-8, with broken halves written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _first(facts: dict) -> object:
    said = next((facts[name] for name in WORDS if facts.get(name) is not None), None)
    if said is None:
        raise BadSampleError("no_caption")
    return said


def _further(facts: dict) -> list:
    captions = facts.get("captions", [])
    if not isinstance(captions, list) or not isinstance(facts.get("truth"), dict | None):
        raise BadSampleError("bad_json")
    return captions


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadSampleError("bad_encoding") from None


def _caption(text: object) -> str:
    if not isinstance(text, str):
        raise BadSampleError("bad_json")
    if not encodable(text):
        raise BadSampleError("bad_encoding")
    if "<image>" in text:
        text = PLACEHOLDER.sub(" ", text)
    if not any(letter.isprintable() and not letter.isspace() for letter in text):
        raise BadSampleError("empty_caption")
    return text.strip()
