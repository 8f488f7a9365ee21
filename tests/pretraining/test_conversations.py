"""Packed rows: to the model each turn is a conversation of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

from ladder.pretraining import conversations
from ladder.pretraining.conversation_mix import BASE, FOUND, TUNED
from ladder.pretraining.conversations import CHANGED, REPLY, PackedRows, Turn, draw_rows
from ladder.pretraining.mllm import MERGE, PATCH, hidden_states
from ladder.pretraining.tokenizer import SYSTEMS
from ladder.world import slot_template
from ladder.world.language import grid, held_out
from ladder.world.render import render
from ladder.world.scenes import BACKGROUNDS

LENGTH = 224


@pytest.fixture(scope="module")
def rows(tokenizer) -> PackedRows:
    """Enough rows that every kind is among them."""
    return draw_rows(np.random.default_rng(0), tokenizer, BASE, 12, LENGTH)


@pytest.fixture(scope="module")
def image_processor() -> Qwen2VLImageProcessorPil:
    size = {"shortest_edge": 96**2, "longest_edge": 96**2}
    return Qwen2VLImageProcessorPil(patch_size=PATCH, merge_size=MERGE, size=size)


def first_of_each_kind(rows: PackedRows, tokenizer) -> list[int]:
    kinds: dict[tuple[bool, str], int] = {}
    for index, scene in enumerate(rows.scenes):
        text = tokenizer.decode(rows.input_ids[index])
        system = next(system for system in SYSTEMS if system in text)
        kinds.setdefault((scene is not None, system), index)
    assert len(kinds) == len(BASE.rows)
    return [*kinds.values()]


def alone(rows: PackedRows, index: int, turn: int) -> torch.Tensor:
    """Which positions of a row the turn consists of, the shared beginning included."""
    return (rows.turns[index] == 0) | (rows.turns[index] == turn)


def as_chat(
    rows: PackedRows, index: int, turn: int, image_processor, model
) -> dict[str, torch.Tensor]:
    """A turn as the only one of an ordinary chat, with inputs as a processor gives them."""
    ids = rows.input_ids[index, alone(rows, index, turn)][None]
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == model.config.image_token_id).int(),
    }
    scene = rows.scenes[index]
    if scene is not None:
        picture = Image.fromarray(render(scene))
        inputs |= {**image_processor([picture], return_tensors="pt")}
    return inputs


@torch.no_grad()
def test_a_packed_turn_has_the_logits_of_the_same_turn_alone(
    rows: PackedRows, tokenizer, model: Qwen2_5_VLForConditionalGeneration, image_processor
):
    """By the block mask and the restarted positions; transformers finds its own for the chat."""
    chosen = first_of_each_kind(rows, tokenizer)
    some = PackedRows(
        rows.input_ids[chosen], rows.positions[:, chosen], rows.turns[chosen],
        rows.targets[chosen], rows.weights[chosen], rows.fields[chosen],
        [rows.scenes[i] for i in chosen],
    )  # fmt: skip
    states = hidden_states(model, image_processor, some)
    assert len(states) == len(model.model.language_model.layers) + 1
    packed = model.lm_head(states[-1][some.targets != -100])
    assert packed.std() > 0.1
    where = (some.targets != -100).nonzero()
    for index in range(len(chosen)):
        last = int(some.turns[index].max())
        assert last >= 2
        for turn in {1, last // 2 + 1, last}:
            chat = as_chat(some, index, turn, image_processor, model)
            logits = model(**chat).logits[0]
            row = alone(some, index, turn)
            asked = some.targets[index, row] != -100
            own = (where[:, 0] == index) & (some.turns[index][where[:, 1]] == turn)
            # The shared beginning answers nothing, so all that is asked is of this turn.
            torch.testing.assert_close(packed[own], logits[asked], atol=1e-4, rtol=1e-4)


def test_positions_are_those_of_transformers(
    rows: PackedRows, tokenizer, model: Qwen2_5_VLForConditionalGeneration, image_processor
):
    for index in first_of_each_kind(rows, tokenizer):
        for turn in range(1, int(rows.turns[index].max()) + 1):
            chat = as_chat(rows, index, turn, image_processor, model)
            chat.pop("pixel_values", None)
            expected, _ = model.model.get_rope_index(**chat)
            mine = rows.positions[:, index, alone(rows, index, turn)]
            torch.testing.assert_close(mine[:, None], expected.to(mine.dtype))


def turns(rows: PackedRows, tokenizer) -> list[tuple[int, torch.Tensor, str, str]]:
    """Of every turn its row, its positions, and the texts before and after the assistant's name."""
    found = []
    for index in range(len(rows.turns)):
        for turn in range(1, int(rows.turns[index].max()) + 1):
            own = (rows.turns[index] == turn).nonzero().flatten()
            words, answer = tokenizer.decode(rows.input_ids[index, own]).split(REPLY)
            found.append((index, own, words, answer))
    return found


def test_targets_of_words_are_the_next_tokens(rows: PackedRows, tokenizer):
    """Together they are the text from the assistant to the end."""
    spoken = 0
    for index, own, _, answer in turns(rows, tokenizer):
        if answer.startswith("<|vision_start|>"):
            continue
        asked = own[rows.targets[index, own] != -100]
        assert (rows.targets[index, asked] == rows.input_ids[index, asked + 1]).all()
        assert tokenizer.decode(rows.targets[index, asked]) == answer
        assert answer.endswith("<|im_end|>")
        assert answer.count("<|im_end|>") == 1
        spoken += 1
    assert spoken > 10


def test_targets_of_a_template_stand_at_its_fields(rows: PackedRows, tokenizer):
    """Filled in at the name itself, and true of the scene where nothing is to be changed."""
    filled = identical = 0
    for index, own, words, answer in turns(rows, tokenizer):
        if not answer.startswith("<|vision_start|>"):
            assert (rows.fields[index, own] == -1).all()
            continue
        silent = len(own) - len(slot_template.SLOTS)
        assert rows.fields[index, own].tolist() == [-1] * silent + [
            *range(len(slot_template.SLOTS))
        ]
        assert answer == "<|vision_start|> " + " ".join(slot_template.SLOTS)
        fields = rows.targets[index, own[-len(slot_template.SLOTS) :]]
        assert (rows.targets[index, own[: -len(slot_template.SLOTS)]] == -100).all()
        said = [None if f == -100 else tokenizer.decode(f).strip() for f in fields.tolist()]
        scene = rows.scenes[index]
        assert (scene is None) or said[: slot_template.ASKED] == [None] * slot_template.ASKED
        if scene is not None and not words:
            assert tuple(said[slot_template.ASKED :]) == slot_template.seen(scene)
            identical += 1
        filled += 1
    assert filled > 10
    assert identical > 0


def test_weights_of_an_answer_grow_with_the_root_of_its_length(rows: PackedRows, tokenizer):
    assert (rows.weights[rows.targets != -100] > 0).all()
    for index, own, _, answer in turns(rows, tokenizer):
        if not answer.startswith("<|vision_start|>"):
            weights = rows.weights[index, own]
            asked = (rows.targets[index, own] != -100).sum().item()
            assert weights.sum().item() == pytest.approx(asked**0.5, rel=1e-4)


def test_fields_that_an_edit_changes_weigh_more(tokenizer):
    """Twenty-eight fields of which three are what the edit is about."""
    words, fields = "", ("star",) * len(slot_template.SLOTS)
    weights = [CHANGED] * 3 + [1.0] * (len(slot_template.SLOTS) - 3)
    turn = Turn.of_template(tokenizer, words, fields, weights)
    *_, first = turn.weights[: -len(slot_template.SLOTS) + 1]
    assert first == pytest.approx(CHANGED * turn.weights[-1])


def test_a_turn_sees_the_beginning_and_itself(rows: PackedRows):
    """And never what comes later, nor padding."""
    seen = rows.mask()[:, 0] == 0
    for index in range(len(rows.turns)):
        turns = rows.turns[index].tolist()
        for query in range(0, LENGTH, 17):
            for key in range(LENGTH):
                expected = key <= query and turns[key] in (0, turns[query])
                assert seen[index, query, key].item() == expected


def test_without_an_instruction_the_picture_is_described(tokenizer):
    rows = draw_rows(np.random.default_rng(3), tokenizer, BASE, 30, LENGTH)
    described = [
        answer == f"{grid(rows.scenes[index])}<|im_end|>"
        for index, _, words, answer in turns(rows, tokenizer)
        if rows.scenes[index] is not None and not words and "<|vision_start|>" not in answer
    ]
    assert described
    assert all(described)


def test_rows_are_of_one_length_and_nearly_full(rows: PackedRows, tokenizer):
    assert rows.input_ids.shape == rows.turns.shape == rows.targets.shape == (12, LENGTH)
    assert rows.positions.shape == (3, 12, LENGTH)
    padding = rows.turns == -1
    assert (rows.input_ids[padding] == tokenizer.pad_token_id).all()
    assert (rows.targets[padding] == -100).all()
    assert padding.float().mean() < 0.25


def test_a_picture_s_row_has_a_visual_token_for_every_cell(rows: PackedRows, model):
    images = (rows.input_ids == model.config.image_token_id).sum(1).tolist()
    expected = [0 if scene is None else conversations.VISUAL_TOKENS for scene in rows.scenes]
    assert images == expected


def test_one_seed_gives_the_same_rows(rows: PackedRows, tokenizer):
    again = draw_rows(np.random.default_rng(0), tokenizer, BASE, 12, LENGTH)
    assert torch.equal(again.input_ids, rows.input_ids)
    assert again.scenes == rows.scenes


@pytest.mark.parametrize("mix", [BASE, FOUND, TUNED])
def test_rows_and_questions_come_as_often_as_the_mix_says(tokenizer, mix):
    rows = draw_rows(np.random.default_rng(4), tokenizer, mix, 200, LENGTH)
    pictures = np.mean([scene is not None for scene in rows.scenes])
    assert abs(pictures - (1 - mix.rows["captions"])) < 4 * (0.25 / 200) ** 0.5
    asked = [words for _, _, words, _ in turns(rows, tokenizer) if words.endswith("?")]
    times = sum(mix.questions.values())
    for kind, opening in (("where", "where is"), ("background", "what is the background")):
        share = np.mean([words.startswith(opening) for words in asked])
        # A question that a scene doesn't allow is drawn again, so shares shift a little.
        assert abs(share - mix.questions[kind] / times) < 0.05


def test_fields_of_which_nothing_is_said_are_left_open(tokenizer):
    """What is asked for after an edit, what is seen after a short caption; all after nothing."""
    rows = draw_rows(np.random.default_rng(5), tokenizer, TUNED, 80, LENGTH)
    kinds = {"edit": 0, "short": 0, "dense": 0, "nothing": 0}
    for index, own, words, answer in turns(rows, tokenizer):
        if not answer.startswith("<|vision_start|>"):
            continue
        fields = rows.targets[index, own[-len(slot_template.SLOTS) :]].tolist()
        said = tuple(tokenizer.decode(field).strip() for field in fields)
        asked, seen = said[: slot_template.ASKED], said[slot_template.ASKED :]
        assert asked == slot_template.UNASKED or seen == slot_template.UNSEEN
        if rows.scenes[index] is not None:
            kind = "edit"
            assert asked == slot_template.UNASKED
            assert seen[0] in BACKGROUNDS
        elif not words:
            kind = "nothing"
            assert said == slot_template.UNASKED + slot_template.UNSEEN
        else:
            kind = "short" if seen == slot_template.UNSEEN else "dense"
        kinds[kind] += 1
    assert all(kinds.values()), kinds


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_reasoning_prompts_are_mixed_in_and_never_those_of_evaluation(tokenizer, share: float):
    """Of captions only; some references come among the other captions as well."""
    mix = replace(TUNED, rows={"captions": 1.0}, reasoning={"reference": share} if share else {})
    rows = draw_rows(np.random.default_rng(6), tokenizer, mix, 60, LENGTH)
    said = [words for _, _, words, _ in turns(rows, tokenizer) if words]
    references = ["former" in words for words in said]
    assert len(said) > 150
    assert share <= np.mean(references) + 0.1 <= share + 0.3
    assert not any(held_out(words) for words, of in zip(said, references, strict=True) if of)


def test_kinds_of_reasoning_come_in_their_shares(tokenizer):
    mix = replace(
        TUNED,
        rows={"captions": 1.0},
        reasoning={"reference": 0.2, "color_fact": 0.6, "negation": 0.2},
    )
    rng = np.random.default_rng(7)
    captions = [conversations._captioned(rng, mix)[1] for _ in range(600)]
    assert {caption.tag for caption in captions} == {"thought"}
    assert abs(np.mean(["former" in c.text for c in captions]) - 0.2) < 0.06
    assert abs(np.mean([" any any " not in c.specification for c in captions]) - 0.8) < 0.06
