"""`ladder examine`: how good are the toy foundations by themselves?

The autoencoder by its reconstructions, the MLLM by what it answers about held-out scenes, edits and
prompts, and the generator by what it draws with its own text encoder. What the ladder can reach is
bounded by these.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from diffusers import SanaPipeline
from PIL import Image
from tqdm import tqdm

from ladder.config.files import write_text
from ladder.config.load import Config, Evaluation, Sampling
from ladder.evaluation.bounds import reconstructed
from ladder.evaluation.generate import noise
from ladder.evaluation.outcomes import Outcome, aggregate, table
from ladder.evaluation.provenance import provenance
from ladder.evaluation.scorers.geneval import judge
from ladder.evaluation.toy import geneval
from ladder.evaluation.toy.observe import observe
from ladder.evaluation.toy.test_set import HeldOutPrompt, evaluation_edits, evaluation_questions
from ladder.evaluation.toy.vqa import is_right
from ladder.models.mllm.frozen import Understanding
from ladder.models.mllm.prompts import LADDER, QUESTION, Framing
from ladder.world.language import TASKS, grid
from ladder.world.oracle import read_scene, same_scene
from ladder.world.render import render
from ladder.world.scenes import Scene, draw_scene

RECONSTRUCTIONS = 500
MOST_OBJECTS = 7
DESCRIPTION = replace(LADDER, opening="", text_tokens=None)
"""The ladder's prompt, answered in words instead of queries."""
BATCH = 100
LONGEST_PROMPT = 64
"""Tokens to which the generator's prompts are padded; a task's prompt has 20 at the most, and
Sana's own 300 would take ten times as long."""


def examine(
    config: Config,
    path: Path = Path("experiments/results/foundations.json"),
    curated: Path = Path("data/curated"),
) -> None:
    """Measure all three foundations and write the result."""
    # The type is named, since transformers would take that of the saved text encoder.
    pipeline = SanaPipeline.from_pretrained(config.foundations.generator, torch_dtype=torch.float32)
    understanding = Understanding.from_pretrained(
        config.foundations.mllm,
        getattr(torch, config.foundations.dtype),
        config.foundations.visual_tokens,
    )
    outcomes = [
        *reconstruction(pipeline, config.evaluation),
        *comprehension(understanding, config.evaluation),
        *drawing(pipeline, config.evaluation, config.sampling),
    ]
    metrics = aggregate(table(outcomes), config.evaluation.resamples, config.evaluation.seed)
    settings = {
        "foundations": asdict(config.foundations),
        "pretraining": asdict(config.pretraining),
        "evaluation": asdict(config.evaluation),
        "sampling": asdict(config.sampling),
    }
    result = {"metrics": metrics, "config": settings, "provenance": provenance(curated)}
    write_text(path, json.dumps(result, indent=1) + "\n")


def reconstruction(pipeline: SanaPipeline, evaluation: Evaluation) -> list[Outcome]:
    """PSNR in dB, and whether the oracle reads each scene back exactly."""
    rng = np.random.default_rng([evaluation.seed, 3])
    scenes = [draw_scene(rng, int(rng.integers(MOST_OBJECTS + 1))) for _ in range(RECONSTRUCTIONS)]
    outcomes = []
    for number, image in enumerate(reconstructed(pipeline.vae, scenes, BATCH)):
        scene, place = scenes[number], ("scenes", number, "", 0)
        error = (image / 255.0 - render(scene) / 255.0) ** 2
        exact = float(same_scene(read_scene(image), scene))
        outcomes += [
            Outcome("autoencoder.psnr", *place, float(-10 * np.log10(error.mean()))),
            Outcome("autoencoder.exact", *place, exact),
        ]
    return outcomes


def comprehension(understanding: Understanding, evaluation: Evaluation) -> list[Outcome]:
    """Right answers to questions, to edits (the whole resulting scene) and to prompts."""
    questions = evaluation_questions(evaluation.questions, evaluation.seed)
    edits = evaluation_edits(evaluation.edits, evaluation.seed)
    asked = geneval.prompts(evaluation)
    return [
        *_answers(
            understanding, "questions", QUESTION, [q.kind for q in questions],
            [q.scene for q in questions], [q.text for q in questions],
            [q.answer for q in questions],
        ),
        *_answers(
            understanding, "edits", DESCRIPTION, [edit.kind for edit in edits],
            [edit.before for edit in edits], [edit.instructions[0] for edit in edits],
            [grid(edit.after) for edit in edits],
        ),
        *_answers(
            understanding, "prompts", DESCRIPTION, [a.task for a in asked],
            [None] * len(asked), [a.text for a in asked], [a.specification for a in asked],
        ),
    ]  # fmt: skip


def drawing(pipeline: SanaPipeline, evaluation: Evaluation, sampling: Sampling) -> list[Outcome]:
    """GenEval's tasks, drawn with the generator's own text encoder."""
    asked = [a for a in geneval.prompts(evaluation) if a.task in TASKS]
    drawn = _draw(pipeline, asked, evaluation, sampling)
    return [
        Outcome("generator", prompt.task, number, prompt.text, place,
                float(judge(prompt.row, observe(picture)).correct))
        for number, (prompt, pictures) in enumerate(zip(asked, drawn, strict=True))
        for place, picture in enumerate(pictures)
    ]  # fmt: skip


def _draw(
    pipeline: SanaPipeline,
    asked: Sequence[HeldOutPrompt],
    evaluation: Evaluation,
    sampling: Sampling,
) -> list[np.ndarray]:
    pipeline.set_progress_bar_config(disable=True)
    side = pipeline.transformer.config.sample_size * 2 ** (
        len(pipeline.vae.config.encoder_block_out_channels) - 1
    )
    images, step = evaluation.images, max(1, sampling.batch // evaluation.images)
    drawn = []
    with tqdm(total=len(asked) * images, desc="generator", unit="picture", mininterval=5) as bar:
        for first in range(0, len(asked), step):
            part = asked[first : first + step]
            pictures = pipeline(
                # Not num_images_per_prompt, with which diffusers 0.42 mixes up the prompts' masks.
                [a.text for a in part for _ in range(images)],
                height=side,
                width=side,
                num_inference_steps=sampling.steps,
                guidance_scale=sampling.guidance,
                generator=[
                    g for n, a in enumerate(part)
                    for g in noise(a.text, first + n, images, evaluation.seed)
                ],
                complex_human_instruction=None,
                max_sequence_length=LONGEST_PROMPT,
                use_resolution_binning=False,
                output_type="np",
            ).images  # fmt: skip
            pixels = (pictures * 255).round().astype(np.uint8)
            drawn += [*pixels.reshape(len(part), images, *pixels.shape[1:])]
            bar.update(len(pixels))
    return drawn


def _answers(
    understanding: Understanding,
    metric: str,
    framing: Framing,
    kinds: Sequence[str],
    scenes: Sequence[Scene | None],
    texts: Sequence[str],
    truths: Sequence[str],
) -> list[Outcome]:
    """Whether each text about a scene is answered by its truth."""
    answers: list[str] = []
    for first in tqdm(range(0, len(texts), BATCH), desc="answers", mininterval=5):
        part = slice(first, first + BATCH)
        pictures = [Image.fromarray(render(scene)) if scene else None for scene in scenes[part]]
        answers += understanding.ask_all(pictures, list(texts[part]), framing=framing)
    asked = zip(kinds, texts, truths, answers, strict=True)
    return [
        Outcome(metric, kind, number, text, None, float(is_right(answer, truth)))
        for number, (kind, text, truth, answer) in enumerate(asked)
    ]
