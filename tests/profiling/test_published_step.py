"""The published step and sampling, made anew: the same mathematics, and the faults that it had."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from ladder.cli.main import main
from ladder.config.load import load
from ladder.profiling import sampling as sampling
from ladder.profiling.paired_timing import alternate, memory_rise
from ladder.profiling.published_step import Published, encoded
from ladder.profiling.random_models import SIZES, make_autoencoder, make_ladder, make_prompts
from ladder.profiling.train_step import BATCH, Workload, compared, lean_step, published_step

WORK = Workload("tiny", 60)


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch, root):
    monkeypatch.chdir(root)


@pytest.mark.parametrize("tokens", [60, 256])
def test_captions_have_their_tokens(tokens):
    ladder = make_ladder(SIZES["tiny"], torch.float32, "cpu")
    prompts = ladder.understanding.prepare(make_prompts(3, tokens), [[]] * 3)
    assert prompts.input_ids.shape == (3, 38 + tokens)
    assert prompts.attention_mask.all()


def test_both_ways_have_the_same_conditions_and_gradients():
    """Of queries, connector and generator; of the prompt's words, the hook lets nothing through."""
    ladder, autoencoder = WORK.ladder(), make_autoencoder(WORK.models, "cpu")
    model, prompts, pixels = Published(ladder, autoencoder), WORK.prompts(ladder), WORK.pixels()
    torch.testing.assert_close(model.conditions(prompts), ladder.conditions(prompts))
    settings = load("paper").flow
    model.loss(pixels, prompts, settings, torch.Generator().manual_seed(1)).backward()
    latents = encoded(autoencoder, pixels)
    model_of = {"queries": model.embedding.weight.grad[model.vocabulary :]}
    for name, value in [*model.named_parameters()]:
        model_of[name] = value.grad
    noise = torch.Generator().manual_seed(1)
    drawn = torch.randn(latents.shape, generator=noise)
    s = torch.rand(BATCH, generator=noise)
    noisy = (1 - s)[:, None, None, None] * latents + s[:, None, None, None] * drawn
    velocity = ladder(noisy, 1000 * s, prompts)
    (velocity - (drawn - latents)).square().mean().backward()
    for name, value in ladder.named_trainables():
        scale = value.grad.abs().max()
        assert scale > 0, name
        torch.testing.assert_close(value.grad / scale, model_of[name] / scale, rtol=1e-3, atol=1e-4)
    assert not model.embedding.weight.grad[: model.vocabulary].any()


def test_the_published_step_shrinks_the_frozen_embeddings_and_ours_does_not():
    """By 1 - lr x decay a step (paper.md): the hook can't keep weight decay from old rows."""
    ladder, autoencoder = WORK.ladder(), make_autoencoder(WORK.models, "cpu")
    words = ladder.understanding.mllm.get_input_embeddings().weight.clone()
    model, prompts = Published(ladder, autoencoder), WORK.prompts(ladder)
    published_step(model, prompts, WORK.pixels())()
    stage = load("paper").stages.t2i
    shrunk = words * (1 - stage.lr * stage.weight_decay)
    torch.testing.assert_close(model.embedding.weight[: len(words)], shrunk, rtol=1e-7, atol=0)
    lean_step(ladder, prompts, WORK.latents())()
    assert torch.equal(ladder.understanding.mllm.get_input_embeddings().weight, words)


def test_unequal_losses_are_an_error(monkeypatch):
    monkeypatch.setattr(
        "ladder.profiling.train_step.encoded", lambda *inputs: 1.01 * encoded(*inputs)
    )
    with pytest.raises(ValueError, match="losses of both ways must be equal to 1e-05"):
        compared(WORK, 1)


def test_unequal_latents_are_an_error(monkeypatch):
    cases = {"text": replace(sampling.CASES["text"], image_guidance=1.0)}
    monkeypatch.setattr(sampling, "CASES", cases)
    velocity = Published.velocity
    monkeypatch.setattr(Published, "velocity", lambda *inputs: 1.01 * velocity(*inputs))
    with pytest.raises(ValueError, match="must draw the same latents"):
        sampling.sample("tiny", 1, 2)


def test_pairs_are_alternated_and_memory_is_that_of_the_run():
    order: list[str] = []
    found = alternate(lambda: order.append("a"), lambda: order.append("b"), 3)
    assert "".join(order) == "abbaab"
    assert found.ratio.low <= found.ratio.median <= found.ratio.high
    assert 60 < memory_rise(lambda: torch.ones(2**24).sum()) < 100


@pytest.mark.slow
def test_the_step_on_the_command_line(capsys):
    assert main(["bench", "step", "--size", "tiny", "--pairs", "2", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert [*measured] == ["60", "256"]
    for row in measured.values():
        assert row["loss_difference"] < 1e-5
        for ratio in (row["ratio"], row["readings_kept"]["ratio"]):
            assert 0 < ratio["low"] <= ratio["median"] <= ratio["high"]
        assert row["memory_ratio"] > 0


@pytest.mark.slow
def test_sampling_on_the_command_line(capsys):
    command = ["bench", "sample", "--size", "tiny", "--pairs", "1", "--steps", "3"]
    assert main([*command, "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert [*measured] == ["text", "edit", "unguided"]
    assert all(row["latents_difference"] < 1e-4 for row in measured.values())
    assert main(command) == 0
    assert "text: " in capsys.readouterr().out
