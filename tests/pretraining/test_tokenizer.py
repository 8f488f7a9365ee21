"""The toy tokenizer loses nothing, knows the world's words, and splits a chat where turns meet."""

from __future__ import annotations

import itertools
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, Qwen2TokenizerFast

from ladder.evaluation.toy.test_set import evaluation_questions
from ladder.pretraining.tokenizer import SPECIAL_TOKENS, SYSTEMS, train_tokenizer
from ladder.world import edits, sampling
from ladder.world.language import NUMBERS, PLACES, RELATIONS
from ladder.world.scenes import BACKGROUNDS, CELL_NAMES, COLORS, SHAPES, SIZES

WORDS = [
    *BACKGROUNDS, *CELL_NAMES, *COLORS, *SHAPES, *SIZES, "any", "empty", "background",
    *NUMBERS[1:7],
]  # fmt: skip
"""All words of which specifications and grids consist."""


@given(text=st.text())
def test_any_text_comes_back(tokenizer: Qwen2TokenizerFast, text: str):
    """Up to Unicode's composed form, as Qwen2's; special tokens that are spelt out included."""
    back = tokenizer.decode(tokenizer(text).input_ids, clean_up_tokenization_spaces=False)
    assert back == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("token", SPECIAL_TOKENS)
def test_a_special_token_is_one_token(tokenizer: Qwen2TokenizerFast, token: str):
    """In the middle of a word too, and is left out of what is shown."""
    number = tokenizer.convert_tokens_to_ids(token)
    ids = tokenizer(f"a{token}b").input_ids
    assert ids.count(number) == 1
    assert len(ids) == 3
    assert tokenizer.decode(ids, skip_special_tokens=True) == "ab"


def test_the_ends_are_qwen_s(tokenizer: Qwen2TokenizerFast):
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.pad_token == "<|endoftext|>"
    assert tokenizer.padding_side == "left"
    assert len({*SPECIAL_TOKENS}) == len(SPECIAL_TOKENS) == 14


@pytest.mark.parametrize("word", sorted({*WORDS}))
def test_a_word_of_the_world_is_one_token(tokenizer: Qwen2TokenizerFast, word: str):
    assert len(tokenizer(f" {word}").input_ids) == 1


def test_words_of_places_and_relations_are_one_token(tokenizer: Qwen2TokenizerFast):
    ways = itertools.chain(*PLACES, *RELATIONS.values())
    words = {word for way in ways for word in way.split()}
    assert [word for word in words if len(tokenizer(f" {word}").input_ids) > 1] == []


def test_a_text_of_the_world_has_about_as_many_tokens_as_words(tokenizer: Qwen2TokenizerFast):
    rng = np.random.default_rng(5)
    texts = [
        caption.text for _ in range(60) for caption in sampling.draw_captioned(rng, 2).captions
    ]
    words = sum(len(text.split()) for text in texts)
    assert sum(len(tokenizer(text).input_ids) for text in texts) < 1.4 * words


def pieces(rng: np.random.Generator) -> list[tuple[str, str, str]]:
    """System text, the user's words and the answer, of captions, edits and questions."""
    captions = [sampling.draw_captioned(rng, 1).captions[0] for _ in range(25)]
    changes = [edits.draw_edit(rng, 1) for _ in range(25)]
    asked = evaluation_questions(2, seed=3)
    return [
        *((SYSTEMS[0], caption.text, caption.specification) for caption in captions),
        *((SYSTEMS[0], edit.instructions[0], "background slate") for edit in changes),
        *((SYSTEMS[1], question.text, question.answer) for question in asked),
        (SYSTEMS[0], "", "background slate"),
    ]


@pytest.mark.parametrize("picture", [True, False])
def test_pieces_are_tokenised_as_the_whole_chat(tokenizer: Qwen2TokenizerFast, picture: bool):
    """Rows are packed from pieces, but the MLLM is asked in whole chats: they must be the same."""
    for system, words, answer in pieces(np.random.default_rng(6)):
        content = [{"type": "image"}] * picture + [{"type": "text", "text": words}]
        chat = [
            {"role": "system", "content": system},
            {"role": "user", "content": content},
            {"role": "assistant", "content": answer},
        ]
        whole = tokenizer.apply_chat_template(chat, tokenize=False)
        vision = "<|vision_start|><|image_pad|><|vision_end|>" * picture
        parts = (
            f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{vision}",
            f"{words}<|im_end|>\n<|im_start|>assistant\n",
            f"{answer}<|im_end|>",
        )
        assert "".join(parts) + "\n" == whole
        ids = [number for part in parts for number in tokenizer(part).input_ids]
        assert ids + tokenizer("\n").input_ids == tokenizer(whole).input_ids


def test_the_prompt_of_a_chat_is_its_beginning(tokenizer: Qwen2TokenizerFast):
    asked = [{"role": "user", "content": "what is the background?"}]
    answered = [*asked, {"role": "assistant", "content": "slate"}]
    prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(answered, tokenize=False)
    assert whole == f"{prompt}slate<|im_end|>\n"


def test_one_seed_gives_one_tokenizer(tmp_path: Path):
    """And what is saved opens with transformers as it was."""
    one, same, other = (train_tokenizer(seed, texts=60) for seed in (1, 1, 2))
    assert one.backend_tokenizer.to_str() == same.backend_tokenizer.to_str()
    assert one.backend_tokenizer.to_str() != other.backend_tokenizer.to_str()
    one.save_pretrained(tmp_path)
    opened = AutoTokenizer.from_pretrained(tmp_path)
    text = "Résumé: draw 3 red stars<|im_end|>\n\n  <|image_pad|>…"
    assert opened(text).input_ids == one(text).input_ids
    assert opened.chat_template == one.chat_template
    assert (opened.eos_token, opened.pad_token) == (one.eos_token, one.pad_token)
    assert opened.padding_side == "left"
