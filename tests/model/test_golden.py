"""The published code, recorded on tiny random weights, and ours on the same weights.

Prompts must be equal token by token and pixel by pixel, all that is computed to 1e-5.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, SanaTransformer2DModel
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoConfig, Qwen2_5_VLForConditionalGeneration

from ladder import flow
from ladder.model.ladder import Ladder
from ladder.model.prompts import Prompter
from ladder.model.reference import Reference
from ladder.model.rungs import layer_indices
from ladder.model.understanding import Understanding
from ladder.pipeline import LadderPipeline

VISUAL_TOKENS = 256
"""The published code resizes every picture to these."""


def part(weights, prefix):
    return {
        name.removeprefix(prefix): value
        for name, value in weights.items()
        if name.startswith(prefix)
    }


@pytest.fixture(scope="module")
def reference(golden):
    return golden / "reference"


@pytest.fixture(scope="module")
def meta(reference):
    return json.loads((reference / "meta.json").read_text())


@pytest.fixture(scope="module")
def pipeline(reference, meta):
    weights = load_file(reference / "checkpoint/model.safetensors")
    bases = reference / "bases"
    config = AutoConfig.from_pretrained(bases / "mllm")
    mllm = Qwen2_5_VLForConditionalGeneration(config)
    rows = weights.pop("model.mllm_backbone.model.embed_tokens.weight")
    vocabulary, queries = config.text_config.vocab_size, meta["queries"]
    mllm.get_input_embeddings().weight.data = rows[:vocabulary]
    mllm.model.language_model.load_state_dict(
        part(weights, "model.mllm_backbone.model."), strict=False
    )
    mllm.model.visual.load_state_dict(part(weights, "model.mllm_backbone.visual."))
    prompter = Prompter.from_pretrained(bases / "mllm")
    pixels = VISUAL_TOKENS * 28 * 28
    size = prompter.image_processor.size
    prompter.image_processor.size = replace(size, shortest_edge=pixels, longest_edge=pixels)
    transformer = SanaTransformer2DModel.from_config(bases / "sana/transformer")
    transformer.load_state_dict(part(weights, "model.transformer."), strict=False)
    ladder = Ladder(
        Understanding(mllm, prompter, Reference("", None, "", bases)),
        transformer,
        layer_indices(
            "last_n", meta["layers"]["generator_blocks"], len(mllm.model.language_model.layers)
        ),
        queries,
    )
    ladder.queries.data = rows[vocabulary : vocabulary + queries]
    ladder.connector.load_state_dict(part(weights, "model.connector."))
    vae = AutoencoderDC.from_config(bases / "sana/vae").eval()
    vae.load_state_dict(part(weights, "vae."))
    scheduler = DPMSolverMultistepScheduler.from_pretrained(bases / "sana", subfolder="scheduler")
    pipeline = LadderPipeline(ladder, vae, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def assert_near(ours, recorded):
    assert (ours - recorded).abs().max() < 1e-5 * recorded.abs().max()


@pytest.mark.parametrize("name", ["train_t2i", "train_edit"])
def test_a_training_step_is_the_published_one(pipeline, reference, meta, name):
    recorded = load_file(reference / f"{name}.safetensors")
    captions, queries = meta[name]["captions"], meta["queries"]
    files = meta[name].get("sources", [])
    images = [[Image.open(reference / file)] for file in files] or [[] for _ in captions]
    ladder = pipeline.ladder
    assert list(ladder.taps.layers) == meta["layers"]["hidden_state_index_per_block"]
    prompts = ladder.understanding.prepare(captions, images)
    # The published sequence goes on with the queries and two tokens that close the turn.
    assert torch.equal(prompts.input_ids, recorded["input_ids"][:, : -queries - 2])
    assert torch.equal(prompts.attention_mask, recorded["attention_mask"][:, : -queries - 2])
    if files:
        assert torch.equal(prompts.image_grid_thw, recorded["image_grid_thw"])
        assert torch.equal(prompts.pixel_values, recorded["pixel_values"])
    with torch.no_grad():
        assert_near(
            ladder.understanding.rungs(prompts, ladder.queries, ladder.taps), recorded["rungs"]
        )
        conditions = ladder.conditions(prompts).unflatten(1, (-1, queries)).transpose(0, 1)
        assert_near(conditions, recorded["conditions"])
        latents, noise, timesteps = (recorded[key] for key in ("latents", "noise", "timesteps"))
        noisy = flow.noisy(latents, noise, timesteps / flow.TIMESTEPS)
        assert_near(noisy, recorded["noisy_latents"])
        velocity = ladder(noisy, timesteps, prompts)
        assert_near(velocity, recorded["velocity"])
        assert_near(flow.loss(velocity, latents, noise), recorded["loss"])


@pytest.mark.parametrize("name", ["sample_t2i", "sample_edit"])
def test_sampling_is_the_published_one(pipeline, reference, meta, name):
    recorded, settings = load_file(reference / f"{name}.safetensors"), meta[name]
    source = settings["source"] and Image.open(reference / settings["source"])

    def drawn(output_type):
        return pipeline(
            settings["caption"],
            source,
            settings["negative_prompt"],
            num_inference_steps=settings["steps"],
            guidance_scale=settings["guidance_scale"],
            image_guidance_scale=settings.get("image_guidance_scale", 1.0),
            latents=recorded["initial_latents"],
            output_type=output_type,
        ).images

    assert_near(drawn("latent"), recorded["final_latents"])
    assert_near(drawn("pt"), recorded["image"])
