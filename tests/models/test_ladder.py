"""The whole ladder: conditions, frozen foundations, saving and loading."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.tiny import (
    CAPTION_CHANNELS,
    GENERATOR_BLOCKS,
    LATENT_SHAPE,
    MLLM_LAYERS,
    tiny_mllm,
    tiny_picture,
    tiny_sana,
)

from ladder.config.load import load
from ladder.config.schema import Scheme
from ladder.models.ladder import Ladder

QUERIES = 4


SHIPPED = load(root=Path(__file__).parents[2])


def make(foundations, scheme="last_n", layers=None, seed=0, dtype="float32", tokens=None, **model):
    model = {"queries": QUERIES, "query_text": None, **model}
    return Ladder.from_foundations(
        replace(SHIPPED.model, scheme=scheme, layers=layers, **model),
        replace(
            SHIPPED.foundations,
            mllm=str(foundations / "mllm"),
            generator=str(foundations / "sana"),
            dtype=dtype,
            visual_tokens=tokens,
        ),
        seed,
    )


@pytest.fixture
def ladder(foundations):
    return make(foundations)


@pytest.fixture
def prompts(ladder):
    return ladder.understanding.prepare(
        ["two pink hearts", "make it blue"], [[], [tiny_picture(0)]]
    )


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    return torch.randn(2, *LATENT_SHAPE), torch.tensor([100.0, 900.0])


def test_queries_begin_with_the_words_that_they_are_given(foundations):
    ladder = make(foundations, query_text="a red circle")
    tokens = ladder.understanding.prompter.tokens(" a red circle")
    embeddings = ladder.understanding.mllm.get_input_embeddings().weight
    fresh = make(foundations)
    told = min(len(tokens), QUERIES)
    assert torch.equal(ladder.queries[:told], embeddings[tokens[:told]])
    assert torch.equal(ladder.queries[told:], fresh.queries[told:])


def test_conditions_are_the_connected_states_rung_after_rung(ladder, prompts):
    conditions = ladder.conditions(prompts)
    assert conditions.shape == (2, GENERATOR_BLOCKS * QUERIES, CAPTION_CHANNELS)
    states = ladder.understanding.rungs(prompts, ladder.queries, ladder.taps)
    assert ladder.taps.layers == (3, 4, 5)
    for index in range(GENERATOR_BLOCKS):
        rung = conditions[:, index * QUERIES : (index + 1) * QUERIES]
        torch.testing.assert_close(rung, ladder.connector(states[index]))


def test_forward_is_the_velocity_under_these_conditions(ladder, prompts, inputs):
    velocity = ladder(*inputs, prompts)
    assert velocity.shape == inputs[0].shape
    assert torch.equal(velocity, ladder.velocity(*inputs, ladder.conditions(prompts)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_step_moves_all_that_is_trained_and_not_a_bit_of_the_mllm(
    foundations, prompts, inputs, dtype
):
    ladder = make(foundations, dtype=dtype).train()
    before = {name: value.clone() for name, value in ladder.state_dict().items()}
    optimizer = torch.optim.AdamW(ladder.trainable_parameters(), lr=1e-2, weight_decay=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        ladder(*inputs, prompts).square().mean().backward()
        optimizer.step()
    after = ladder.state_dict()
    trained = {name for name, _ in ladder.named_trainables()}
    assert {name.split(".")[0] for name in trained} == {"queries", "connector", "generator"}
    for name, value in after.items():
        moved = not torch.equal(value, before[name])
        # The position table of the generator is a buffer.
        assert moved == (name in trained), name
    assert {value.dtype for value in ladder.trainable_parameters()} == {torch.float32}
    foundation = make(foundations, dtype=dtype).understanding.state_dict()
    for name, value in ladder.understanding.state_dict().items():
        assert torch.equal(value, foundation[name]), name


@pytest.mark.parametrize("scheme", get_args(Scheme))
def test_every_scheme_trains_its_queries(foundations, prompts, inputs, scheme):
    layers = (2, "norm", 4) if scheme == "list" else None
    ladder = make(foundations, scheme, layers)
    ladder(*inputs, prompts).square().mean().backward()
    assert all(value.grad is not None for value in ladder.trainable_parameters())
    assert ladder.queries.grad.abs().min() > 0


def test_conditions_are_the_same_under_checkpointing(ladder, prompts, inputs):
    ladder.train()
    gradients = []
    for switch in (ladder.disable_gradient_checkpointing, ladder.enable_gradient_checkpointing):
        switch()
        ladder.zero_grad()
        ladder(*inputs, prompts).square().mean().backward()
        gradients.append([value.grad.clone() for value in ladder.trainable_parameters()])
    assert ladder.generator.gradient_checkpointing
    assert all(torch.equal(kept, again) for kept, again in zip(*gradients, strict=True))


def test_fresh_parts_come_from_the_seed_alone(foundations):
    first, same, other = (make(foundations, seed=seed) for seed in (0, 0, 1))
    for name in ("queries", "connector.0.weight"):
        assert torch.equal(first.get_parameter(name), same.get_parameter(name))
        assert not torch.equal(first.get_parameter(name), other.get_parameter(name))
    std = first.understanding.mllm.get_input_embeddings().weight.std()
    assert 0.8 < make(foundations, queries=64).queries.std() / std < 1.2


def test_the_connector_is_as_wide_as_asked(foundations):
    """Or as the captions."""
    assert make(foundations, connector_width=None).connector[0].out_features == CAPTION_CHANNELS
    assert make(foundations, connector_width=20).connector[0].out_features == 20


def test_connectors_of_all_rungs_begin_as_the_shared_one_and_then_part(
    foundations, prompts, inputs
):
    shared, apart = make(foundations), make(foundations, connectors="per_rung")
    torch.testing.assert_close(apart.conditions(prompts), shared.conditions(prompts))
    apart(*inputs, prompts).square().mean().backward()
    gradients = [connector[0].weight.grad for connector in apart.connector]
    assert len(gradients) == GENERATOR_BLOCKS
    assert not torch.equal(gradients[0], gradients[1])


def test_connectors_of_all_rungs_are_saved(foundations, tmp_path):
    ladder = make(foundations, connectors="per_rung", connector_width=20)
    ladder.save_pretrained(tmp_path / "ladder")
    loaded = Ladder.from_pretrained(tmp_path / "ladder")
    assert (loaded.connectors, loaded.connector_width) == ("per_rung", 20)
    for name, value in loaded.trainable_state().items():
        assert torch.equal(value, ladder.trainable_state()[name]), name


def test_noise_is_added_to_the_queries(foundations, prompts):
    ladder, noisy = make(foundations), make(foundations)
    noise = torch.randn_like(ladder.queries)
    noisy.queries.data += noise
    same = noise.expand(len(prompts), -1, -1)
    assert torch.equal(ladder.conditions(prompts, same), noisy.conditions(prompts))
    assert not torch.equal(ladder.conditions(prompts), noisy.conditions(prompts))


def test_lora_begins_at_no_change_learns_little_and_ends_in_a_stock_sana(
    foundations, prompts, inputs
):
    plain, ladder = make(foundations), make(foundations)
    before = {name: value.clone() for name, value in ladder.generator.state_dict().items()}
    ladder.begin_lora(2, seed=0)
    torch.testing.assert_close(ladder(*inputs, prompts), plain(*inputs, prompts))
    trained = [name for name, _ in ladder.named_trainables() if name.startswith("generator.")]
    assert all(".lora_" in name or ".caption_" in name for name in trained)
    optimizer = torch.optim.AdamW(ladder.trainable_parameters(), lr=1e-2)
    for _ in range(2):
        ladder(*inputs, prompts).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        learnt = ladder(*inputs, prompts)
        ladder.end_lora()
        torch.testing.assert_close(ladder(*inputs, prompts), learnt)
    after = ladder.generator.state_dict()
    assert after.keys() == before.keys()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert {name for name in changed if not name.startswith("caption")} == {
        name
        for name in after
        if name.endswith(("to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight"))
    }
    key = "transformer_blocks.0.attn2.to_k.weight"
    assert torch.linalg.matrix_rank(after[key] - before[key], rtol=1e-3) == 2
    assert all(value.requires_grad for value in ladder.generator.parameters())


def test_a_ladder_longer_than_the_mllm_is_an_error(foundations, tmp_path):
    tiny_sana(tmp_path / "sana", blocks=MLLM_LAYERS + 1)
    (tmp_path / "mllm").symlink_to(foundations / "mllm")
    with pytest.raises(ValueError, match="longer than the MLLM"):
        make(tmp_path)


@pytest.fixture
def saved(foundations, tmp_path):
    """A trained ladder, and the folder it was saved in, beside an MLLM of its own."""
    shutil.copytree(foundations, tmp_path, dirs_exist_ok=True)
    ladder = make(tmp_path, "learned")
    with torch.no_grad():
        for value in ladder.trainable_parameters():
            value.add_(0.01)
    ladder.save_pretrained(tmp_path / "ladder")
    return ladder, tmp_path / "ladder"


def test_what_is_loaded_is_what_was_saved(saved, prompts, inputs):
    ladder, folder = saved
    loaded = Ladder.from_pretrained(folder)
    assert loaded.taps == ladder.taps
    state = loaded.state_dict()
    assert state.keys() == ladder.state_dict().keys()
    for name, value in ladder.state_dict().items():
        assert torch.equal(state[name], value), name
    assert torch.equal(loaded(*inputs, prompts), ladder(*inputs, prompts))


def test_the_mllm_is_named_not_copied(saved):
    ladder, folder = saved
    tensors = load_file(folder / "ladder.safetensors").keys()
    assert tensors == {
        "queries",
        "mixture.weights",
        *(f"connector.{name}" for name in ladder.connector.state_dict()),
    }
    settings = json.loads((folder / "config.json").read_text())
    assert settings["mllm"]["source"] == "../mllm"
    assert settings["taps"]["scheme"] == "learned"


def test_storage_in_bfloat16_rounds_once_and_computes_in_float32(saved):
    ladder, folder = saved
    ladder.save_pretrained(folder, torch.bfloat16)
    weights = folder / "generator/diffusion_pytorch_model.safetensors"
    for file in (folder / "ladder.safetensors", weights):
        assert {value.dtype for value in load_file(file).values()} == {torch.bfloat16}
    state = Ladder.from_pretrained(folder).trainable_state()
    for name, value in ladder.trainable_state().items():
        assert torch.equal(state[name], value.bfloat16().float()), name


def test_a_ladder_can_compute_in_bfloat16(saved, prompts, inputs):
    ladder, folder = saved
    half = Ladder.from_pretrained(folder, torch.bfloat16)
    assert {value.dtype for value in half.parameters()} == {torch.bfloat16}
    velocity = half(inputs[0].bfloat16(), inputs[1], prompts)
    exact = ladder(*inputs, prompts)
    assert (velocity - exact).norm() < 0.1 * exact.norm()


@pytest.mark.parametrize("change", ["missing", "unexpected"])
@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("ladder.safetensors", "connector.2.bias"),
        ("generator/diffusion_pytorch_model.safetensors", "transformer_blocks.1.attn2.to_k.weight"),
    ],
)
def test_weights_that_dont_fit_are_an_error(saved, change, file, key):
    _, folder = saved
    weights = load_file(folder / file)
    if change == "missing":
        del weights[key]
    else:
        key = f"{key}.extra"
        weights[key] = torch.zeros(2)
    save_file(weights, folder / file, {"format": "pt"})
    with pytest.raises(ValueError, match=f"{change}.*{key}"):
        Ladder.from_pretrained(folder)


def test_another_mllm_is_an_error(saved):
    _, folder = saved
    tiny_mllm(folder.parent / "mllm", seed=1)
    with pytest.raises(ValueError, match="needs the model of SHA-256"):
        Ladder.from_pretrained(folder)


def test_the_trainable_state_makes_the_trip_alone(ladder, foundations):
    state = {name: value + 1 for name, value in ladder.trainable_state().items()}
    assert not any(name.startswith("understanding") for name in state)
    other = make(foundations, seed=1)
    other.load_trainable_state(state)
    for name, value in other.trainable_state().items():
        assert torch.equal(value, state[name]), name
    del state["queries"]
    with pytest.raises(ValueError, match=r"missing \['queries'\]"):
        other.load_trainable_state(state)


@pytest.mark.parametrize("tokens", [None, 36])
def test_visual_tokens_come_back_with_the_folder(foundations, tmp_path, tokens):
    """And leave no trace where they were not asked for."""
    make(foundations, tokens=tokens).save_pretrained(tmp_path)
    loaded = Ladder.from_pretrained(tmp_path)
    prompts = loaded.understanding.prepare(["x"], [[tiny_picture(0)]])
    assert int(prompts.image_grid_thw.prod()) == 4 * (tokens or 16)
    assert json.loads((tmp_path / "config.json").read_text()).get("visual_tokens", None) == tokens
    assert ("visual_tokens" in (tmp_path / "config.json").read_text()) == (tokens is not None)
