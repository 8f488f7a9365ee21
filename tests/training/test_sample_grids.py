"""Sample grids: the same prompts and noise each time, sources above the results of edits."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image
from tests.tiny import tiny_picture

from ladder.inference.pipeline import LadderPipeline
from ladder.models.ladder import Ladder
from ladder.training.sample_grids import PROMPTS, Grids, Prompt, arranged, fixed_prompts


def flat(color: str) -> Image.Image:
    return Image.new("RGB", (32, 32), color)


def tile(grid: Image.Image, row: int, column: int) -> np.ndarray:
    return np.asarray(grid)[32 * row : 32 * row + 32, 32 * column : 32 * column + 32]


def test_edits_stand_below_their_sources_and_rows_are_filled_with_white():
    source = tiny_picture(0)
    prompts = [Prompt("a", ())] * (PROMPTS + 1) + [Prompt("b", (source,))]
    pictures = [flat("red")] * (PROMPTS + 1) + [flat("blue")]
    grid = arranged(prompts, pictures)
    assert grid.size == (32 * PROMPTS, 32 * 4)
    assert (tile(grid, 0, PROMPTS - 1) == [255, 0, 0]).all()
    assert (tile(grid, 1, 0) == [255, 0, 0]).all()
    assert (tile(grid, 1, 1) == 255).all()
    assert (tile(grid, 2, 0) == np.asarray(source)).all()
    assert (tile(grid, 3, 0) == [0, 0, 255]).all()


def test_prompts_are_the_held_out_samples_and_a_set_may_have_none(encoded):
    prompts = fixed_prompts(encoded, ["t2i", "absent", "ti2i"])
    assert [len(prompt.images) for prompt in prompts] == [0, 0, 1, 1]
    assert (np.asarray(prompts[2].images[0]) == np.asarray(tiny_picture(50))).all()


@pytest.fixture
def grids(short, encoded, tmp_path):
    ladder = Ladder.from_foundations(short.model, short.foundations, 0).eval()
    pipeline = LadderPipeline.from_ladder(ladder, short.foundations, short.sampling)
    prompts = fixed_prompts(encoded, ["t2i", "ti2i"])
    return Grids(pipeline, prompts, 1, short.sampling, 0, tmp_path)


def test_equal_weights_draw_equal_grids_and_others_do_not(grids):
    first = np.asarray(grids.draw())
    assert first.shape == (3 * 32, 4 * 32, 3)
    assert (np.asarray(grids.draw()) == first).all()
    for value in grids.pipeline.ladder.trainable_parameters():
        value.data.mul_(1.5)
    assert (np.asarray(grids.draw()) != first).any()


def test_no_more_pictures_are_drawn_at_once_than_sampling_does(grids, monkeypatch):
    """Else a grid of many sets runs out of memory where sampling doesn't."""
    sizes = []
    pipeline = grids.pipeline

    class Counted:
        size_for = pipeline.size_for

        def __call__(self, texts, **options):
            sizes.append(len(texts))
            return pipeline(texts, **options)

    monkeypatch.setattr(grids, "pipeline", Counted())
    monkeypatch.setattr(grids, "sampling", dataclasses.replace(grids.sampling, batch=3))
    picture = np.asarray(grids.draw())
    assert sizes == [3, 1]
    assert picture.shape == (3 * 32, 4 * 32, 3)
