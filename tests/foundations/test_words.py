"""The states of words: those of the encoder, each word in its place and by itself."""

from __future__ import annotations

import pytest
import torch
from tests.tiny import tiny_sana
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerFast

from ladder.foundations.words import state_of_nothing, states_of_words

NAMES = [" color", " shape", " size"]


@pytest.fixture(scope="module")
def speaker(tmp_path_factory):
    folder = tiny_sana(tmp_path_factory.mktemp("sana") / "sana")
    encoder = AutoModel.from_pretrained(folder, subfolder="text_encoder", dtype=torch.float32)
    return encoder.eval(), AutoTokenizer.from_pretrained(folder, subfolder="tokenizer")


def last_state(encoder, tokenizer, text: str) -> torch.Tensor:
    return encoder(tokenizer(text, return_tensors="pt").input_ids).last_hidden_state[0, -1]


@torch.no_grad()
def test_each_word_stands_behind_the_names_before_it(speaker):
    forms = [(" red", " star", " large"), (" blue", " star", " size")]
    states = states_of_words(*speaker, forms, NAMES)
    for form, row in zip(forms, states, strict=True):
        for field, state in enumerate(row):
            text = "".join(NAMES[:field]) + form[field]
            torch.testing.assert_close(state, last_state(*speaker, text), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_word_does_not_depend_on_the_others(speaker):
    first, second = states_of_words(*speaker, [(" red", " star"), (" blue", " star")], NAMES)
    assert torch.equal(first[1], second[1])
    assert not torch.allclose(first[0], second[0], atol=1e-3)


@torch.no_grad()
def test_an_empty_text_says_what_every_text_begins_with(speaker):
    encoder, tokenizer = speaker
    states = encoder(tokenizer("a red star", return_tensors="pt").input_ids).last_hidden_state
    torch.testing.assert_close(state_of_nothing(*speaker), states[0, 0], atol=1e-5, rtol=1e-5)


def test_a_tokenizer_without_a_start_is_an_error(speaker):
    encoder, _ = speaker
    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0}, "a")))
    with pytest.raises(ValueError, match="a token of its own, got none"):
        state_of_nothing(encoder, bare)
