"""Floors use other prompts' pictures, ceilings true ones; noise depends on what is asked alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.tiny import tiny_autoencoder, tiny_autoencoder_kl

from ladder.config.load import Config
from ladder.evaluation.bounds import of_another, reconstructed
from ladder.evaluation.generate import noise
from ladder.evaluation.outcomes import aggregate, table
from ladder.evaluation.toy.geneval import GenevalToy
from ladder.evaluation.toy.observe import Observed
from ladder.world.language import TASKS
from ladder.world.render import SIDE, render
from ladder.world.scenes import Scene, Thing


def test_everyone_gets_anothers_value_of_the_same_group():
    groups = ["a", "b", "a", "a", "b"]
    values = [*range(5)]
    given = of_another(values, groups)
    assert sorted(given) == values
    assert all(one != other for one, other in zip(given, values, strict=True))
    assert [groups[value] for value in given] == groups


def test_a_group_of_one_has_no_other():
    with pytest.raises(ValueError, match=r"at least two prompts a task.*'b'"):
        of_another([1, 2, 3], ["a", "a", "b"])


def test_true_pictures_reach_the_top_and_those_of_others_do_not(config: Config):
    evaluation = replace(config.evaluation, prompts=12, images=1)
    benchmark = GenevalToy(evaluation, config.sampling)
    seen = [[Observed.of(render(prompt.scene))] for prompt in benchmark.prompts]
    top, floor = (
        aggregate(table(benchmark.score(pictures)), resamples=200, seed=5)
        for pictures in (seen, of_another(seen, benchmark.groups))
    )
    for group in ("geneval_toy", "reasoning"):
        assert all(found["mean"] == 1 for found in top[group].values())
        assert floor[group]["overall"]["mean"] < 0.5
    assert set(top["geneval_toy"]) == {"overall", *TASKS}
    assert top["geneval_toy"]["overall"]["n"] == 72


@pytest.mark.parametrize("make", [tiny_autoencoder, tiny_autoencoder_kl])
def test_reconstructions_are_pictures_of_their_scenes_in_any_batch(make):
    torch.manual_seed(0)
    vae = make().eval()
    scenes = [Scene((Thing(cell, "star", "red", "large"),)) for cell in range(3)]
    pictures = reconstructed(vae, scenes, batch=2)
    assert pictures.shape == (3, SIDE, SIDE, 3)
    alone = reconstructed(vae, scenes[2:], batch=1)
    np.testing.assert_allclose(pictures[2].astype(int), alone[0].astype(int), atol=1)


def test_noise_is_of_the_text_its_place_the_picture_and_the_seed():
    def first(*key: object) -> list[float]:
        return [torch.randn(1, generator=one).item() for one in noise(*key)]

    base = first("a red star", 3, 4, 0)
    assert first("a red star", 3, 4, 0) == base
    others = [("a blue star", 3, 4, 0), ("a red star", 2, 4, 0), ("a red star", 3, 4, 1)]
    drawn = base + [value for key in others for value in first(*key)]
    assert len(set(drawn)) == 16
