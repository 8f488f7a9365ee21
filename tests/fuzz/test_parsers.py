"""The parsers of what comes from outside, under input that hypothesis makes up.

A few seconds each, as any other test; `make fuzz` takes thousands of examples, and then lets
coverage lead (`guided.py`). So no property here takes a fixture.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import tempfile
from functools import cache, partial
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from tests.tiny import (
    PLAIN_ADDED_TOKENS,
    SPECIAL_TOKENS,
    tiny_image_processor,
    tiny_picture,
    tiny_tokenizer,
)

from ladder.cli.main import one_line
from ladder.config.layers import build, overlay
from ladder.config.load import Config, ConfigError, load
from ladder.data.sources.record import Rejected
from ladder.data.sources.tar import index_tar
from ladder.data.sources.webdataset import WebdatasetShard
from ladder.evaluation.scorers import gedit, geneval2, imgedit, rise, uge, wise
from ladder.evaluation.scorers.judge_text import is_refusal, yes_or_no
from ladder.evaluation.scorers.score_file import SCORERS, score
from ladder.models.mllm.prompts import HOLE, Prompter

ROOT = Path(__file__).parents[2]

# ---- a caption to a prompt ----

PIECES = (*SPECIAL_TOKENS, *PLAIN_ADDED_TOKENS, HOLE, "{{ messages }}", "{%", "system\n", "\x00")
CAPTIONS = st.lists(st.sampled_from(PIECES) | st.text(max_size=20), max_size=60).map("".join)


@cache
def prompter() -> Prompter:
    tokenizer = tiny_tokenizer()
    image_token = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    return Prompter(tokenizer, tiny_image_processor(), image_token)


@cache
def around() -> tuple[list[int], list[int]]:
    """The tokens before and after the text of a prompt with a picture."""
    rows = prompter().prepare(["x", "y"], [[tiny_picture(0)]] * 2).input_ids.tolist()
    place = next(n for n, (x, y) in enumerate(zip(*rows, strict=True)) if x != y)
    return rows[0][:place], rows[0][place + 1 :]


@given(CAPTIONS)
def test_a_caption_stays_between_the_tokens_of_the_template(caption: str):
    """As ordinary tokens that say the caption, or a beginning of it, and nothing else."""
    before, after = around()
    row = prompter().prepare([caption], [[tiny_picture(0)]]).input_ids[0].tolist()
    assert row[: len(before)] == before
    assert row[len(row) - len(after) :] == after
    own = row[len(before) : len(row) - len(after)]
    tokenizer = prompter().tokenizer
    assert not set(own) & set(tokenizer.added_tokens_decoder)
    said = tokenizer.decode(own)
    assert len(own) <= 256
    assert said == caption if len(own) < 250 else caption.startswith(said)


# ---- the merging of configurations ----

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["norm", "list", "last_n", "robust", "t2i", "bf16-mixed", 1, 0.5, 2**70]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@cache
def shipped() -> Config:
    return load(root=ROOT)


@cache
def paths() -> list[tuple[str, ...]]:
    """Every key of the configuration, sections included, as the names that lead to it."""

    def below(values: dict[str, Any], path: tuple[str, ...]) -> list[tuple[str, ...]]:
        found = []
        for name, value in values.items():
            found.append((*path, name))
            if isinstance(value, dict):
                found += below(value, (*path, name))
        return found

    return below(shipped().as_dict(), ())


@st.composite
def layers(draw: st.DrawFn) -> dict[Any, Any]:
    """Some keys that there are, and perhaps one that there isn't, with any values."""
    layer: dict[Any, Any] = {}
    for path in draw(st.lists(st.sampled_from(paths()), max_size=4)):
        place = layer
        for name in path[:-1]:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                return layer
        present = shipped().as_dict()
        for name in path:
            present = present[name] if isinstance(present, dict) else None
        place[path[-1]] = draw(VALUES | st.just(present))
    if draw(st.integers(0, 9)) == 0:
        layer[draw(st.text() | st.integers() | st.none())] = draw(VALUES)
    return layer


@given(layers(), layers())
@example({"\n": None}, {})
@example({"\x1b[31m": None}, {})
def test_layers_are_merged_or_refused_in_a_line(first: dict, second: dict):
    """What is merged is valid as a whole, has what the last layer says, and merges again."""
    config = shipped()
    try:
        config = overlay(config, first, "first")
        config = overlay(config, second, "second")
    except ConfigError as error:
        said = one_line(error)
        assert said.isprintable()
        assert said.startswith(("first: ", "second: "))
        return
    assert build(Config, json.loads(json.dumps(config.as_dict())), "again") == config
    assert overlay(config, second, "again") == config


# ---- the reader of tars ----

NAMES = st.text(max_size=12) | st.sampled_from(
    ["a.txt", "a.png", "b.json", "../a.txt", "/a.png", "x" * 300]
)
PATCHES = st.lists(st.tuples(st.integers(0, 6000), st.binary(max_size=12)), max_size=4)
KINDS = st.sampled_from([
    tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE,
    tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE,
    tarfile.XGLTYPE, b"V", b"9",
])  # fmt: skip
HEADERS = st.dictionaries(
    st.sampled_from(["path", "size", "linkpath", "GNU.sparse.map", "GNU.sparse.size", "mtime",
                     "GNU.sparse.major", "GNU.sparse.minor", "hdrcharset"]),
    st.text(max_size=8) | st.integers(-5, 2**64).map(str),
    max_size=2,
)  # fmt: skip


@st.composite
def tars(draw: st.DrawFn) -> bytes:
    """A tar of strange members, some bytes of which were changed, perhaps cut off."""
    file = io.BytesIO()
    form = draw(st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
    with tarfile.open(fileobj=file, mode="w", format=form, errors="surrogateescape") as tar:
        for _ in range(draw(st.integers(0, 4))):
            info = tarfile.TarInfo(draw(NAMES).encode(errors="replace").decode()[:90])
            content = draw(st.binary(max_size=700))
            info.size, info.type, info.pax_headers = len(content), draw(KINDS), draw(HEADERS)
            tar.addfile(info, io.BytesIO(content))
    data = bytearray(file.getvalue())
    for place, patch in draw(PATCHES):
        data[place : place + len(patch)] = patch
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


@given(tars() | st.binary(max_size=2000))
def test_a_tar_is_listed_as_far_as_it_goes(data: bytes):
    """Without an error, within the file, and every record gets one verdict."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tar"
        path.write_bytes(data)
        index = index_tar(path)
        for member in index.members:
            if member.extent is not None:
                assert 0 <= member.extent.offset <= len(data) - member.extent.size
                assert len(member.extent.read()) == member.extent.size
        records = WebdatasetShard(path).records()
        for record in records:
            loaded = record if isinstance(record, Rejected) else record.load(10_000)
            if isinstance(loaded, Rejected):
                assert loaded.reason
                loaded.key.encode()
        assert records or not index.fault
        assert [file.name for file in Path(folder).iterdir()] == ["a.tar"]


# ---- the answers of judges ----

ANSWERS = st.lists(
    st.sampled_from(["Yes", "no", "**Score", ": ", "5", "4/5", ".", "\n", "\u00b2", "\u0663", "-1",
                     "Instruction Compliance: 3", "9" * 400, " " * 50, "*" * 50])
    | st.text(max_size=10),
    max_size=20,
).map("".join)  # fmt: skip


@given(ANSWERS)
@example("Score: \u00b2")
@example("Score: " + "9" * 5000)
@example("*" * 20_000 + ":" + " " * 20_000)
@example("\n" * 50_000)
@example("<answer>" * 10_000)
@example("score" + " " * 50_000)
@example("realism" + " " * 50_000)
@example("final score" * 5_000 + "*" * 50_000)
@example("I can't " * 10_000)
def test_any_answer_of_a_judge_is_read(text: str):
    assert yes_or_no(text) in ("yes", "no", None)
    fits = [partial(geneval2.fits, question=asked) for asked in ("How many?", "Is it?")]
    for read in (wise.fixed_wiscore, wise.fixed_binary, wise.official_wiscore, wise.official_binary,
                 gedit.fixed_numbers, rise.fixed_number, uge.fixed, is_refusal, *fits):  # fmt: skip
        read(text)
    assert wise.bare_lines(text[:99], "012") == re.findall(r"(?m)^\s*([0-2])\s*$", text[:99])
    official, fixed = imgedit.official(text), imgedit.fixed(text)
    assert official is None or official >= 0
    assert fixed is None or 1 <= fixed <= 5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["prompts", "item_id", "answers", "prompt_index", "detections", "records",
                         "judge", "model", "attribute", "length", "row", "expected", "answered",
                         "name", "judge_text", "type", "1", "box", "score", "tag", "include"]),
        inner, max_size=5),
    max_leaves=12,
)  # fmt: skip
OBSERVATIONS = JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60)
QUESTION_ROWS = b"item_id,proposition_id,dependency,tuple\na,1,0,entity\na,2,1,color\n"


@given(st.sampled_from(sorted(SCORERS)), OBSERVATIONS, OBSERVATIONS | st.just(QUESTION_ROWS))
@example("imgedit", b"\x1f\x8b\x08", b"")
@example("imgedit", b"\x1f\x8b\xff", b"")
@example("tiif", b"[" * 5000, b"")
@example("geneval", b'{"prompt_index": 9, "detections": {}}', b"{}")
@example("geneval", b"", b"{}")
@example("dpg", b'{"prompts": [{"item_id": "a", "answers": []}]}', QUESTION_ROWS)
def test_any_file_of_observations_is_scored_or_refused(name: str, seen: bytes, asked: bytes):
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("seen", "asked")]
        for path, content in zip(files, (seen, asked), strict=True):
            path.write_bytes(content)
        try:
            found = score(name, *files, per_item=True)
        except ValueError:
            return
        assert found["benchmark"] == name
        json.dumps(found, allow_nan=False)
