"""An explanation is of the very picture that it comes with."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from tests.inference.test_pipeline_mixin import draw, inputs, made, pipeline
from tests.tiny import GENERATOR_BLOCKS, LATENT_SHAPE, tiny_picture

from ladder.inference.rung_attribution import weighted_rungs
from ladder.models.generator.attention_maps import attention

__all__ = ["made", "pipeline"]  # fixtures
STEPS, PICTURES, QUERIES = 3, 2, 4
CHANGES = {
    "prompt": ["a red circle", "make it blue"],
    "image": [None, tiny_picture(0)],
    "num_inference_steps": STEPS,
    "output_type": "latent",
}


@pytest.fixture
def explained(pipeline):
    return pipeline(**inputs(**CHANGES, explain=True))


def test_explaining_changes_no_picture(pipeline, explained):
    assert torch.equal(explained.images, draw(pipeline, **CHANGES))
    assert "explanation" not in pipeline(**inputs(**CHANGES))


def test_the_maps_are_those_of_each_step(pipeline, explained):
    """Of text and source: the last is checked against what the blocks do on that step's latents."""
    maps = explained.explanation.attention
    assert maps.shape == (STEPS, GENERATOR_BLOCKS, PICTURES, *LATENT_SHAPE[1:], QUERIES)
    torch.testing.assert_close(maps.sum(-1), torch.ones(maps.shape[:-1]))
    path = []

    def watch(pipe, step, timestep, tensors):
        path.append((tensors["latents"], timestep))
        return tensors

    draw(pipeline, **CHANGES, callback_on_step_end=watch)
    ladder = pipeline.ladder
    prompts = ladder.understanding.prepare(CHANGES["prompt"], [[], [tiny_picture(0)]])
    (latents, _), (_, time) = path[-2:]
    with torch.no_grad():
        expected = attention(ladder, latents, time.expand(2).float(), ladder.conditions(prompts))
    torch.testing.assert_close(maps[-1].flatten(2, 3), expected.mean(2), atol=1e-5, rtol=1e-4)


def test_a_silenced_rung_is_not_heard(pipeline, explained):
    """Its pictures don't depend on what is in it, but on the other rungs."""
    ladder, conditions = pipeline.ladder, pipeline.ladder.conditions

    def spoilt(prompts):
        rungs = conditions(prompts).unflatten(1, (GENERATOR_BLOCKS, QUERIES)).clone()
        rungs[:, 1] += 7.0
        return rungs.flatten(1, 2)

    without = explained.explanation.silenced[1]
    with weighted_rungs(ladder, [1.0, 0.0, 1.0]):
        assert torch.equal(draw(pipeline, **CHANGES), without)
    ladder.conditions = spoilt
    try:
        again = pipeline(**inputs(**CHANGES, explain=True)).explanation.silenced
    finally:
        del ladder.conditions
    torch.testing.assert_close(again[1], without)
    assert not torch.allclose(again[0], explained.explanation.silenced[0], atol=1e-3)


def test_the_effect_is_how_far_the_pictures_are_apart(explained):
    effect, images = explained.explanation.effect, explained.images
    assert effect.shape == (GENERATOR_BLOCKS, PICTURES)
    assert effect.min() > 1e-3
    for rung, without in enumerate(explained.explanation.silenced):
        for picture in range(PICTURES):
            moved = (without[picture] - images[picture]).norm() / images[picture].norm()
            assert effect[rung, picture] == pytest.approx(moved.item(), rel=1e-4)


def test_weights_of_one_change_nothing_and_none_stay(pipeline):
    plain = draw(pipeline, **CHANGES)
    with weighted_rungs(pipeline.ladder, [1.0, 1.0, 1.0]):
        assert torch.equal(draw(pipeline, **CHANGES), plain)
    with weighted_rungs(pipeline.ladder, [1.0, 1.0, 2.0]):
        assert not torch.allclose(draw(pipeline, **CHANGES), plain, atol=1e-3)
    assert torch.equal(draw(pipeline, **CHANGES), plain)


def test_each_rung_needs_its_weight(pipeline):
    with (
        pytest.raises(ValueError, match="each of 3 rungs needs a weight, got 2"),
        weighted_rungs(pipeline.ladder, [1.0, 0.0]),
    ):
        nullcontext()


def test_pictures_come_as_they_are_asked_for(pipeline):
    changes = CHANGES | {"output_type": "pil", "num_inference_steps": 1}
    images, explanation = pipeline(**inputs(**changes, explain=True, return_dict=False))
    assert [len(pictures) for pictures in explanation.silenced] == [PICTURES] * GENERATOR_BLOCKS
    assert explanation.silenced[0][0].size == images[0].size
