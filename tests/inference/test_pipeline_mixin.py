"""What diffusers asks of every pipeline, asked of ours on a tiny ladder.

The checks are those of `PipelineTesterMixin`, with which diffusers tests its own pipelines, written
anew, since it is not in the wheel. Where batches, schedulers, callbacks and folders are concerned,
tests/test_pipeline.py asks for more. What the mixin asks and is not asked here, and why:

- float16 (`test_float16_inference`, `test_save_load_float16`), `test_to_device`: need a GPU. The
  ladder computes in float32 and bfloat16.
- sequential and group offloading, attention slicing, xformers: a ladder refuses them, see below.
- `test_model_cpu_offload_forward_pass` on a GPU: here the hooks move it from CPU to CPU, and the
  order of their calls is looked at instead.
- `test_encode_prompt_works_in_isolation`: there is no `encode_prompt`; what a prompt becomes are
  the rungs of `Ladder.conditions`, which have their own tests.
- `test_cfg`, `test_callback_cfg`: which branches run is planned before the first step, so guidance
  can't be changed by a callback; tests/test_pipeline.py counts the branches.
- `test_save_load_optional_components`: no component is optional.
- variants, `test_save_load_dduf`: a ladder is stored in one precision, in its own layout.
- `test_layerwise_casting_inference`, `test_pipeline_with_accelerator_device_map`,
  `test_torch_dtype_dict`: the MLLM is loaded by reference and computes in one precision.
- `test_pt_np_pil_inputs_equivalent`, `test_multi_vae`: sources are PIL pictures, which the MLLM
  reads; they never go through the autoencoder.
- `test_StableDiffusionMixin_component`, `test_freeu`, FreeInit, IP-Adapters, Karras schedulers,
  caches (PAB, FasterCache, FirstBlockCache, TaylorSeer): need a UNet, or blocks that ours lack.
"""

from __future__ import annotations

import inspect
import io
import json
import shutil
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    FlowMatchLCMScheduler,
    UniPCMultistepScheduler,
)
from huggingface_hub import constants
from tests.tiny import LATENT_SHAPE, SIDE, tiny_mllm, tiny_picture, tiny_sana

from ladder.config.load import load
from ladder.inference.pipeline import LadderPipeline
from ladder.models.ladder import Ladder
from ladder.models.reference import Reference

SHIPPED = load(root=Path(__file__).parents[2])
STEPS = 2
PARAMETERS = {
    "prompt",
    "image",
    "negative_prompt",
    "height",
    "width",
    "guidance_scale",
    "image_guidance_scale",
    "num_inference_steps",
    "num_images_per_prompt",
    "generator",
    "latents",
    "output_type",
    "return_dict",
    "callback_on_step_end",
    "callback_on_step_end_tensor_inputs",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The pipeline, which a test that changes it copies."""
    root = tmp_path_factory.mktemp("foundations")
    mllm, sana = tiny_mllm(root / "mllm"), tiny_sana(root / "sana")
    foundations = replace(SHIPPED.foundations, mllm=str(mllm), generator=str(sana), dtype="float32")
    model = replace(SHIPPED.model, scheme="last_n", layers=None, queries=4, connector_width=None)
    ladder = Ladder.from_foundations(model, foundations, seed=0)
    return LadderPipeline.from_ladder(ladder, foundations, SHIPPED.sampling)


@pytest.fixture
def pipeline(made):
    """A pipeline of the same parts."""
    pipeline = LadderPipeline(**made.components)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def inputs(**changes):
    """An edit from fixed noise."""
    return {
        "prompt": "make the green square yellow",
        "image": tiny_picture(0),
        "negative_prompt": "a blue star",
        "generator": torch.Generator().manual_seed(0),
        "num_inference_steps": STEPS,
        "output_type": "np",
        **changes,
    }


def draw(pipeline, **changes):
    return pipeline(**inputs(**changes)).images


def close(ours, theirs, tolerance=1e-5):
    np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=0)


# ---- calls ----


def test_a_call_takes_what_those_of_diffusers_take():
    assert inspect.signature(LadderPipeline.__call__).parameters.keys() >= PARAMETERS


def test_a_tuple_holds_what_the_output_holds(pipeline):
    (images,) = pipeline(**inputs(return_dict=False))
    assert np.array_equal(images, draw(pipeline))


@pytest.mark.parametrize("prompts", [1, 2])
@pytest.mark.parametrize("pictures", [1, 3])
def test_so_many_pictures_of_each_prompt(pipeline, prompts, pictures):
    images = draw(pipeline, prompt=["a star"] * prompts, num_images_per_prompt=pictures)
    assert images.shape == (prompts * pictures, SIDE, SIDE, 3)


def test_no_negative_prompt_is_the_empty_one(pipeline):
    assert np.array_equal(draw(pipeline, negative_prompt=None), draw(pipeline, negative_prompt=""))


def test_pil_np_and_pt_are_the_same_picture(pipeline):
    array = draw(pipeline)
    tensor = draw(pipeline, output_type="pt")
    (picture,) = draw(pipeline, output_type="pil")
    close(tensor.permute(0, 2, 3, 1).numpy(), array)
    close(np.asarray(picture) / 255, array[0], 0.51 / 255)


def test_height_and_width_are_those_of_the_picture(pipeline):
    assert np.array_equal(draw(pipeline, height=SIDE, width=SIDE), draw(pipeline))
    assert draw(pipeline, height=24, width=48).shape == (1, 24, 48, 3)
    single = draw(pipeline, prompt="a star", image=None, height=48)
    both = draw(pipeline, prompt=["a star", "a"], image=None, height=48)
    close(both[:1], single)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"height": 20}, "height must be a multiple of 8 up to 8192, got 20"),
        ({"width": 0}, "width must be a multiple of 8 up to 8192, got 0"),
        ({"width": 32, "latents": torch.zeros(1, *LATENT_SHAPE)}, "latents say how large"),
        ({"num_inference_steps": 0}, "num_inference_steps must be at least 1, got 0"),
        ({"callback_on_step_end_tensor_inputs": ["noise"]}, r"\['latents'\], got \['noise'\]"),
        ({"explain": True, "guidance_scale": 0.0}, "guidance_scale other than 0"),
    ],
)
def test_what_a_call_refuses(pipeline, changes, message):
    with pytest.raises(ValueError, match=message):
        draw(pipeline, **changes)


def test_a_callback_is_given_what_it_asks_for(pipeline):
    seen = []

    def watch(pipe, step, timestep, tensors):
        seen.append([*tensors])
        return tensors

    draw(pipeline, callback_on_step_end=watch)
    draw(pipeline, callback_on_step_end=watch, callback_on_step_end_tensor_inputs=[])
    assert seen == [["latents"]] * STEPS + [[]] * STEPS


def test_the_progress_bar_counts_the_steps_unless_it_is_off(pipeline):
    for disable, shown in ((False, True), (True, False)):
        pipeline.set_progress_bar_config(disable=disable)
        with redirect_stderr(io.StringIO()) as stderr:
            draw(pipeline)
        assert (f"{STEPS}/{STEPS}" in stderr.getvalue()) == shown


# ---- schedulers ----


@pytest.mark.parametrize(
    "scheduler",
    [
        UniPCMultistepScheduler,
        DEISMultistepScheduler,
        FlowMatchEulerDiscreteScheduler,
        FlowMatchHeunDiscreteScheduler,
        FlowMatchLCMScheduler,
    ],
)
def test_a_scheduler_made_from_ours_takes_its_place(pipeline, scheduler):
    """Pictures are finite, repeat, and don't depend on what else is drawn; more steps converge."""
    shift = {"shift": 3.0} if scheduler.__name__.startswith("FlowMatch") else {}
    before = pipeline.scheduler
    pipeline.scheduler = scheduler.from_config(before.config, **shift)

    def one(steps, seed=1):
        noise = torch.Generator().manual_seed(seed)
        options = {"num_inference_steps": steps, "output_type": "latent"}
        return draw(pipeline, generator=noise, **options).numpy()

    drawn = one(4)
    assert np.isfinite(drawn).all()
    assert np.array_equal(one(4), drawn)
    noises = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    options = {"generator": noises, "num_inference_steps": 4, "output_type": "latent"}
    both = draw(
        pipeline, prompt=["a", inputs()["prompt"]], image=[None, tiny_picture(0)], **options
    )
    close(both[1:].numpy(), drawn)
    if scheduler is not FlowMatchLCMScheduler:  # which adds noise at each step
        fine = one(40)
        pipeline.scheduler = before
        assert np.linalg.norm(fine - one(40)) < 0.1 * np.linalg.norm(fine)


@pytest.mark.parametrize(
    "scheduler", [DDIMScheduler(), DPMSolverMultistepScheduler(prediction_type="epsilon")]
)
def test_a_scheduler_that_solves_no_flow_is_refused(pipeline, scheduler):
    pipeline.scheduler = scheduler
    with pytest.raises(ValueError, match=f"must solve flows.*got {type(scheduler).__name__}"):
        draw(pipeline)


# ---- memory ----


def test_model_offloading_brings_each_part_before_it_computes(pipeline, monkeypatch):
    """And draws, and answers, the same: also a second time."""
    drawn = draw(pipeline)
    answer = pipeline.ask(tiny_picture(0), "what is it?", max_tokens=4)
    pipeline.enable_model_cpu_offload(device="cpu")
    calls = []

    def noted(name, call):
        def note(*arguments, **options):
            calls.append(name)
            return call(*arguments, **options)

        return note

    hook = type(pipeline.ladder._hf_hook)
    brought = hook.pre_forward
    names = {id(pipeline.ladder): "bring ladder", id(pipeline.vae): "bring vae"}

    def pre_forward(self, module, *arguments, **options):
        calls.append(names[id(module)])
        return brought(self, module, *arguments, **options)

    monkeypatch.setattr(hook, "pre_forward", pre_forward)
    ladder = pipeline.ladder
    monkeypatch.setattr(ladder, "conditions", noted("conditions", ladder.conditions))
    monkeypatch.setattr(ladder, "velocity", noted("velocity", ladder.velocity))
    monkeypatch.setattr(
        ladder.understanding, "_generate", noted("answer", ladder.understanding._generate)
    )
    for _ in range(2):
        calls.clear()
        assert np.array_equal(draw(pipeline), drawn)
        assert calls == ["bring ladder", "conditions", *["velocity"] * STEPS, "bring vae"]
    calls.clear()
    assert pipeline.ask(tiny_picture(0), "what is it?", max_tokens=4) == answer
    assert "".join(pipeline.stream(tiny_picture(0), "what is it?", max_tokens=4)) == answer
    assert calls == ["bring ladder", "answer"] * 2
    pipeline.remove_all_hooks()


@pytest.mark.parametrize(
    "switch",
    [
        lambda pipeline: pipeline.enable_attention_slicing(),
        lambda pipeline: pipeline.enable_xformers_memory_efficient_attention(),
        lambda pipeline: pipeline.enable_sequential_cpu_offload(),
        lambda pipeline: pipeline.enable_group_offload(torch.device("cpu")),
    ],
)
def test_what_would_break_a_ladder_says_so(pipeline, switch):
    before = draw(pipeline)
    with pytest.raises(NotImplementedError, match="enable_model_cpu_offload"):
        switch(pipeline)
    pipeline.disable_attention_slicing()
    assert np.array_equal(draw(pipeline), before)


# ---- parts and folders ----


def test_the_parts_make_the_pipeline(pipeline):
    assert pipeline.components.keys() == {"ladder", "vae", "scheduler"}
    again = LadderPipeline(**pipeline.components)
    again.set_progress_bar_config(disable=True)
    assert np.array_equal(draw(again), draw(pipeline))
    other = LadderPipeline.from_pipe(pipeline)
    other.set_progress_bar_config(disable=True)
    assert np.array_equal(draw(other), draw(pipeline))


def test_all_parts_get_the_type(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path)
    loaded = LadderPipeline.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert loaded.dtype == loaded.vae.dtype == loaded.ladder.dtype == torch.bfloat16
    loaded.to(dtype=torch.float32)
    assert loaded.dtype == loaded.vae.dtype == loaded.ladder.dtype == torch.float32


def test_another_scheduler_is_saved_and_loaded(pipeline, tmp_path):
    pipeline.scheduler = UniPCMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.save_pretrained(tmp_path)
    loaded = LadderPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert type(loaded.scheduler) is UniPCMultistepScheduler
    close(draw(loaded), draw(pipeline))


# ---- the hub ----

COMMIT = "0" * 40


def on_hub(cache: Path, name: str) -> Path:
    """The folder in which huggingface_hub keeps commit COMMIT of `name`, taken for main."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(COMMIT)
    return repository / "snapshots" / COMMIT


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub, which is offline."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_ladder_goes_to_the_hub_and_comes_back(pipeline, cache, monkeypatch):
    """With an MLLM that is there already, named by id and revision."""
    understanding = pipeline.ladder.understanding
    folder = understanding.reference.folder
    shutil.copytree(folder, on_hub(cache, "someone/mllm"))
    monkeypatch.setattr(understanding, "reference", Reference.of("someone/mllm"))

    class Created:
        repo_id = "someone/ladder"

    def upload(self, working_dir, repo_id, **_):
        shutil.copytree(working_dir, on_hub(cache, repo_id))
        return repo_id

    module = "diffusers.utils.hub_utils"
    monkeypatch.setattr(f"{module}.create_repo", lambda *_, **__: Created)
    monkeypatch.setattr(f"{module}.load_or_create_model_card", lambda *_, **__: Card())
    monkeypatch.setattr(f"{module}.populate_model_card", lambda card: card)
    monkeypatch.setattr(LadderPipeline, "_upload_folder", upload)
    assert pipeline.push_to_hub("ladder") == "someone/ladder"
    loaded = LadderPipeline.from_pretrained("someone/ladder")
    loaded.set_progress_bar_config(disable=True)
    assert np.array_equal(draw(loaded), draw(pipeline))
    settings = json.loads((Path(loaded.name_or_path) / "ladder/config.json").read_text())
    assert (settings["mllm"]["source"], settings["mllm"]["revision"]) == ("someone/mllm", COMMIT)


class Card:
    """A model card."""

    def save(self, path):
        Path(path).write_text("a ladder")


def test_a_ladder_whose_mllm_is_a_folder_stays_here(pipeline, monkeypatch):
    created = []
    monkeypatch.setattr("diffusers.utils.hub_utils.create_repo", lambda *_, **__: created.append(1))
    with pytest.raises(ValueError, match=r"needs an MLLM on the hub.*got the folder"):
        pipeline.push_to_hub("ladder")
    assert created == []


def test_an_id_that_is_not_there_is_an_error(cache):
    with pytest.raises(OSError, match=r"on the hub, got someone/nothing: .*cached snapshot"):
        LadderPipeline.from_pretrained("someone/nothing", local_files_only=True)
