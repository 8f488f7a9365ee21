"""Text files that hold no text, or numbers and lists that no program reads, are named."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ladder.config.files import read_json

FILES = {
    "UTF-16": ('{"a": 1}\n'.encode("utf-16"), "must be UTF-8 text"),
    "bytes": (b"\x89PNG\r\n\x1a\n\xff", "must be UTF-8 text"),
    "a number of 5,000 digits": (b'{"a": ' + b"9" * 5000 + b"}\n", "Exceeds the limit"),
    "a bomb of brackets": (b"[" * 100_000, "recursion depth"),
    "half a file": (b'{"a": ', "Expecting value"),
    "nothing": (b"", "Expecting value"),
}
"""What stands in a file, and what is said of it."""


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_json_is_named(name: str, tmp_path: Path):
    content, reason = FILES[name]
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"file\.json must be ") as caught:
        read_json(tmp_path / "file.json")
    assert reason in str(caught.value)


@pytest.mark.parametrize("words", [["score", "gedit"], ["score", "tiif"], ["table"]])
@pytest.mark.parametrize("name", [*FILES][:-1])
def test_a_verb_names_the_file(
    name: str, words: list[str], tmp_path: Path, refused: Callable[..., str]
):
    content, reason = FILES[name]
    (tmp_path / "file.json").write_bytes(content)
    said = refused(*words, "file.json")
    assert "file.json" in said
    assert reason in said


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("pipe", "a pipe or device"), ("folder", "a folder"), ("read-only", "read-only")],
)
def test_observations_never_replace_what_must_not_be_lost(
    kind: str, reason: str, tmp_path: Path, refused: Callable[..., str]
):
    """A pipe would be waited for without end."""
    path = tmp_path / "kept.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_text("kept")
        path.chmod(0o444)
    said = refused("observe", "geneval", ".", "-o", "kept.json", "--judge", "detector")
    assert f"kept.json: {reason}" in said
