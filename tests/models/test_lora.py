"""Adapters: what peft makes of their folders, when they act, what they leave alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import SanaTransformer2DModel
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tests.tiny import LATENT_SHAPE, MLLMS, tiny_mllm, tiny_picture

from ladder.config.load import load
from ladder.models.ladder import Ladder
from ladder.models.loading import load_part
from ladder.models.lora import acting, is_adapter

SHIPPED = load(root=Path(__file__).parents[2])
KINDS = pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
RANK = 2


def make(foundations, dtype="float32", **model):
    model = {"queries": 4, "query_text": None, "scheme": "last_n", "layers": None, **model}
    parts = {"mllm": str(foundations / "mllm"), "generator": str(foundations / "sana")}
    return Ladder.from_foundations(
        replace(SHIPPED.model, **model), replace(SHIPPED.foundations, **parts, dtype=dtype), 0
    )


def adapters(ladder):
    return {n: v for n, v in ladder.named_trainables() if n.startswith("understanding.")}


def change(ladder):
    """All that is trained, as training would, and by much."""
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in ladder.trainable_parameters():
            value += 0.05 * torch.randn(value.shape, generator=noise)


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    return torch.randn(2, *LATENT_SHAPE), torch.tensor([100.0, 900.0])


@pytest.fixture
def prompts(foundations):
    texts = ["two pink hearts", "make it blue"]
    return make(foundations).understanding.prepare(texts, [[], [tiny_picture(0)]])


# ---- of the generator ----


@KINDS
def test_stock_weights_and_the_written_folder_are_the_merged_generator(foundations, tmp_path, dora):
    """By peft alone; the projection of captions, which is trained whole, goes with it."""
    ladder = make(foundations)
    stock = load_part(SanaTransformer2DModel, foundations / "sana", "transformer")
    ladder.begin_lora(RANK, seed=0, dora=dora)
    learnt = {name for name, _ in ladder.generator.named_parameters() if "magnitude" in name}
    assert bool(learnt) == dora
    change(ladder)
    ladder.save_lora(tmp_path)
    ladder.end_lora()
    assert {path.name for path in tmp_path.iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors",
    }  # fmt: skip
    before = {name: value.clone() for name, value in stock.state_dict().items()}
    loaded = PeftModel.from_pretrained(stock, str(tmp_path)).merge_and_unload().state_dict()
    merged = ladder.generator.state_dict()
    assert loaded.keys() == merged.keys() == before.keys()
    for name, value in merged.items():
        torch.testing.assert_close(loaded[name], value, atol=1e-6, rtol=1e-6)
    changed = {name for name, value in merged.items() if (value - before[name]).abs().max() > 1e-3}
    assert {name.rpartition(".")[0] for name in changed} == {
        "caption_projection.linear_1",
        "caption_projection.linear_2",
        "caption_norm",
        *(
            f"transformer_blocks.{block}.attn{attention}.{part}"
            for block in range(3)
            for attention in (1, 2)
            for part in ("to_q", "to_k", "to_v", "to_out.0")
        ),
    }


def test_dora_begins_at_no_change_and_is_merged_as_it_acted(foundations, prompts, inputs):
    plain, ladder = make(foundations), make(foundations)
    ladder.begin_lora(RANK, seed=0, dora=True)
    torch.testing.assert_close(ladder(*inputs, prompts), plain(*inputs, prompts))
    change(ladder)
    with torch.no_grad():
        acted = ladder(*inputs, prompts)
        ladder.end_lora()
        torch.testing.assert_close(ladder(*inputs, prompts), acted)
    assert ladder.state_dict().keys() == plain.state_dict().keys()


# ---- of the MLLM ----


@KINDS
def test_a_fresh_adapter_changes_not_a_bit(foundations, prompts, inputs, dora):
    plain, ladder = make(foundations), make(foundations, mllm_lora_rank=RANK, dora=dora)
    assert adapters(ladder)
    assert torch.equal(ladder(*inputs, prompts), plain(*inputs, prompts))


@KINDS
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_learns_and_the_weights_beside_it_stay_bit_for_bit(
    foundations, prompts, inputs, dora, dtype
):
    """It is float32 beside bfloat16 too, so that small steps aren't lost."""
    ladder = make(foundations, dtype, mllm_lora_rank=RANK, dora=dora).train()
    before = {name: value.clone() for name, value in ladder.state_dict().items()}
    optimizer = torch.optim.AdamW(ladder.trainable_parameters(), lr=1e-4)
    for _ in range(2):
        optimizer.zero_grad()
        ladder(*inputs, prompts).square().mean().backward()
        optimizer.step()
    trained = {name for name, _ in ladder.named_trainables()}
    assert trained >= adapters(ladder).keys()
    for name, value in ladder.state_dict().items():
        assert torch.equal(value, before[name]) == (name not in trained), name
    assert {value.dtype for value in ladder.trainable_parameters()} == {torch.float32}
    stock = make(foundations, dtype).understanding.state_dict()
    own = ladder.understanding.state_dict()
    kept = {n.replace(".base_layer", ""): value for n, value in own.items() if not is_adapter(n)}
    assert kept.keys() == stock.keys()
    assert all(torch.equal(value, stock[name]) for name, value in kept.items())


def test_it_sits_on_the_attention_of_the_layers_that_run_and_on_nothing_else(foundations):
    """Not on the vision tower, and not above the highest tap."""
    ladder = make(foundations, scheme="list", layers=(1, 3, 2), mllm_lora_rank=RANK)
    places = {name.partition(".lora_")[0] for name in adapters(ladder)}
    assert places == {
        f"understanding.mllm.model.language_model.layers.{layer}.self_attn.{part}_proj"
        for layer in range(3)
        for part in "qkvo"
    }
    assert adapters(ladder).keys() == {
        f"{place}.lora_{part}.ladder.weight" for place in places for part in "AB"
    }


@pytest.mark.parametrize("kind", MLLMS)
def test_it_acts_on_the_queries_and_on_no_prompt(foundations, tmp_path, kind):
    """Keys and values of the prompt are those of the untouched weights, so that what is kept of
    them is shared by all ladders; of each MLLM that a ladder reads with."""
    tiny_mllm(tmp_path / "mllm", kind=kind)
    (tmp_path / "sana").symlink_to(foundations / "sana")
    plain, ladder = make(tmp_path), make(tmp_path, mllm_lora_rank=RANK)
    change(ladder)
    pictures = [[], [tiny_picture(0)] if kind != "qwen3" else []]
    prompts = plain.understanding.prepare(["two pink hearts", "make it blue"], pictures)
    queries, taps = plain.queries, plain.taps
    found = {}
    for name, one in {"plain": plain, "adapted": ladder}.items():
        one.understanding.prompt_cache = tmp_path / name
        found[name] = one.understanding.rungs(prompts, queries, taps)
        assert torch.equal(one.understanding.rungs(prompts, queries, taps), found[name])
    assert (found["adapted"] - found["plain"]).abs().amax((1, 2, 3)).min() > 1e-3
    kept = [sorted((tmp_path / name).rglob("*.safetensors")) for name in found]
    assert len(kept[0]) == 2
    for ours, theirs in zip(*kept, strict=True):
        assert ours.relative_to(tmp_path / "plain") == theirs.relative_to(tmp_path / "adapted")
        assert ours.read_bytes() == theirs.read_bytes()


@KINDS
def test_its_pass_is_that_of_peft_on_the_stock_mllm(foundations, tmp_path, prompts, dora):
    """peft loads the folder that was written, and with it the queries' states are the same."""
    ladder = make(foundations, mllm_lora_rank=RANK, dora=dora)
    change(ladder)
    ladder.save_pretrained(tmp_path / "ladder")
    stock = MLLMS["qwen2_5_vl"].from_pretrained(foundations / "mllm")
    PeftModel.from_pretrained(stock, str(tmp_path / "ladder/mllm_adapter"))
    theirs = dict(stock.named_parameters())
    for name, value in adapters(ladder).items():
        name = name.removeprefix("understanding.mllm.").replace(".ladder", ".default")
        assert torch.equal(theirs[name], value), name
    entering = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(0))
    attention = "model.language_model.layers.0.self_attn.q_proj"
    with torch.no_grad():
        expected = stock.get_submodule(attention)(entering)
        ours = ladder.understanding.mllm.get_submodule(attention)
        assert not torch.allclose(ours(entering), expected, atol=1e-3)
        with acting(ladder.understanding.mllm):
            assert torch.equal(ours(entering), expected)


@pytest.mark.parametrize("seen", [True, False])
def test_answers_are_those_of_the_untouched_mllm_token_for_token(
    foundations, prompts, inputs, monkeypatch, seen
):
    plain, ladder = make(foundations), make(foundations, mllm_lora_rank=RANK)
    change(ladder)
    ladder(*inputs, prompts)
    picture, tokens = tiny_picture(3) if seen else None, []
    for one in (plain, ladder):
        generate = one.understanding.mllm.generate
        monkeypatch.setattr(
            one.understanding.mllm,
            "generate",
            lambda *, generate=generate, **given: tokens.append(generate(**given)) or tokens[-1],
        )
        one.understanding.ask(picture, "What is in the image?", max_tokens=12)
    assert torch.equal(*tokens)
    with acting(ladder.understanding.mllm):
        ladder.understanding.ask(picture, "What is in the image?", max_tokens=12)
    assert not torch.equal(tokens[0], tokens[-1])


def test_it_acts_when_layers_are_run_anew_in_the_backward_pass(foundations, prompts, inputs):
    ladder = make(foundations, mllm_lora_rank=RANK)
    change(ladder)
    ladder.train()
    gradients = []
    for checkpointing in (False, True):
        ladder.understanding.checkpointing = checkpointing
        ladder.zero_grad()
        ladder(*inputs, prompts).square().mean().backward()
        gradients.append({name: value.grad.clone() for name, value in adapters(ladder).items()})
    for name, value in gradients[0].items():
        assert value.abs().max() > 0
        assert torch.equal(gradients[1][name], value), name


def test_it_rests_after_an_error_too(foundations):
    ladder = make(foundations, mllm_lora_rank=RANK)
    change(ladder)
    mllm, before = ladder.understanding.mllm, adapters(ladder).keys()
    tokens = torch.tensor([[1, 2, 3]])
    expected = make(foundations).understanding.mllm(tokens).logits
    with pytest.raises(KeyError), acting(mllm):
        raise KeyError
    assert torch.equal(mllm(tokens).logits, expected)
    assert adapters(ladder).keys() == before


# ---- saved and loaded ----


@pytest.fixture(params=[False, True], ids=["lora", "dora"])
def saved(request, foundations, tmp_path):
    ladder = make(foundations, mllm_lora_rank=RANK, dora=request.param)
    change(ladder)
    ladder.save_pretrained(tmp_path / "ladder")
    return ladder, tmp_path / "ladder"


def test_what_is_loaded_is_what_was_saved(saved, prompts, inputs):
    ladder, folder = saved
    loaded = Ladder.from_pretrained(folder)
    state, expected = loaded.trainable_state(), ladder.trainable_state()
    assert state.keys() == expected.keys() >= adapters(ladder).keys()
    assert all(torch.equal(state[name], value) for name, value in expected.items())
    assert [name for name, _ in loaded.named_trainables()] == [
        name for name, _ in ladder.named_trainables()
    ]
    assert torch.equal(loaded(*inputs, prompts), ladder(*inputs, prompts))
    assert not any("lora" in name for name in load_file(folder / "ladder.safetensors"))
    again = folder.parent / "again"
    loaded.save_pretrained(again)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        path = f"mllm_adapter/{name}"
        assert (again / path).read_bytes() == (folder / path).read_bytes()


def test_in_a_bfloat16_ladder_it_stays_exact(saved, prompts, inputs):
    """And so in the pipeline that is exported in bfloat16."""
    ladder, folder = saved
    half = Ladder.from_pretrained(folder, torch.bfloat16)
    exact = adapters(ladder)
    rest = {v.dtype for name, v in half.named_parameters() if name not in exact}
    assert rest == {torch.bfloat16}
    for one in (half, ladder.to(torch.bfloat16)):
        assert adapters(one).keys() == exact.keys()
        for name, value in adapters(one).items():
            assert value.dtype == torch.float32
            assert torch.equal(value, adapters(Ladder.from_pretrained(folder))[name])
    velocity = half(inputs[0].bfloat16(), inputs[1], prompts)
    expected = Ladder.from_pretrained(folder)(*inputs, prompts)
    assert (velocity - expected).norm() < 0.1 * expected.norm()


def test_it_can_be_stored_in_bfloat16(saved):
    ladder, folder = saved
    ladder.save_pretrained(folder, torch.bfloat16)
    stored = load_file(folder / "mllm_adapter/adapter_model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.bfloat16}
    for name, value in adapters(Ladder.from_pretrained(folder)).items():
        assert torch.equal(value, adapters(ladder)[name].bfloat16().float())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lora_alpha", 7),
        ("target_modules", ".*k_proj"),
        ("use_rslora", True),
        ("rank_pattern", {".*": 1}),
    ],
)
def test_an_adapter_of_another_kind_is_an_error(saved, key, value):
    _, folder = saved
    path = folder / "mllm_adapter/adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(ValueError, match=f"must change the attention .* got .*{key}"):
        Ladder.from_pretrained(folder)


@pytest.mark.parametrize("missing", [True, False])
def test_weights_that_dont_fit_are_an_error(saved, missing):
    _, folder = saved
    path = folder / "mllm_adapter/adapter_model.safetensors"
    weights = load_file(path)
    if missing:
        del weights[min(weights)]
    else:
        weights["extra"] = torch.zeros(1)
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(ValueError, match=r"mllm_adapter must fit: .* (is missing|isn't known)"):
        Ladder.from_pretrained(folder)


def test_an_adapter_that_is_named_must_be_there(saved):
    _, folder = saved
    (folder / "mllm_adapter/adapter_config.json").unlink()
    with pytest.raises(FileNotFoundError, match="mllm_adapter"):
        Ladder.from_pretrained(folder)


def test_a_ladder_that_runs_no_layer_has_no_place_for_it(foundations):
    with pytest.raises(ValueError, match="needs a layer that runs, got 0"):
        make(foundations, scheme="list", layers=(0, 0, 0), mllm_lora_rank=RANK)
