"""Settings: a link gives them back exactly, and whatever is out of range is refused by name."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladder.playground.settings import (
    MAXIMUM_SEED,
    MAXIMUM_TEXT,
    Settings,
    caption,
    check_text,
    file_stem,
    from_query,
    to_query,
)

PLAIN = Settings("generate", "a red star", (1.0, 1.0, 1.0))
WEIGHT = st.floats(0, 2)
SETTINGS = st.builds(
    Settings,
    task=st.sampled_from(["generate", "edit", "compare", "inside"]),
    prompt=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    rungs=st.tuples(WEIGHT, WEIGHT, WEIGHT),
    seed=st.integers(0, MAXIMUM_SEED),
    steps=st.integers(1, 100),
    guidance=st.floats(0, 20),
    image_guidance=st.floats(0, 20),
    pictures=st.integers(1, 4),
)


@given(SETTINGS)
def test_a_link_gives_the_same_settings(settings: Settings):
    query = dict(parse_qsl(to_query(settings), keep_blank_values=True))
    assert from_query(query, 3) == settings


def test_what_a_link_leaves_out_is_the_default():
    assert from_query({}, 3) == Settings("generate", "", (1.0, 1.0, 1.0))
    assert from_query({"seed": "7"}, 2) == Settings("generate", "", (1.0, 1.0), seed=7)


def test_a_caption_names_all_settings():
    one = Settings("generate", " a red star ", (1.0, 0.05, 0.0), seed=7, steps=9, guidance=2.5)
    assert caption(one) == "a red star · seed 7 · 9 steps · guidance 2.5 · rungs 1 0.05 0"
    two = replace(one, task="edit", pictures=2)
    assert caption(two) == (
        "a red star · seed 7 to 8 · 9 steps · guidance 2.5 · image guidance 1.5 · rungs 1 0.05 0"
    )


@given(SETTINGS, SETTINGS)
def test_files_of_other_settings_have_other_names(one: Settings, other: Settings):
    same = replace(other, prompt=one.prompt, task=one.task)
    named = {file_stem(one, 0), file_stem(same, 0)}
    shown = {caption(replace(each, pictures=1)) for each in (one, same)}
    assert len(named) == len(shown)


def test_a_file_is_named_by_its_own_seed():
    assert file_stem(PLAIN, 2) == "a-red-star_seed2_steps20_guidance3_rungs1-1-1"


@given(st.text())
def test_a_file_name_has_no_path(prompt: str):
    assert not set(file_stem(replace(PLAIN, prompt=prompt), 0)) & set('/\\:*?"<>|\0')


def test_settings_are_plain_while_no_rung_is_changed():
    assert PLAIN.plain
    assert not replace(PLAIN, rungs=(1.0, 1.05, 1.0)).plain


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"sed": "1"}, "a link may name task, prompt, rungs, .*, got 'sed'"),
        ({"seed": "one"}, "seed of a link must be a number, got 'one'"),
        ({"rungs": "1,,1"}, "rungs of a link must be a number, got '1,,1'"),
        ({"rungs": "1,1"}, "this ladder has 3 rungs, the link weighs 2"),
        ({"rungs": "1,nan,1"}, "the weight of a rung is 0 to 2.0, got nan"),
        ({"task": "ask"}, "task must be generate or edit or compare or inside, got 'ask'"),
        ({"steps": "1000000000"}, "steps must be 1 to 100, got 1000000000"),
        ({"guidance": "inf"}, "guidance must be 0 to 20.0, got inf"),
    ],
)
def test_a_link_that_asks_for_what_cannot_be(query: dict[str, str], message: str):
    with pytest.raises(ValueError, match=message):
        from_query(query, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": -1}, "seed must be 0 to 4294967295, got -1"),
        ({"pictures": 5}, "pictures must be 1 to 4, got 5"),
        ({"image_guidance": float("nan")}, "image_guidance must be 0 to 20.0, got nan"),
        ({"rungs": (1.0, 2.5, 1.0)}, "the weight of a rung is 0 to 2.0, got 2.5"),
        ({"prompt": "a" * (MAXIMUM_TEXT + 1)}, "prompt must be at most 2000 characters, got 2001"),
    ],
)
def test_settings_out_of_range(change: dict, message: str):
    with pytest.raises(ValueError, match=message):
        replace(PLAIN, **change)


def test_a_text_may_be_as_long_as_the_limit():
    check_text("question", "a" * MAXIMUM_TEXT)
    with pytest.raises(ValueError, match="question must be at most 2000 characters, got 2001"):
        check_text("question", "a" * (MAXIMUM_TEXT + 1))
