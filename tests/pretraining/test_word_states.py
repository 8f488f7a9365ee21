"""The states of words: those of the encoder, each word in its place and in its group."""

from __future__ import annotations

from itertools import accumulate

import pytest
import torch
from tests.tiny import tiny_sana
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerFast

from ladder.pretraining.word_states import state_of_nothing, states_of_words

NAMES = [" color", " shape", " size"]


@pytest.fixture(scope="module")
def speaker(tmp_path_factory):
    folder = tiny_sana(tmp_path_factory.mktemp("sana") / "sana")
    encoder = AutoModel.from_pretrained(folder, subfolder="text_encoder", dtype=torch.float32)
    return encoder.eval(), AutoTokenizer.from_pretrained(folder, subfolder="tokenizer")


def last_state(encoder, tokenizer, text: str) -> torch.Tensor:
    return encoder(tokenizer(text, return_tensors="pt").input_ids).last_hidden_state[0, -1]


@torch.no_grad()
@pytest.mark.parametrize("groups", [[1, 1, 1], [2, 1], [1, 2], [3], [1, 5]])
def test_each_word_stands_behind_its_group_and_the_names_before_that(speaker, groups):
    templates = [(" red", " star", " large"), (" blue", " star", " size"), (" red", "", " large")]
    states = states_of_words(*speaker, templates, NAMES, groups)
    starts = zip([0, *accumulate(groups)], groups, strict=False)
    first = [start for start, size in starts for _ in range(size)]
    for template, row in zip(templates, states, strict=True):
        for field, state in enumerate(row):
            text = "".join((*NAMES[: first[field]], *template[first[field] : field + 1]))
            torch.testing.assert_close(state, last_state(*speaker, text), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_word_does_not_depend_on_other_groups(speaker):
    templates = [(" red", " star", " large"), (" blue", " star", " large")]
    alone, behind = states_of_words(*speaker, templates, NAMES, [1, 2])
    assert torch.equal(alone[1:], behind[1:])
    assert not torch.allclose(alone[0], behind[0], atol=1e-3)
    alone, behind = states_of_words(*speaker, templates, NAMES, [2, 1])
    assert torch.equal(alone[2], behind[2])
    assert not torch.allclose(alone[1], behind[1], atol=1e-3)


def test_fields_without_a_group_are_an_error(speaker):
    with pytest.raises(ValueError, match=r"groups must hold all 3 fields, got \[1, 1\]"):
        states_of_words(*speaker, [(" red", " star", " large")], NAMES, [1, 1])


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
