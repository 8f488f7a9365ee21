"""A ladder on each of the MLLMs that it can read with: it learns, is saved, draws and edits."""

from __future__ import annotations

import pytest
import torch
from tests.models.learning import learn
from tests.tiny import LATENT_SHAPE, MLLMS, SIDE, tiny_ladder, tiny_picture

from ladder import LadderPipeline
from ladder.data.training.datamodule import Batch
from ladder.models.ladder import Ladder

TEXTS = ["a red circle left of a blue star", "make it blue"]
BLIND = "qwen3"


@pytest.fixture(scope="module", params=MLLMS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def pipeline(kind, tmp_path_factory):
    pipeline = LadderPipeline.from_pretrained(tiny_ladder(tmp_path_factory.mktemp(kind), kind))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_it_learns_a_batch_and_leaves_the_mllm_alone(pipeline, kind, config, tmp_path):
    ladder = pipeline.ladder.train()
    frozen = {name: value.clone() for name, value in ladder.understanding.state_dict().items()}
    pictures = [[], [] if kind == BLIND else [tiny_picture(0)]]
    latents = torch.randn(2, *LATENT_SHAPE, generator=torch.Generator().manual_seed(0))
    batch = Batch(latents, ladder.understanding.prepare(TEXTS, pictures), ["a", "b"])
    learn(ladder, batch, config)
    after = ladder.understanding.state_dict()
    assert all(torch.equal(after[name], value) for name, value in frozen.items())
    ladder.save_pretrained(tmp_path)
    saved, own = Ladder.from_pretrained(tmp_path).trainable_state(), ladder.trainable_state()
    assert all(torch.equal(saved[name], value) for name, value in own.items())


def test_queries_run_anew_in_the_backward_pass_have_the_same_gradient(pipeline, kind):
    """And keep less for it."""
    ladder = pipeline.ladder
    prompts = ladder.understanding.prepare(TEXTS, [[], [] if kind == BLIND else [tiny_picture(0)]])
    gradients, kept = [], []
    for checkpointing in (False, True):
        ladder.understanding.checkpointing = checkpointing
        sizes: list[int] = []

        def pack(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            conditions = ladder.conditions(prompts)
        gradients.append(torch.autograd.grad(conditions.square().sum(), ladder.queries)[0])
        kept.append(sum(sizes))
    ladder.understanding.checkpointing = False
    assert gradients[0].abs().max() > 0
    assert torch.equal(*gradients)
    assert kept[1] < kept[0] / 2


def test_it_draws_and_edits_what_it_can_see(pipeline, kind):
    (drawn,) = pipeline("two pink hearts", num_inference_steps=2).images
    assert drawn.size == (SIDE, SIDE)
    if kind == BLIND:
        with pytest.raises(ValueError, match="this MLLM reads text only"):
            pipeline("make it blue", tiny_picture(0), num_inference_steps=2)
    else:
        (edited,) = pipeline("make it blue", tiny_picture(0), num_inference_steps=2).images
        assert edited.size == (SIDE, SIDE)
