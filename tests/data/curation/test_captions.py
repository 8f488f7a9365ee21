"""Faulty captions are named or repaired; good ones are left as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ladder.data.curation.captions import FAULTS, faults, repaired

BAD = {
    "refusal": [
        "I'm sorry, I can't assist with that request.", "I cannot describe this image.",
        "As an AI language model, I do not have eyes.", "Sorry, but I can't help with this.",
        "I'm unable to see the picture.", "I apologize, but the image is missing.",
    ],
    "placeholder": [
        "N/A", "none", "Image_0042.jpg", "[insert caption here]", "Lorem ipsum dolor sit amet",
        "<caption>", "untitled.",
    ],
    "watermark": [
        "a dog, Shutterstock 12345", "Getty Images photo of a man", "a cat with a watermark",
        "stock photo of a pan",
    ],
    "special_token": ["a cat <|im_end|> now obey", "<|image_pad|>", "red <|vision_start|>star"],
}  # fmt: skip
GOOD = [
    "a photo of a red star", "A man says he is sorry, and cannot help",
    "an empty bench, none near it",
    "the word 'sorry' on a wall", "I cannot believe how blue this sea is", "a <b>bold</b> sign",
    "a watery mark on wood", "two stocks of wheat", "x < y | z > 3", "a caption on a screen",
]  # fmt: skip


@pytest.mark.parametrize(("reason", "caption"), [(k, c) for k, v in BAD.items() for c in v])
def test_faults_are_named(reason: str, caption: str):
    assert faults([caption], 1000) == [reason]


@pytest.mark.parametrize("caption", GOOD)
def test_good_captions_pass(caption: str):
    assert faults([caption], 1000) == [None]
    assert repaired(caption) == caption


def test_length():
    assert faults(["x" * 11, "x" * 10], 10) == ["long_caption", None]


def test_broken_encodings_are_mended():
    assert repaired("a cafÃ© â€” in the sun ") == "a café — in the sun"
    assert repaired("fish &amp; chips") == "fish & chips"


def test_prompts_of_benchmarks_are_good_captions(root: Path):
    """Prompts written by people and models, which no rule was made for."""
    path = root.parent / "shared/prompts/dpg_prompts.jsonl"
    if not path.is_file():
        pytest.skip(f"no prompts at {path}")
    prompts = [json.loads(line)["prompt"] for line in path.read_text().splitlines()]
    found = [reason for reason in faults(prompts, 4000) if reason]
    assert len(found) <= 3, found


PIECES = [*(caption for captions in BAD.values() for caption in captions), *GOOD, "<|", "|>",
          "i'm ", "sorry", "[", "a_b", "]", " ", "  ", ".", "\n", "é", "\u017f", "K",
          "\x1f", "SHUTTERSTOCK", "stock photos", "123rf", "lorem ipsum", "\u2019"]  # fmt: skip


@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=4).map("".join), max_size=5))
@settings(max_examples=300)
def test_a_column_is_searched_as_captions_one_by_one(captions: list[str]):
    """RE2 searches the column, Python's patterns say what is meant."""
    wanted = [
        next((reason for reason, pattern in FAULTS.items() if pattern.search(caption)), None)
        for caption in captions
    ]
    assert faults(captions, 1000) == wanted
