"""Packed rows: to the model each turn is a conversation of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

from ladder.foundations import conversations, mllm
from ladder.foundations.conversations import ROW_KINDS, Rows, draw_rows
from ladder.foundations.tokenizer import SYSTEMS
from ladder.world.language import grid
from ladder.world.render import render

LENGTH = 224


@pytest.fixture(scope="module")
def rows(tokenizer) -> Rows:
    """Enough rows that every kind is among them."""
    return draw_rows(np.random.default_rng(0), tokenizer, 12, LENGTH)


@pytest.fixture(scope="module")
def image_processor() -> Qwen2VLImageProcessorPil:
    size = {"shortest_edge": 96**2, "longest_edge": 96**2}
    return Qwen2VLImageProcessorPil(patch_size=mllm.PATCH, merge_size=mllm.MERGE, size=size)


def first_of_each_kind(rows: Rows, tokenizer) -> list[int]:
    kinds: dict[tuple[bool, str], int] = {}
    for index, scene in enumerate(rows.scenes):
        text = tokenizer.decode(rows.input_ids[index])
        system = next(system for system in SYSTEMS if system in text)
        kinds.setdefault((scene is not None, system), index)
    assert len(kinds) == len(ROW_KINDS)
    return [*kinds.values()]


def alone(rows: Rows, index: int, turn: int) -> torch.Tensor:
    """Which positions of a row the turn consists of, the shared beginning included."""
    return (rows.turns[index] == 0) | (rows.turns[index] == turn)


def as_chat(rows: Rows, index: int, turn: int, image_processor, model) -> dict[str, torch.Tensor]:
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
    rows: Rows, tokenizer, model: Qwen2_5_VLForConditionalGeneration, image_processor
):
    """By the block mask and the restarted positions; transformers finds its own for the chat."""
    chosen = first_of_each_kind(rows, tokenizer)
    some = Rows(
        rows.input_ids[chosen], rows.positions[:, chosen], rows.turns[chosen],
        rows.targets[chosen], rows.weights[chosen], [rows.scenes[i] for i in chosen],
    )  # fmt: skip
    packed, _, _ = mllm.answer_logits(model, image_processor, some)
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
    rows: Rows, tokenizer, model: Qwen2_5_VLForConditionalGeneration, image_processor
):
    for index in first_of_each_kind(rows, tokenizer):
        for turn in range(1, int(rows.turns[index].max()) + 1):
            chat = as_chat(rows, index, turn, image_processor, model)
            chat.pop("pixel_values", None)
            expected, _ = model.model.get_rope_index(**chat)
            mine = rows.positions[:, index, alone(rows, index, turn)]
            torch.testing.assert_close(mine[:, None], expected.to(mine.dtype))


def test_targets_are_the_answers_and_nothing_else(rows: Rows, tokenizer):
    """Each is the next token; together they are the texts from the assistant to the end."""
    for index in range(len(rows.input_ids)):
        asked = (rows.targets[index] != -100).nonzero().flatten()
        assert (rows.targets[index, asked] == rows.input_ids[index, asked + 1]).all()
        assert (rows.turns[index, asked] == rows.turns[index, asked + 1]).all()
        for turn in range(1, int(rows.turns[index].max()) + 1):
            text = tokenizer.decode(rows.input_ids[index, rows.turns[index] == turn])
            _, answer = text.split("<|im_start|>assistant\n")
            own = asked[rows.turns[index, asked] == turn]
            assert tokenizer.decode(rows.targets[index, own]) == answer
            assert answer.endswith("<|im_end|>")
            assert answer.count("<|im_end|>") == 1


def test_weights_of_an_answer_grow_with_the_root_of_its_length(rows: Rows):
    asked = rows.targets != -100
    assert (rows.weights[~asked] == 0).all()
    for index in range(len(rows.turns)):
        for turn in range(1, int(rows.turns[index].max()) + 1):
            own = rows.weights[index, asked[index] & (rows.turns[index] == turn)]
            assert own.sum().item() == pytest.approx(len(own) ** 0.5, rel=1e-4)


def test_a_turn_sees_the_beginning_and_itself(rows: Rows):
    """And never what comes later, nor padding."""
    seen = rows.mask()[:, 0] == 0
    for index in range(len(rows.turns)):
        turns = rows.turns[index].tolist()
        for query in range(0, LENGTH, 17):
            for key in range(LENGTH):
                expected = key <= query and turns[key] in (0, turns[query])
                assert seen[index, query, key].item() == expected


def test_edits_begin_with_the_description_of_the_picture(rows: Rows, tokenizer):
    """The first turn of such a row has no words: the MLLM says what it sees."""
    described = 0
    for index, scene in enumerate(rows.scenes):
        ids = rows.input_ids[index, rows.turns[index] == 1]
        text = tokenizer.decode(ids)
        if scene is not None and text.startswith("<|im_end|>"):
            assert text == f"<|im_end|>\n<|im_start|>assistant\n{grid(scene)}<|im_end|>"
            described += 1
    assert described > 1


def test_rows_are_of_one_length_and_nearly_full(rows: Rows, tokenizer):
    assert rows.input_ids.shape == rows.turns.shape == rows.targets.shape == (12, LENGTH)
    assert rows.positions.shape == (3, 12, LENGTH)
    padding = rows.turns == -1
    assert (rows.input_ids[padding] == tokenizer.pad_token_id).all()
    assert (rows.targets[padding] == -100).all()
    assert padding.float().mean() < 0.25


def test_a_picture_s_row_has_a_visual_token_for_every_cell(rows: Rows, model):
    images = (rows.input_ids == model.config.image_token_id).sum(1).tolist()
    expected = [0 if scene is None else conversations.VISUAL_TOKENS for scene in rows.scenes]
    assert images == expected


def test_one_seed_gives_the_same_rows(rows: Rows, tokenizer):
    again = draw_rows(np.random.default_rng(0), tokenizer, 12, LENGTH)
    assert torch.equal(again.input_ids, rows.input_ids)
    assert again.scenes == rows.scenes
