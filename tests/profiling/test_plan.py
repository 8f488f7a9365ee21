"""The plan's numbers are those of the real models, which nobody has to download for it."""

from __future__ import annotations

import dataclasses
import re

import pytest
from tests.tiny import tiny_generator

from ladder.config.load import load
from ladder.profiling.plan import MetaModels, flops, plan
from ladder.profiling.published_sizes import generator_config, mllm_config

pytestmark = pytest.mark.slow
GPU = {"devices": 8, "memory": 80.0, "speed": 990.0, "use": 0.4}


@pytest.fixture(scope="module")
def paper(root):
    return load("paper", root=root)


@pytest.fixture(scope="module")
def models(paper):
    return MetaModels(paper)


def test_parameters_are_those_of_the_published_models(models):
    parts = models.parts()
    assert (parts.mllm, parts.generator) == (3_754_622_976, 1_604_462_752)
    assert parts.connector == 2048 * 2304 + 2304 + 2304**2 + 2304 + 2304
    assert parts.queries == 64 * 2048
    assert list(models.taps.layers) == list(range(16, 36))


@pytest.mark.parametrize(("caption", "ours", "published"), [(60, 3.54, 6.83), (256, 4.60, 9.90)])
def test_flop_of_a_sample_are_those_that_were_counted(models, caption, ours, published):
    """Within 3% of a count of the published step and of a lean one."""
    found = flops(models, caption)
    assert found.total / 1e12 == pytest.approx(ours, rel=0.03)
    assert found.published / 1e12 == pytest.approx(published, rel=0.03)


def test_checkpointing_keeps_less_and_computes_more(models):
    assert models.activations(checkpointed=True) < models.activations(checkpointed=False) / 5
    assert flops(models, 60, checkpointed=True).generator > flops(models, 60).generator


def test_what_cannot_fit_is_refused_with_a_way_out(paper):
    lines = plan(paper, 60, **GPU)
    assert any(line.startswith("t2i") and "GPU-hours" in line for line in lines)
    with pytest.raises(ValueError, match=r"t2i needs \d+ GiB a GPU, .* lower stages\.t2i\.batch"):
        plan(paper, 60, **GPU | {"memory": 24.0})
    whole = dataclasses.replace(paper.cluster, checkpointing="none")
    with pytest.raises(ValueError, match=r"or set cluster\.checkpointing to generator"):
        plan(dataclasses.replace(paper, cluster=whole), 60, **GPU)


def test_the_models_of_the_paper_are_pinned_to_commits(paper):
    for source in (paper.foundations.mllm, paper.foundations.generator):
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", source)


def test_models_that_are_neither_here_nor_known_are_named(paper):
    foundations = dataclasses.replace(paper.foundations, mllm="someone/else")
    with pytest.raises(ValueError, match="a plan knows local folders and Qwen"):
        MetaModels(dataclasses.replace(paper, foundations=foundations))
    assert mllm_config("Qwen/Qwen2.5-VL-7B-Instruct@main").text_config.hidden_size == 3584


def test_a_generator_other_than_sana_is_refused(tmp_path):
    folder = tiny_generator(tmp_path, "pixart_sigma")
    with pytest.raises(ValueError, match="must hold SanaTransformer2DModel, got PixArtTransformer"):
        generator_config(str(folder))
