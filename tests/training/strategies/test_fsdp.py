"""Sharding on one process: what is spread, what stays whole, and that all computes as before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from tests.tiny import LATENT_SHAPE
from torch.distributed import DeviceMesh, destroy_process_group, init_process_group
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from ladder.config.layers import ConfigError
from ladder.config.load import load
from ladder.data.training.datamodule import LadderData
from ladder.models.ladder import Ladder
from ladder.models.mllm.families import language_model
from ladder.training.ema import WeightEMA
from ladder.training.module import LadderModule
from ladder.training.strategies.deepspeed import ZeroStrategy
from ladder.training.strategies.fsdp import shard, whole
from ladder.training.strategies.one_reads import outline, placed


@pytest.fixture
def mesh(tmp_path) -> Iterator[DeviceMesh]:
    """Of this process alone."""
    init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    destroy_process_group()


@pytest.fixture
def ladder(short) -> Ladder:
    return Ladder.from_foundations(short.model, short.foundations, seed=0)


def test_all_that_is_trained_is_spread_and_of_the_mllm_the_layers(ladder, mesh):
    names = [name for name, _ in ladder.named_trainables()]
    shard(ladder, mesh)
    assert [name for name, _ in ladder.named_trainables()] == names
    assert all(isinstance(value, DTensor) for value in ladder.trainable_parameters())
    mllm = ladder.understanding.mllm
    layers = {*language_model(mllm).layers.parameters()}
    assert layers
    for value in mllm.parameters():
        assert isinstance(value, DTensor) == (value in layers)
        assert not value.requires_grad


def test_loss_and_gradients_are_those_of_whole_weights(short, encoded, ladder, mesh):
    prepare = ladder.understanding.prepare
    data = LadderData(encoded, "ti2i", short.stages.ti2i, short.condition_dropout, 0, prepare)
    batch = next(iter(data.train_dataloader()))
    module = LadderModule(ladder, short.stages.ti2i, short.flow, "ti2i", seed=0, query_noise=0.1)
    loss = module.training_step(batch, 0)
    loss.backward()
    expected = {name: value.grad for name, value in ladder.named_trainables()}
    ladder.zero_grad(set_to_none=True)
    shard(ladder, mesh)
    again = module.training_step(batch, 0)
    again.backward()
    assert torch.equal(loss, again)
    for name, value in ladder.named_trainables():
        torch.testing.assert_close(whole(value.grad), expected[name], msg=name)


@torch.no_grad()
def test_a_forward_after_other_weights_were_set_has_these(ladder, mesh):
    """Weights that stayed gathered would still be the old ones when grids are drawn."""
    prompts = ladder.understanding.prepare(["a red circle", "two hearts"], [[], []])
    latents, times = torch.ones(2, *LATENT_SHAPE), torch.tensor([300.0, 600.0])

    def drawn() -> torch.Tensor:
        return ladder.velocity(latents, times, ladder.conditions(prompts))

    expected = drawn()
    shard(ladder, mesh)
    ema = WeightEMA(ladder.trainable_parameters(), decay=0.5)
    assert torch.equal(drawn(), expected)
    for value in ladder.trainable_parameters():
        value.mul_(1.5)
    before = drawn()
    with ema.applied():
        assert torch.equal(drawn(), expected)
    assert torch.equal(drawn(), before)
    assert not torch.equal(before, expected)


def test_whole_averages_are_taken_over_as_parts(ladder, mesh):
    whole_ema = WeightEMA(ladder.trainable_parameters(), decay=0.5)
    doubled = [2 * value for value in whole_ema.state()]
    shard(ladder, mesh)
    ema = WeightEMA(ladder.trainable_parameters(), decay=0.5)
    ema.load(doubled)
    assert all(isinstance(value, DTensor) for value in ema.values)
    for value, expected in zip(ema.state(), doubled, strict=True):
        assert torch.equal(value, expected)


def test_what_is_in_no_parts_stays_as_it_is():
    value = torch.ones(3)
    assert whole(value) is value
    assert placed(value, torch.zeros(3)) is value


def test_averages_of_whole_weights_are_spread_over_a_mesh_and_come_back_whole(ladder, mesh):
    """As under ZeRO, which keeps weights whole; they are averaged, set and restored alike."""
    alone = WeightEMA(ladder.trainable_parameters(), decay=0.5)
    ema = WeightEMA(ladder.trainable_parameters(), decay=0.5, mesh=mesh)
    assert all(isinstance(value, DTensor) for value in ema.values)
    before = [value.detach().clone() for value in ladder.trainable_parameters()]
    with torch.no_grad():
        for value in ladder.trainable_parameters():
            value.mul_(1.5)
    alone.update()
    ema.update()
    for ours, theirs in zip(ema.state(), alone.state(), strict=True):
        assert torch.equal(ours, theirs)
    with ema.applied():
        for value, average in zip(ladder.trainable_parameters(), alone.values, strict=True):
            assert torch.equal(value, average)
    for value, old in zip(ladder.trainable_parameters(), before, strict=True):
        assert torch.equal(value, 1.5 * old)


def test_the_outline_of_a_checkpoint_has_shapes_and_numbers_and_no_memory():
    content = {"weights": [torch.ones(3, 2)], "count": torch.tensor(4.0), "step": (5, "name")}
    found = outline(content)
    assert found["weights"][0].is_meta
    assert found["weights"][0].shape == (3, 2)
    assert found["count"] == 4.0
    assert found["step"] == (5, "name")


@pytest.mark.parametrize(
    ("argument", "match"),
    [
        ("cluster.compile=true", "compile must be false under strategy fsdp"),
        ("cluster.prompt_cache=kept", "prompt_cache must be null under strategy fsdp"),
        ("model.mllm_lora_rank=2", "model.mllm_lora_rank must be null under"),
        ("monitor.faults.rate=0.1", "faults.rate must be 0 under cluster.strategy fsdp"),
    ],
)
def test_what_cant_be_sharded_is_refused(root, argument, match):
    with pytest.raises(ConfigError, match=match):
        load(arguments=["cluster.strategy=fsdp", argument], root=root)


def test_a_missing_deepspeed_is_named(monkeypatch):
    monkeypatch.setattr("ladder.training.strategies.deepspeed.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install deepspeed"):
        ZeroStrategy()


@pytest.mark.parametrize(
    ("argument", "match"),
    [
        ("monitor.faults.rate=0.1", "faults.rate must be 0 under cluster.strategy deepspeed"),
        ("stages.ti2i.precision=bf16-true", "ti2i.precision must be 32-true or bf16-mixed under"),
    ],
)
def test_what_deepspeed_cant_do_is_refused(root, argument, match):
    with pytest.raises(ConfigError, match=match):
        load(arguments=["cluster.strategy=deepspeed", argument], root=root)
