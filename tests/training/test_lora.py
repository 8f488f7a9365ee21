"""Adapters through the stages: written, resumed, handed on, exported."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from diffusers import SanaTransformer2DModel
from peft import PeftModel
from PIL import Image
from tests.training.running import equal, losses, outage, train, weights

from ladder.experiments.one_run import size_of
from ladder.inference.pipeline import LadderPipeline
from ladder.models.generator.rung_attention import load_part
from ladder.models.ladder import Ladder
from ladder.models.lora import is_adapter
from ladder.training.module import LadderModule
from ladder.training.stages import run_stage
from ladder.training.start import starting_ladder

KINDS = pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])


def with_model(config, dtype="float32", **changes):
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, **changes),
        foundations=dataclasses.replace(config.foundations, dtype=dtype),
    )


def adapters(ladder):
    return {name: value for name, value in ladder.trainable_state().items() if is_adapter(name)}


@KINDS
def test_the_written_folder_on_the_stages_start_is_its_outcome(short, encoded, tmp_path, dora):
    """By peft: the averaged weights, as they were merged."""
    folder = train(with_model(short, lora_rank=2, dora=dora), encoded, tmp_path / "runs")
    start = folder.parent / "t2i/ladder"
    assert not (start.parent / "generator_adapter").exists()
    stock = load_part(SanaTransformer2DModel, start, "generator")
    loaded = PeftModel.from_pretrained(stock, str(folder / "generator_adapter"))
    loaded = loaded.merge_and_unload().state_dict()
    outcome = weights(folder / "ladder/generator")
    before = weights(start / "generator")
    for name, value in outcome.items():
        torch.testing.assert_close(loaded[name.split(":")[1]], value, atol=1e-6, rtol=1e-6)
    assert not any("lora" in name for name in outcome)
    assert max((value - before[name]).abs().max() for name, value in outcome.items()) > 1e-3


def test_a_stage_without_lora_leaves_no_such_folder(short, encoded, tmp_path):
    """Not even one that an earlier run left."""
    left = tmp_path / "ladder-0/ti2i/generator_adapter"
    run_stage(short, "t2i", encoded, tmp_path)
    left.mkdir(parents=True)
    train(short, encoded, tmp_path)
    assert not left.exists()


@KINDS
def test_an_interrupted_stage_goes_on_bit_for_bit(short, encoded, tmp_path, monkeypatch, dora):
    """Adapters of both, their averages and their moments."""
    config = with_model(short, lora_rank=2, mllm_lora_rank=2, dora=dora)
    whole = train(config, encoded, tmp_path / "whole")
    with monkeypatch.context() as patch:
        losses(patch, outage(6))
        with pytest.raises(ConnectionError):
            train(config, encoded, tmp_path / "parts")
    saved = torch.load(tmp_path / "parts/ladder-0/ti2i/last.ckpt", weights_only=True)
    names = {name for name in saved["state_dict"] if name.startswith("understanding.")}
    assert names
    assert all(is_adapter(name) for name in names)
    parts = train(config, encoded, tmp_path / "parts")
    for folder in ("ladder", "generator_adapter"):
        assert equal(weights(whole / folder), weights(parts / folder))


def test_the_mllms_adapter_goes_on_from_stage_to_stage(short, encoded, tmp_path):
    """Unmerged and in float32, beside an MLLM in bfloat16; answers stay those of the base."""
    config = with_model(short, "bfloat16", mllm_lora_rank=2)
    ladders = [starting_ladder(config, "t2i", tmp_path / "ladder-0")]
    plain = starting_ladder(with_model(short, "bfloat16"), "t2i", tmp_path)
    for stage, after in (("t2i", "ti2i"), ("ti2i", "finetune")):
        run_stage(config, stage, encoded, tmp_path)
        ladders.append(starting_ladder(config, after, tmp_path / "ladder-0"))
    first, second, third = map(adapters, ladders)
    assert equal(first, second)  # a stage of no steps
    assert all(not torch.equal(value, second[name]) for name, value in third.items())
    assert {value.dtype for value in third.values()} == {torch.float32}
    frozen = plain.understanding.state_dict()
    own = ladders[-1].understanding.state_dict()
    kept = {n.replace(".base_layer", ""): value for n, value in own.items() if not is_adapter(n)}
    assert equal(kept, frozen)
    picture = Image.new("RGB", (32, 32))
    answers = [one.understanding.ask(picture, "What is it?", 6) for one in (plain, ladders[-1])]
    assert answers[0] == answers[1]


def test_the_exported_pipeline_draws_with_it_and_answers_without(short, encoded, tmp_path):
    """All is in bfloat16 but the adapter, which is exact."""
    config = with_model(short, mllm_lora_rank=2)
    run_stage(config, "t2i", encoded, tmp_path / "runs")
    folder = run_stage(config, "ti2i", encoded, tmp_path / "runs", tmp_path / "shipped")
    shipped = LadderPipeline.from_pretrained(tmp_path / "shipped")
    trained = Ladder.from_pretrained(folder)
    assert equal(adapters(shipped.ladder), adapters(trained))
    assert torch.equal(shipped.ladder.queries, trained.queries.bfloat16().float())
    prompts = trained.understanding.prepare(["a red circle"], [[]])
    with torch.no_grad():
        states = [
            one.understanding.rungs(prompts, trained.queries, trained.taps)
            for one in (shipped.ladder, trained, starting_ladder(short, "t2i", tmp_path))
        ]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[1], states[2])
    assert shipped("a red circle", num_inference_steps=2).images[0].size == (32, 32)
    start = starting_ladder(short, "t2i", tmp_path)
    assert shipped.ask(None, "What is it?", 4) == start.understanding.ask(None, "What is it?", 4)


def test_it_is_counted_apart(short):
    """What a cell of the ablations says of its size: rank 2 on attention of 64 by 64 and 64 by 32
    in five layers. Without an adapter nothing is said of one."""
    sizes = [
        size_of(Ladder.from_foundations(config.model, config.foundations, seed=0))["parameters"]
        for config in (short, with_model(short, mllm_lora_rank=2))
    ]
    layer = 2 * (64 + 64) + 2 * (64 + 32)
    assert sizes[1] == sizes[0] | {"mllm_adapter": 2 * 5 * layer}


@KINDS
def test_it_learns_at_the_rate_of_what_is_new_and_its_matrices_decay(short, dora):
    config = with_model(short, mllm_lora_rank=2, dora=dora)
    ladder = Ladder.from_foundations(config.model, config.foundations, seed=0)
    stage = dataclasses.replace(config.stages.ti2i, weight_decay=0.1)
    module = LadderModule(ladder, stage, config.flow, "ti2i", seed=0)
    groups = {
        id(value): group
        for group in module.configure_optimizers()["optimizer"].param_groups
        for value in group["params"]
    }
    held = [(name, groups[id(v)]) for name, v in ladder.named_trainables() if is_adapter(name)]
    assert any("magnitude" in name for name, _ in held) == dora
    for name, group in held:
        assert group["initial_lr"] == stage.lr
        assert group["weight_decay"] == (0.0 if "magnitude" in name else 0.1), name
