"""One step of a ladder's training: what is random in it, what is trained, what is saved."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data._utils.pin_memory import pin_memory

from ladder.config.load import Stage
from ladder.data.training.datamodule import Batch, LadderData
from ladder.models import rectified_flow
from ladder.models.ladder import Ladder
from ladder.training.module import LadderModule, rate, step_seed


@pytest.fixture
def module(short) -> LadderModule:
    ladder = Ladder.from_foundations(short.model, short.foundations, seed=0)
    return LadderModule(ladder, short.stages.ti2i, short.flow, "ti2i", seed=0)


@pytest.fixture
def batch(short, encoded, module):
    prepare = module.ladder.understanding.prepare
    data = LadderData(encoded, "ti2i", short.stages.ti2i, short.condition_dropout, 0, prepare)
    return next(iter(data.train_dataloader()))


def test_equal_seeds_give_equal_losses_and_micro_steps_differ(module, batch):
    losses = [module.training_step(batch, index).item() for index in (0, 1, 2, 3)]
    assert losses[0] == losses[2] != losses[1] == losses[3]


def test_the_global_generator_plays_no_part(module, batch):
    first = module.training_step(batch, 0)
    state = torch.random.get_rng_state()
    assert torch.equal(module.training_step(batch, 0), first)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_every_noise_sample_meets_the_condition_of_its_own_latents(module, batch, monkeypatch):
    """Whatever the order of the repetitions, latents and prompt of a row are of one sample."""
    seen = []

    def velocity(noisy, timesteps, conditions):
        seen.append((noisy, timesteps, conditions))
        return torch.zeros_like(noisy)

    monkeypatch.setattr(module.ladder, "velocity", velocity)
    monkeypatch.setattr(torch, "randn", lambda shape, **_: torch.zeros(shape))
    module.training_step(batch, 0)
    ((noisy, timesteps, conditions),) = seen
    assert module.stage.noise_samples == 2
    assert len(noisy) == 2 * len(batch.latents)
    each = module.ladder.conditions(batch.prompts)
    clean = noisy / (1 - timesteps / rectified_flow.TIMESTEPS)[:, None, None, None]
    for latents, condition in zip(clean, conditions, strict=True):
        (of,) = [
            k for k, own in enumerate(batch.latents) if torch.allclose(own, latents, atol=1e-4)
        ]
        assert torch.equal(condition, each[of])


def test_noise_on_the_queries_is_drawn_for_each_sample(short, batch, monkeypatch):
    ladder = Ladder.from_foundations(short.model, short.foundations, seed=0)
    module = LadderModule(ladder, short.stages.ti2i, short.flow, "ti2i", seed=0, query_noise=0.1)
    given = []
    rungs = ladder.understanding.rungs
    monkeypatch.setattr(
        ladder.understanding, "rungs",
        lambda prompts, queries, taps: given.append(queries) or rungs(prompts, queries, taps),
    )  # fmt: skip
    module.training_step(batch, 0)
    (queries,) = given
    noise = queries - ladder.queries
    assert noise.shape == (len(batch.latents), *ladder.queries.shape)
    assert len({row.sum().item() for row in noise}) == len(batch.latents)
    assert noise.std().item() == pytest.approx(0.1 * ladder.understanding.embedding_std, rel=0.2)


def test_seeds_of_stages_ranks_steps_and_micro_steps_are_apart():
    seeds = [
        step_seed(seed, stage, rank, step, micro)
        for seed in range(3)
        for stage in ("t2i", "ti2i")
        for rank in range(12)
        for step in range(20)
        for micro in range(3)
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_every_trained_weight_gets_a_gradient_and_no_frozen_one(module, batch):
    module.training_step(batch, 0).backward()
    trained = {id(value) for value in module.ladder.trainable_parameters()}
    for name, value in module.named_parameters():
        assert (value.grad is not None) == (id(value) in trained), name


def test_the_optimizer_holds_each_trained_weight_once_and_decays_matrices_only(short):
    """Tables, for which 0 means something, are no such matrices."""
    model = dataclasses.replace(short.model, scheme="learned")
    ladder = Ladder.from_foundations(model, short.foundations, seed=0)
    module = LadderModule(ladder, short.stages.t2i, short.flow, "t2i", seed=0)
    optimizer = module.configure_optimizers()["optimizer"]
    decay = {
        id(value): group["weight_decay"]
        for group in optimizer.param_groups
        for value in group["params"]
    }
    held = Counter(id(value) for group in optimizer.param_groups for value in group["params"])
    assert held == Counter(id(value) for value in ladder.trainable_parameters())
    tables = ("queries", "mixture.weights", "scale_shift_table")
    for name, value in ladder.named_trainables():
        assert (decay[id(value)] > 0) == (value.ndim > 1 and not name.endswith(tables)), name
    assert decay[id(ladder.connector[0].weight)] == module.stage.weight_decay
    assert decay[id(ladder.mixture.weights)] == 0
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)


@pytest.fixture
def stage(config) -> Stage:
    return config.stages.t2i


@given(warmup=st.integers(0, 50), extra=st.integers(1, 200))
def test_the_rate_rises_to_its_peak_and_falls_to_its_end(warmup, extra):
    stage = Stage(
        init=None, steps=warmup + extra, batch=1, accumulate=1, mixture={"t2i": 1.0},
        noise_samples=1, template_captions=True, lr=1e-3, generator_lr_scale=1.0,
        query_lr_scale=1.0, final_lr=1e-5,
        warmup=warmup, weight_decay=0.0, clip=1.0, ema=0.9, sample_every=1, checkpoint_every=1,
        precision="32-true",
    )  # fmt: skip
    rates = [rate(step, stage) for step in range(stage.steps)]
    rising, falling = rates[: warmup + 1], rates[warmup:]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
    assert 0 < min(rates) <= max(rates) <= stage.lr
    assert rates[warmup] == pytest.approx(stage.lr)
    if extra > 1:
        assert rates[-1] == pytest.approx(stage.final_lr)
    if warmup:
        assert rates[0] == pytest.approx(stage.lr / warmup)


def test_queries_and_the_generators_blocks_learn_at_their_own_rates(short, module):
    optimizer = module.configure_optimizers()["optimizer"]
    rates = {
        id(p): group["initial_lr"] for group in optimizer.param_groups for p in group["params"]
    }
    stage = module.stage
    assert len({stage.generator_lr_scale, stage.query_lr_scale, 1.0}) == 3
    for name, value in module.ladder.named_trainables():
        inside = name.startswith("generator.") and not name.startswith("generator.caption")
        share = (
            stage.generator_lr_scale
            if inside
            else stage.query_lr_scale
            if name == "queries"
            else 1.0
        )
        assert rates[id(value)] == pytest.approx(share * stage.lr), name
    assert optimizer.param_groups[0]["initial_lr"] == stage.lr


def test_the_cosine_is_halfway_in_the_middle(stage):
    stage = dataclasses.replace(stage, steps=201, warmup=0)
    assert rate(100, stage) == pytest.approx((stage.lr + stage.final_lr) / 2)
    assert rate(50, stage) == pytest.approx(
        stage.final_lr + (stage.lr - stage.final_lr) * (1 + math.cos(math.pi / 4)) / 2
    )


def test_the_state_is_without_the_mllm_and_is_taken_back(short, module):
    state = module.state_dict()
    names = {name for name, _ in module.ladder.named_trainables()}
    assert set(state) == names
    with torch.no_grad():
        for value in module.ladder.trainable_parameters():
            value.zero_()
    fresh = Ladder.from_foundations(short.model, short.foundations, seed=0)
    module.load_state_dict(fresh.trainable_state())
    for name, value in fresh.named_parameters():
        assert torch.equal(value, module.ladder.get_parameter(name))
    with pytest.raises(ValueError, match="missing"):
        module.load_state_dict({})


def test_only_steps_run_the_compiled_generator(short, module, batch, monkeypatch):
    """What is drawn meanwhile doesn't: a ladder's own velocity stays as it is."""
    ladder, calls = module.ladder, []

    def compiled(function):
        assert function == ladder.velocity
        return lambda *inputs: calls.append(inputs) or function(*inputs)

    monkeypatch.setattr(torch, "compile", compiled)
    again = LadderModule(ladder, short.stages.ti2i, short.flow, "ti2i", seed=0, compiled=True)
    assert torch.equal(again.training_step(batch, 0), module.training_step(batch, 0))
    assert len(calls) == 1
    latents = batch.latents
    ladder.velocity(latents, torch.ones(len(latents)), ladder.conditions(batch.prompts))
    assert len(calls) == 1


def test_fused_adamw_makes_the_steps_of_the_plain_one(short):
    found = {}
    for fused in (False, True):
        ladder = Ladder.from_foundations(short.model, short.foundations, seed=0)
        module = LadderModule(ladder, short.stages.t2i, short.flow, "t2i", seed=0, fused=fused)
        optimizer = module.configure_optimizers()["optimizer"]
        assert all(bool(group["fused"]) == fused for group in optimizer.param_groups)
        generator = torch.Generator().manual_seed(0)
        for value in ladder.trainable_parameters():
            value.grad = torch.randn(value.shape, generator=generator)
        optimizer.step()
        found[fused] = ladder.trainable_state()
    for name, value in found[True].items():
        torch.testing.assert_close(value, found[False][name], msg=name)


def test_a_batch_is_pinned_with_all_its_tensors(batch, monkeypatch):
    """The loader finds the method by its name; such memory needs a GPU, so it is only counted."""
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(self) or self)
    again = pin_memory(batch)
    assert isinstance(again, Batch)
    assert again.keys == batch.keys
    held = [value for value in vars(batch.prompts).values() if isinstance(value, torch.Tensor)]
    assert len(held) == 5
    assert {id(value) for value in pinned} == {id(value) for value in (batch.latents, *held)}
