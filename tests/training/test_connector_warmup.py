"""Connector warm-up: connectors learn the generator's words, and nothing else changes."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from PIL import Image
from tests.tiny import tiny_tokenizer
from tests.training.running import with_stage
from transformers import CLIPTextConfig, CLIPTextModel

from ladder.config.load import Config
from ladder.models.ladder import Ladder
from ladder.training import connector_warmup, stages
from ladder.training.connector_warmup import (
    Lesson,
    PrepareWarmup,
    Words,
    answered,
    named,
    scale_to,
    teach,
    warm_up,
)
from ladder.training.stages import run_stage


def fresh(config: Config, **changes) -> Ladder:
    model = dataclasses.replace(config.model, **changes)
    return Ladder.from_foundations(model, config.foundations, config.seed)


def with_warmup(config: Config, **changes) -> Config:
    """`config` with changes of its connector warm-up."""
    warmup = dataclasses.replace(config.connector_warmup, **changes)
    return dataclasses.replace(config, connector_warmup=warmup)


def words_of(config: Config, ladder: Ladder) -> Words:
    names = named(ladder, config.model)
    return Words.from_pretrained(
        config.foundations.generator, names, config.connector_warmup.groups
    )


@pytest.mark.parametrize("connectors", ["shared", "per_rung"])
def test_only_the_connectors_change(wordy, encoded, connectors):
    """Not the queries, the generator, or the MLLM, of which not even a gradient is left."""
    before, ladder = fresh(wordy, connectors=connectors), fresh(wordy, connectors=connectors)
    warm_up(wordy, ladder, encoded)
    changed = {
        name
        for (name, value), old in zip(
            ladder.state_dict().items(), before.state_dict().values(), strict=True
        )
        if not torch.equal(value, old)
    }
    assert changed
    assert all(name.startswith("connector.") for name in changed)
    assert {name.split(".")[1] for name in changed if connectors == "per_rung"} <= {"0", "1", "2"}
    others = [p for n, p in ladder.named_parameters() if not n.startswith("connector.")]
    assert all(parameter.grad is None for parameter in others)


def test_warming_up_twice_gives_the_same(wordy, encoded):
    first, second = fresh(wordy), fresh(wordy)
    for ladder in (first, second):
        warm_up(wordy, ladder, encoded)
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.connector.parameters(), second.connector.parameters(), strict=True)
    )


def test_the_connectors_come_nearer_to_the_words(wordy):
    ladder = fresh(wordy)
    asked = [
        PrepareWarmup(ladder)([text], [[]]) for text in ("", "a red circle", "two blue stars", "a")
    ]
    lesson = Lesson.of(ladder, words_of(wordy, ladder), asked, 4)
    assert lesson.states.shape == (3, 4, 4, 64)
    assert lesson.targets.shape == (4, 4, 48)
    losses = teach(ladder, lesson, dataclasses.replace(wordy.connector_warmup, steps=200), 0)
    assert len(losses) == 200
    assert sum(losses[-10:]) < 0.1 * sum(losses[:10])


def test_the_answer_is_that_of_the_last_layer(wordy):
    """The words are those of the MLLM's own forward over prompt and queries."""
    ladder = fresh(wordy)
    understanding = ladder.understanding
    prompts = understanding.prepare(["a red circle"], [[]])
    states, answers = answered(ladder, prompts)
    assert states.shape == (3, 1, 4, 64)
    inputs = torch.cat(
        [
            understanding.mllm.get_input_embeddings()(prompts.input_ids),
            ladder.queries[None],
        ],
        dim=1,
    )
    with torch.no_grad():
        logits = understanding.mllm(inputs_embeds=inputs).logits[0, -4:]
    decode = understanding.prompter.tokenizer.decode
    assert answers == [[decode(token) for token in logits.argmax(-1).tolist()]]


def test_a_word_is_taught_with_those_that_it_belongs_to(wordy):
    """The first word stands alone; the third behind the second, whatever the first is."""
    ladder = fresh(wordy)
    words = words_of(wordy, ladder)
    assert words.names == [" ", "re", "d"]
    answers = [
        [" a", " b", " star", " c"],
        [" x", " b", " star", " z"],
        [" a", " x", " star", " c"],
    ]
    states = words.states(answers, [False] * 3)
    assert states.shape == (3, 4, 48)
    tokens = words.tokenizer("  b star", return_tensors="pt")
    with torch.no_grad():
        read = words.encoder(tokens.input_ids).last_hidden_state[0]
    for state in states[:2, 2]:
        torch.testing.assert_close(state, read[-1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(states[0, 0], states[2, 0])
    assert not torch.allclose(states[0, 2], states[2, 2], atol=1e-3)


def test_no_groups_are_words_by_themselves(wordy, encoded, monkeypatch):
    asked = []

    class Asked(Words):
        @classmethod
        def from_pretrained(cls, source, names, groups):
            asked.append(groups)
            return super().from_pretrained(source, names, groups)

    monkeypatch.setattr(connector_warmup, "Words", Asked)
    config = with_warmup(wordy, groups=None)
    warm_up(config, fresh(config), encoded)
    assert asked == [[1, 1, 1]]


def test_without_text_and_picture_nothing_is_said(wordy):
    """Nor at queries beyond the words."""
    ladder = fresh(wordy)
    black, grey = Image.new("RGB", (28, 28)), Image.new("RGB", (28, 28), (9, 9, 9))
    texts, images = ["", "", "", "a"], [[], [black], [grey], []]
    asked = PrepareWarmup(ladder)(texts, images)
    assert asked.nothing == [True, True, False, False]
    states = words_of(wordy, ladder).states([[" a", " b", " c", " d"]] * 4, asked.nothing)
    start = states[0, 0]
    assert (states[:2] == start).all()
    assert (states[:, 3] == start).all()
    assert not (states[2:, :3] == start).all(-1).any()


def test_connectors_begin_at_the_scale_of_the_words(wordy):
    ladder = fresh(wordy)
    scale_to(ladder, torch.full((2, 4, 48), 3.0))
    said = ladder.connector(torch.randn(3, 2, 4, 64))
    assert said.square().mean().sqrt().item() == pytest.approx(3.0, rel=1e-3)


def test_only_the_first_stage_warms_up_and_only_at_its_start(wordy, encoded, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(stages, "warm_up", lambda *inputs: calls.append(inputs))
    config = with_stage(with_stage(wordy, "t2i", steps=3), "ti2i", steps=3)
    run_stage(config, "t2i", encoded, tmp_path)
    assert len(calls) == 1
    run_stage(config, "ti2i", encoded, tmp_path)
    assert len(calls) == 1
    run_stage(
        with_warmup(config, steps=0),
        "t2i",
        encoded,
        tmp_path,
    )
    assert len(calls) == 1


def test_random_queries_cannot_be_warmed_up(short):
    with pytest.raises(ValueError, match=r"begin as words \(model.query_text\), got 5 steps"):
        with_warmup(short, steps=5)


def test_a_generator_without_text_encoder_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="text encoder and a tokenizer beside the generator"):
        Words.from_pretrained(str(tmp_path), [], [])


def test_another_text_encoder_than_sanas_is_an_error(tmp_path):
    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    config = CLIPTextConfig(vocab_size=99, num_attention_heads=1, **small)
    CLIPTextModel(config).save_pretrained(tmp_path / "text_encoder")
    tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")
    with pytest.raises(ValueError, match="a Gemma2 beside the generator, got a CLIPTextM"):
        Words.from_pretrained(str(tmp_path), [], [])
