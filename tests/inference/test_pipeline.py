"""The pipeline: whatever is asked for together is drawn as if it were asked for alone."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderDC, FlowMatchEulerDiscreteScheduler
from PIL import Image
from tests.tiny import LATENT_SHAPE, SIDE, tiny_mllm, tiny_picture, tiny_sana

from ladder.config.load import load
from ladder.data.resize import nearest
from ladder.evaluation.draw_benchmark import DrawSettings, drawn
from ladder.evaluation.published import Drawing
from ladder.inference.fit_sources import fitted
from ladder.inference.guidance import texts_of
from ladder.inference.pipeline import LadderPipeline
from ladder.inference.sampler import make_scheduler
from ladder.models.ladder import Ladder

PROMPTS = ["a red circle", "make it blue", "put both together", "two pink hearts", "mirror it"]
SOURCES = [
    None,
    tiny_picture(0),
    [tiny_picture(1), tiny_picture(2, (48, 20))],
    None,
    tiny_picture(3),
]
STEPS = 3
SHIPPED = load(root=Path(__file__).parents[2])


def sampling(solver="dpm", shift=3.0):
    return replace(SHIPPED.sampling, solver=solver, shift=shift)


@pytest.fixture(scope="module")
def foundations(tmp_path_factory):
    root = tmp_path_factory.mktemp("foundations")
    mllm, sana = tiny_mllm(root / "mllm"), tiny_sana(root / "sana")
    return replace(SHIPPED.foundations, mllm=str(mllm), generator=str(sana), dtype="float32")


@pytest.fixture
def pipeline(foundations):
    model = replace(SHIPPED.model, scheme="last_n", layers=None, queries=4)
    ladder = Ladder.from_foundations(model, foundations, seed=0)
    pipeline = LadderPipeline.from_ladder(ladder, foundations, sampling())
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def noise(seed, count=1):
    return [torch.Generator().manual_seed(seed + index) for index in range(count)]


def draw(pipeline, *arguments, **options):
    options = {"num_inference_steps": STEPS, "output_type": "latent", **options}
    return pipeline(*arguments, **options).images


@pytest.fixture
def calls(pipeline, monkeypatch):
    """Rows of each call of the generator, and the prompts of each reading of the MLLM."""
    seen = {"velocity": [], "conditions": []}
    velocity, conditions = pipeline.ladder.velocity, pipeline.ladder.conditions

    def counted_velocity(latents, timesteps, conditions):
        seen["velocity"].append(len(latents))
        return velocity(latents, timesteps, conditions)

    def counted_conditions(prompts):
        seen["conditions"].append(len(prompts))
        return conditions(prompts)

    monkeypatch.setattr(pipeline.ladder, "velocity", counted_velocity)
    monkeypatch.setattr(pipeline.ladder, "conditions", counted_conditions)
    return seen


@pytest.mark.parametrize("solver", ["dpm", "euler"])
@pytest.mark.parametrize("pictures", [1, 2])
def test_a_mixed_batch_equals_its_single_calls(pipeline, solver, pictures):
    """Text to image, an edit and an edit of two sources of other sizes; negative prompts differ."""
    pipeline.scheduler = make_scheduler(sampling(solver))
    negatives = ["", "blue", "", "a star", "blue"]
    together = draw(
        pipeline,
        PROMPTS,
        SOURCES,
        negatives,
        num_images_per_prompt=pictures,
        generator=noise(0, 5 * pictures),
    )
    assert together.shape == (5 * pictures, *LATENT_SHAPE)
    for index in range(5):
        alone = draw(
            pipeline,
            PROMPTS[index],
            [SOURCES[index]],
            negatives[index],
            num_images_per_prompt=pictures,
            generator=noise(index * pictures, pictures),
        )
        part = together[index * pictures : (index + 1) * pictures]
        torch.testing.assert_close(part, alone, atol=1e-5, rtol=1e-5)
    assert together.flatten(1).std(0).min() > 1e-2


def test_guidance_is_its_formula_over_euler_steps(pipeline):
    """A whole edit, spelled out: three velocities a step, x - ds v, from noise to latents."""
    pipeline.scheduler = make_scheduler(sampling("euler", shift=2.0))
    ladder, picture = pipeline.ladder, tiny_picture(0)
    black = Image.new("RGB", picture.size)
    start = torch.randn(1, *LATENT_SHAPE)
    result = draw(
        pipeline,
        "make it blue",
        picture,
        "ugly",
        latents=start,
        guidance_scale=4.0,
        image_guidance_scale=1.5,
    )
    conditions = ladder.conditions(
        ladder.understanding.prepare(
            ["ugly", "ugly", "make it blue"], [[black], [picture], [picture]]
        )
    )
    latents = start
    times = [*pipeline.scheduler.timesteps.tolist(), 0.0]
    assert times[0] == pytest.approx(1000)
    with torch.no_grad():
        for now, after in itertools.pairwise(times):
            nothing, seen, full = ladder.velocity(
                latents.expand(3, -1, -1, -1), torch.full((3,), now), conditions
            )
            velocity = nothing + 1.5 * (seen - nothing) + 4.0 * (full - seen)
            latents = latents + (after - now) / 1000 * velocity
    torch.testing.assert_close(result, latents, atol=1e-4, rtol=1e-4)


def test_branches_of_weight_zero_dont_run(pipeline, calls):
    def rows(*arguments, **scales):
        calls["velocity"].clear()
        draw(pipeline, *arguments, **scales)
        assert len(calls["velocity"]) == STEPS
        return calls["velocity"][0]

    edit = ("make it blue", tiny_picture(0))
    assert rows("a red circle") == 2
    assert rows("a red circle", guidance_scale=1.0) == 1
    assert rows(*edit) == 3
    assert rows(*edit, guidance_scale=1.0, image_guidance_scale=1.0) == 1
    assert rows(*edit, image_guidance_scale=1.0) == 2
    assert rows(*edit, guidance_scale=1.5, image_guidance_scale=1.5) == 2
    assert rows(PROMPTS, SOURCES, num_images_per_prompt=2) == 2 * (2 + 3 + 3 + 2 + 3)


def test_each_distinct_prompt_is_read_once_a_call(pipeline, calls):
    """Not once a picture or step; the empty prompt, and the empty edit, are shared."""
    draw(pipeline, ["a", "b", "a"], num_images_per_prompt=3)
    assert calls["conditions"] == [3]
    calls["conditions"].clear()
    pictures = [tiny_picture(0), tiny_picture(1), tiny_picture(2, (48, 20))]
    draw(pipeline, ["a", "b", "c"], pictures)
    texts, sources, empty_sources, black = 3, 3, 3, 1
    assert calls["conditions"] == [texts + empty_sources + black]
    assert sources == empty_sources


def test_pictures_dont_depend_on_what_else_is_drawn(pipeline):
    """A list of generators fixes each picture; one generator lets a longer batch only add some."""
    three = draw(pipeline, "a red circle", num_images_per_prompt=3, generator=noise(5, 3))
    second = draw(pipeline, "a red circle", generator=noise(6))
    torch.testing.assert_close(three[1:2], second, atol=1e-5, rtol=1e-5)
    few = draw(pipeline, "a red circle", num_images_per_prompt=2, generator=noise(7)[0])
    more = draw(pipeline, "a red circle", num_images_per_prompt=3, generator=noise(7)[0])
    torch.testing.assert_close(more[:2], few, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(more[0], more[1], atol=0.1)


def test_text_sources_and_negative_prompts_matter(pipeline):
    def one(*arguments, **options):
        return draw(pipeline, *arguments, generator=noise(0), **options)

    results = [
        one("a red circle"),
        one("two pink hearts"),
        one("a red circle", negative_prompt="blue"),
        one("a red circle", tiny_picture(0)),
        one("a red circle", tiny_picture(1)),
        one("a red circle", guidance_scale=1.0),
    ]
    for index, first in enumerate(results):
        for second in results[index + 1 :]:
            assert (first - second).abs().max() > 1e-3


def test_latents_are_decoded_by_the_autoencoder(pipeline, foundations):
    latents = draw(pipeline, "a red circle", generator=noise(0))
    array = draw(pipeline, "a red circle", generator=noise(0), output_type="np")
    vae = AutoencoderDC.from_pretrained(foundations.generator, subfolder="vae")
    with torch.no_grad():
        decoded = vae.decode(latents / 0.5).sample
    expected = (decoded / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(array, expected, atol=1e-5)
    picture = draw(pipeline, "a red circle", generator=noise(0), output_type="pil")[0]
    assert picture.size == (SIDE, SIDE)
    assert np.abs(np.asarray(picture) / 255 - array[0]).max() < 0.51 / 255


def test_a_callback_sees_every_step_and_may_change_the_latents(pipeline):
    steps = []

    def watch(pipe, step, timestep, tensors):
        steps.append((step, float(timestep)))
        return {"latents": torch.zeros_like(tensors["latents"])} if step == STEPS - 1 else {}

    assert (draw(pipeline, "a red circle", callback_on_step_end=watch) == 0).all()
    assert [step for step, _ in steps] == list(range(STEPS))
    times = [time for _, time in steps]
    assert times == sorted(times, reverse=True)


def test_the_folder_gives_the_same_pictures_again(pipeline, tmp_path):
    before = draw(pipeline, PROMPTS, SOURCES, generator=noise(0, 5))
    pipeline.save_pretrained(tmp_path / "pipeline")
    loaded = LadderPipeline.from_pretrained(tmp_path / "pipeline")
    loaded.set_progress_bar_config(disable=True)
    assert torch.equal(draw(loaded, PROMPTS, SOURCES, generator=noise(0, 5)), before)
    assert {path.name for path in (tmp_path / "pipeline").iterdir()} == {
        "model_index.json",
        "ladder",
        "scheduler",
        "vae",
    }


def test_stored_in_bfloat16_it_computes_in_float32_or_bfloat16(pipeline, tmp_path):
    """Weights are rounded once; the MLLM is the one it names, in its own precision."""
    exact = draw(pipeline, PROMPTS, SOURCES, generator=noise(0, 5))
    pipeline.to(torch.bfloat16).save_pretrained(tmp_path)
    for dtype in (torch.float32, torch.bfloat16):
        loaded = LadderPipeline.from_pretrained(tmp_path, torch_dtype=dtype)
        loaded.set_progress_bar_config(disable=True)
        assert {value.dtype for value in loaded.ladder.parameters()} == {dtype}
        again = draw(loaded, PROMPTS, SOURCES, generator=noise(0, 5))
        assert again.dtype == torch.float32
        assert (again - exact).norm() < 0.1 * exact.norm()
    assert LadderPipeline.from_pretrained(tmp_path).dtype == torch.float32


def test_without_an_argument_the_shipped_ladder_is_opened(pipeline, tmp_path, monkeypatch):
    pipeline.save_pretrained(tmp_path / "models/ladder")
    monkeypatch.setenv("LADDER_MODEL", str(tmp_path / "models/ladder"))
    assert LadderPipeline.from_pretrained().ladder.taps == pipeline.ladder.taps


def test_a_source_may_be_a_path(pipeline, tmp_path):
    tiny_picture(0).save(tmp_path / "a.png")
    expected = draw(pipeline, ["turn it"], [tiny_picture(0)], generator=noise(0, 1))
    for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
        assert draw(pipeline, ["turn it"], path, generator=noise(0, 1)).equal(expected)
        assert draw(pipeline, ["turn it"], [[path]], generator=noise(0, 1)).equal(expected)


def test_what_is_no_text_is_refused_as_that():
    with pytest.raises(ValueError, match="prompt must be a text or a list of texts, got int"):
        texts_of("prompt", 5)
    with pytest.raises(ValueError, match="prompt must hold texts only, got int"):
        texts_of("prompt", ["a star", 5])


def test_what_is_drawn_is_finite_or_refused(pipeline):
    with pytest.raises(ValueError, match=r"must be finite, .* guidance_scale 1e\+38"):
        draw(pipeline, ["a star"], None, guidance_scale=1e38, generator=noise(0, 1))


def test_another_scheduler_can_take_its_place(pipeline):
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler.from_config(
        pipeline.scheduler.config, shift=3.0
    )
    assert torch.isfinite(draw(pipeline, "a red circle")).all()


def test_questions_go_to_the_mllm(pipeline):
    understanding, picture = pipeline.ladder.understanding, tiny_picture(0)
    expected = understanding.ask(picture, "What is in the image?", max_tokens=6)
    assert pipeline.ask(picture, "What is in the image?", max_tokens=6) == expected
    assert "".join(pipeline.stream(picture, "What is in the image?", max_tokens=6)) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": []}, "0 prompts"),
        ({"prompt": "a", "num_images_per_prompt": 0}, "0 pictures"),
        ({"prompt": ["a", "b"], "image": [None]}, "each of 2 prompts, got 1"),
        ({"prompt": "a", "image": [tiny_picture(0), tiny_picture(1)]}, "each of 1 prompts, got 2"),
        ({"prompt": ["a", "b"], "negative_prompt": ["c"]}, "negative_prompt must be one text or 2"),
        ({"prompt": ["a", "b"], "generator": noise(0)}, "2 pictures need as many generators"),
        ({"prompt": "a", "latents": torch.zeros(2, *LATENT_SHAPE)}, r"latents must be \(1, 8,"),
    ],
)
def test_numbers_that_dont_fit_are_errors(pipeline, options, message):
    with pytest.raises(ValueError, match=message):
        pipeline(**options)


def test_a_source_of_another_shape_is_cropped_and_not_squashed(pipeline):
    """As encoding did it: the middle of 64 x 48, scaled to the 32 x 32 of what is drawn."""
    wide = tiny_picture(5, (64, 48))
    middle = wide.resize((32, 32), Image.Resampling.BICUBIC, (8, 0, 56, 48))

    def edited(source, **options):
        return draw(pipeline, "make it blue", source, generator=noise(0), **options)

    assert torch.equal(edited(wide), edited(middle))
    assert not torch.equal(edited(wide), edited(wide.resize((32, 32))))
    assert not torch.equal(edited(wide), edited(wide, fit_sources=False))


ASPECTS = (1.0, 0.5, 2.0)
"""Of the buckets: 32 x 32, 24 x 48 and 48 x 24 pixels."""


@pytest.fixture
def shapes(foundations, tmp_path):
    """A pipeline of a ladder that was trained on several shapes, saved and loaded again."""
    model = replace(SHIPPED.model, scheme="last_n", layers=None, queries=4)
    ladder = Ladder.from_foundations(model, foundations, 0, ASPECTS)
    LadderPipeline.from_ladder(ladder, foundations, sampling()).save_pretrained(tmp_path / "saved")
    pipeline = LadderPipeline.from_pretrained(tmp_path / "saved")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize(
    ("given", "drawn"),
    [((64, 60), (32, 32)), ((64, 30), (48, 24)), ((40, 90), (24, 48)), ((480, 640), (32, 32))],
)
def test_an_edit_has_the_shape_of_its_source(shapes, given, drawn):
    """Of the shapes of training the nearest: that to which encoding would have brought it."""
    (picture,) = draw(shapes, "make it blue", tiny_picture(5, given), output_type="pil")
    assert picture.size == drawn == nearest(given, shapes.sizes)


def test_sources_are_brought_to_the_shapes_of_training(shapes):
    """The first and what is nearly of its shape to the shape that is drawn, others to their own."""
    wide, wider, tall = (tiny_picture(5, size) for size in ((96, 46), (96, 42), (30, 64)))
    found = fitted([[wide, wider, tall], [tall]], (48, 24), shapes.sizes)
    assert [[picture.size for picture in group] for group in found] == [
        [(48, 24), (48, 24), (24, 48)], [(48, 24)],
    ]  # fmt: skip


def test_a_benchmark_draws_edits_of_one_shape_together(shapes, tmp_path, monkeypatch):
    """Each in its own shape, in the order in which they were asked for, as if drawn alone."""
    given = [(64, 60), (64, 30), (40, 90), (64, 31), (33, 32)]
    drawings = [
        Drawing(item, Path(f"{item}.png"), "make it blue",
                source=lambda size=size, item=item: tiny_picture(item, size))
        for item, size in enumerate(given)
    ]  # fmt: skip
    whole, calls = LadderPipeline.__call__, []

    def counted(self, prompt, **options):
        calls.append(len(prompt))
        return whole(self, prompt, **options)

    monkeypatch.setattr(LadderPipeline, "__call__", counted)
    few = DrawSettings(steps=STEPS)
    together = drawn(shapes, drawings, tmp_path, few)
    assert [picture.size for picture in together] == [
        (32, 32), (48, 24), (24, 48), (48, 24), (32, 32),
    ]  # fmt: skip
    assert calls == [2, 2, 1], "one call for each shape"
    for one, picture in zip(drawings, together, strict=True):
        (alone,) = drawn(shapes, [one], tmp_path, few)
        assert np.abs(np.asarray(alone, int) - np.asarray(picture, int)).max() <= 1


def test_without_a_source_or_with_a_size_no_shape_is_chosen(shapes):
    wide = tiny_picture(5, (64, 30))
    assert draw(shapes, "a star").shape[2:] == LATENT_SHAPE[1:]
    assert draw(shapes, "a", wide, height=32, width=32).shape[2:] == LATENT_SHAPE[1:]
    start = torch.zeros(1, *LATENT_SHAPE)
    assert draw(shapes, "a", wide, latents=start).shape[2:] == LATENT_SHAPE[1:]


def test_shapes_that_differ_are_not_drawn_together(shapes):
    with pytest.raises(ValueError, match=r"one size, which are these .*: 32x32, 48x24; give"):
        draw(shapes, ["a star", "make it blue"], [None, tiny_picture(5, (64, 30))])
