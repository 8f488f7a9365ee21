"""The toy MLLM: nine visual tokens a picture, a folder that opens, and answers that are right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from tests.pretraining.conftest import SMALL_TOKENIZER
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

from ladder.evaluation.toy.test_set import evaluation_questions
from ladder.evaluation.toy.vqa import answers, is_right
from ladder.models.layer_selection import layer_indices
from ladder.models.mllm.frozen import Understanding
from ladder.pretraining import generator, mllm_tuning
from ladder.pretraining import mllm as mllm_base
from ladder.pretraining.conversation_mix import TUNED
from ladder.pretraining.conversations import PackedRows, draw_rows
from ladder.pretraining.mllm import MERGE, PATCH
from ladder.world import slot_template
from ladder.world.render import render
from ladder.world.scenes import GRID, Scene, Thing, draw_scene


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLLM after two steps of each training on small batches."""
    base, folder = tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("mllm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mllm_base, "BATCH", 3)
        patch.setattr(mllm_base, "VISION_BATCH", 2)
        patch.setattr(mllm_base, "train_tokenizer", SMALL_TOKENIZER)
        mllm_base.train((2, 2, 2), seed=0, folder=base)
        mllm_tuning.tune(base, steps=2, seed=0, folder=folder)
    return folder


@pytest.fixture(scope="module")
def understanding(folder: Path) -> Understanding:
    return Understanding.from_pretrained(str(folder))


def test_a_picture_is_nine_patches_in_place(folder: Path, understanding: Understanding):
    """One visual token a cell, and a change in one cell changes the patches of that cell only."""
    processor = Qwen2VLImageProcessorPil.from_pretrained(folder)
    scene = draw_scene(np.random.default_rng(0), 5)
    inputs = processor([Image.fromarray(render(scene))], return_tensors="pt")
    assert inputs["image_grid_thw"].tolist() == [[1, 6, 6]]
    assert len(inputs["pixel_values"]) == GRID**2 * MERGE**2
    prompts = understanding.prepare([""], [[Image.fromarray(render(scene))]])
    assert (prompts.input_ids == understanding.prompter.image_token).sum() == GRID**2
    for cell in range(GRID**2):
        pictures = [render(Scene(())), render(Scene((Thing(cell, "star", "red", "large"),)))]
        empty, one = processor(pictures, return_tensors="pt")["pixel_values"].chunk(2)
        changed = (empty != one).any(-1).nonzero().flatten() // MERGE**2
        assert {*changed.tolist()} == {cell}


def test_the_picture_is_seen_as_it_is(folder: Path):
    """Pictures of 96 x 96 pixels are neither resized nor cut."""
    processor = Qwen2VLImageProcessorPil.from_pretrained(folder)
    picture = render(draw_scene(np.random.default_rng(1), 5))
    values = processor([picture], return_tensors="pt")["pixel_values"]
    scaled = (picture / 255 - processor.image_mean) / processor.image_std
    # The corner patch, its two equal frames in time.
    first = values[0].reshape(3, 2, PATCH, PATCH)
    expected = torch.from_numpy(scaled[:PATCH, :PATCH]).permute(2, 0, 1).float()
    for frame in range(2):
        torch.testing.assert_close(first[:, frame], expected, atol=1e-4, rtol=1e-4)


def test_what_was_trained_opens_and_answers(folder: Path, understanding: Understanding):
    assert (understanding.depth, understanding.width) == (mllm_base.LAYERS, mllm_base.WIDTH)
    picture = Image.fromarray(render(draw_scene(np.random.default_rng(2), 3)))
    assert isinstance(understanding.ask(picture, "what is the background?", max_tokens=4), str)


def test_training_moves_every_weight(folder: Path):
    """Tower and language model: nothing is left as it was drawn, nothing is not a number."""
    tokenizer = SMALL_TOKENIZER(0)
    torch.manual_seed(0)
    fresh = mllm_base.build(tokenizer).to(torch.bfloat16).state_dict()
    trained = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        folder, dtype=torch.bfloat16
    ).state_dict()
    assert {*trained} == {*fresh}
    same = [
        name
        for name, weight in trained.items()
        # Norms begin at one and move by less than bfloat16 can tell.
        if weight.ndim > 1 and torch.equal(weight, fresh[name])
    ]
    assert same == []
    assert all(weight.isfinite().all() for weight in trained.values())


@pytest.fixture
def rows(tokenizer) -> PackedRows:
    return draw_rows(np.random.default_rng(0), tokenizer, TUNED, 4, 224)


def processor() -> Qwen2VLImageProcessorPil:
    return Qwen2VLImageProcessorPil(
        patch_size=PATCH, merge_size=MERGE, size={"shortest_edge": 96**2, "longest_edge": 96**2}
    )


def test_an_exit_teaches_the_layers_below_it(model, rows, monkeypatch):
    """Of the words before, the last layer tells as well, so here it is left out."""
    states = mllm_base.hidden_states(model, processor(), rows)
    early = mllm_tuning.Early(states[0].shape[-1], [3])
    early(model, (*states[:-1], states[-1].detach()), rows)[0].backward()
    layers = model.model.language_model.layers
    touched = [any(weight.grad is not None for weight in layer.parameters()) for layer in layers]
    model.zero_grad()
    assert touched == [True] * 3 + [False] * (len(touched) - 3)
    assert all(matrix.weight.grad is not None for matrix in early.back)


def test_the_early_loss_is_that_of_the_fields_and_of_those_before_them(model, rows):
    """Against a sum over every field of every template."""
    torch.manual_seed(1)
    states = mllm_base.hidden_states(model, processor(), rows)
    early = mllm_tuning.Early(states[0].shape[-1], [3, 5])
    norm, head = model.model.language_model.norm, model.lm_head
    own, before = [], []
    with torch.no_grad():
        for state in (norm(states[3]), norm(states[5]), states[-1]):
            fields, told = [], []
            for row, place in ((rows.fields >= 0) & (rows.targets != -100)).nonzero().tolist():
                field = int(rows.fields[row, place])
                for distance in range(field - slot_template.FIRST[field] + 1):
                    word = rows.targets[row, place - distance]
                    if word == -100:
                        continue
                    said = state[row, place]
                    logits = head(early.back[distance - 1](said) if distance else said)
                    weight = rows.weights[row, place - distance]
                    (told if distance else fields).append(
                        (weight * F.cross_entropy(logits, word), weight)
                    )
            own.append(sum(loss for loss, _ in fields) / sum(weight for _, weight in fields))
            before.append(sum(loss for loss, _ in told) / sum(weight for _, weight in told))
        loss, shown = early(model, states, rows)
    torch.testing.assert_close(loss, (own[0] + own[1]) / 2 + sum(before) / 3)
    assert {*shown} == {"early", "before"}


def test_rows_without_a_template_have_no_early_loss(model, rows):
    states = mllm_base.hidden_states(model, processor(), rows)
    bare = replace(rows, fields=torch.full_like(rows.fields, -1))
    assert mllm_tuning.Early(states[0].shape[-1], [3])(model, states, bare) == (torch.zeros(()), {})


def test_exits_are_the_layers_that_the_ladder_reads(understanding: Understanding):
    read = layer_indices("last_n", generator.BLOCKS, understanding.depth).layers
    assert (*mllm_tuning.EXITS,) == read


def test_labels_say_what_stands_in_each_cell():
    """Each row of classes names one thing, in the order of the cells."""
    scene = Scene((Thing(1, "star", "red", "large"), Thing(8, "circle", "white", "small")), "mint")
    labels = mllm_base._cell_labels(scene)
    expected = [(6, 10, 2, 2, cell) for cell in range(9)]
    expected[1], expected[8] = (3, 0, 1, 2, 1), (0, 9, 0, 2, 8)
    assert labels == expected
    assert mllm_base.LABELS == (7, 11, 3, 4, 9)


@pytest.mark.slow
def test_the_shipped_mllm_answers_questions(shipped):
    """Five of each kind, none of which it was taught with."""
    questions = evaluation_questions(5, seed=123)
    found = answers(Understanding.from_pretrained(str(shipped("mllm"))), questions, 25, "questions")
    right = [
        is_right(answer, question.answer) for answer, question in zip(found, questions, strict=True)
    ]
    assert len(right) == 50
    assert np.mean(right) >= 0.9
