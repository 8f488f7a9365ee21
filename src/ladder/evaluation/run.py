"""The evaluation of one trained ladder: draws, asks, scores, and writes the result.

RESULTS/<arm>-<seed>.json holds metrics, the whole configuration and where they come from. Beside it
lie pictures (for people) and, below RUNS, what it cost (for nobody to depend on).
"""

from __future__ import annotations

import dataclasses
import json
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import trange

from ladder.config import Config
from ladder.evaluation import pictures
from ladder.evaluation.drawing import Request, draw
from ladder.evaluation.edits import score_edit
from ladder.evaluation.intervals import Interval
from ladder.evaluation.provenance import provenance
from ladder.evaluation.scores import Scorer
from ladder.model.ladder import Ladder
from ladder.pipeline import LadderPipeline
from ladder.world.draws import Asked, evaluation_prompts
from ladder.world.edits import Edit, evaluation_edits
from ladder.world.language import TASKS
from ladder.world.questions import Question, evaluation_questions
from ladder.world.render import render
from ladder.world.scenes import Scene

RESULTS = Path("experiments/results")
PICTURES = Path("experiments/pictures")


def evaluate(config: Config, runs: Path = Path("runs")) -> dict[str, Any]:
    """Evaluate the last stage's ladder of (arm, seed), write its result, and return it."""
    began, name = time.perf_counter(), f"{config.arm}-{config.seed}"
    pipeline = load(config, runs / name / "finetune/ladder")
    chosen = config.evaluation
    literal = [a for task in TASKS for a in evaluation_prompts(task, chosen.prompts, chosen.seed)]
    thought = evaluation_prompts("thought", chosen.prompts, chosen.seed)
    edits = evaluation_edits(chosen.edits, chosen.seed)
    questions = evaluation_questions(chosen.questions, chosen.seed)

    asked = [Request(prompt.text) for prompt in literal + thought]
    drawn = draw(pipeline, asked, chosen.images, chosen.seed, config.sampling, "prompts")
    changes = [Request(edit.instructions[0], picture(edit.before)) for edit in edits]
    changed = draw(pipeline, changes, 1, chosen.seed + 1, config.sampling, "edits")
    answers = ask(pipeline, questions)

    scorer = Scorer(chosen.resamples, chosen.seed)
    split = len(literal)
    kinds = [edit.kind for edit in edits]
    metrics = {
        "geneval_toy": scorer.prompts(literal, drawn[:split]),
        "thought": scorer.prompts(thought, drawn[split:]),
        "edit": scorer.edits(
            kinds, [score_edit(e, r[0]) for e, r in zip(edits, changed, strict=True)]
        ),
        "understanding": scorer.answers(questions, answers),
        "floor": bounds(scorer, literal, thought, next_of_kind(literal, drawn[:split]),
                        next_of_kind(thought, drawn[split:])),
        "ceiling": ceiling(pipeline, scorer, literal, thought, edits),
    }  # fmt: skip
    result = {
        "arm": config.arm,
        "seed": config.seed,
        "metrics": as_plain(metrics),
        "config": config.as_dict(),
        "provenance": provenance(),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    folder = PICTURES / name
    pictures.prompts(folder / "t2i.png", literal, drawn[:split], TASKS)
    pictures.prompts(folder / "thought.png", thought, drawn[split:], [*{a.kind: 0 for a in thought}])
    pictures.edits(folder / "edits.png", edits, changed)
    cost = {"seconds": time.perf_counter() - began, "peak_kib": peak_memory()}
    (runs / name / "evaluation.json").write_text(json.dumps(cost) + "\n")
    return result


def load(config: Config, folder: Path) -> LadderPipeline:
    """The trained ladder, in the type in which the frozen parts compute."""
    ladder = Ladder.from_pretrained(folder)
    pipeline = LadderPipeline.from_ladder(ladder, config.foundations, config.sampling)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return pipeline.to(device, getattr(torch, config.foundations.dtype))


def ask(pipeline: LadderPipeline, questions: list[Question], batch: int = 100) -> list[str]:
    answers: list[str] = []
    for start in trange(0, len(questions), batch, desc="questions"):
        part = questions[start : start + batch]
        seen = [picture(question.scene) for question in part]
        answers += pipeline.ladder.understanding.ask_all(seen, [q.text for q in part], 16)
    return answers


def picture(scene: Scene) -> Image.Image:
    return Image.fromarray(render(scene))


def next_of_kind(asked: list[Asked], drawn: list[np.ndarray]) -> list[np.ndarray]:
    """For each prompt the pictures of the next one of its kind: what chance would score."""
    members: dict[str, list[int]] = {}
    for index, prompt in enumerate(asked):
        members.setdefault(prompt.kind, []).append(index)
    after = {a: b for group in members.values() for a, b in zip(group, group[1:] + group[:1])}
    return [drawn[after[index]] for index in range(len(asked))]


def bounds(
    scorer: Scorer,
    literal: list[Asked],
    thought: list[Asked],
    drawn: list[np.ndarray],
    drawn_thought: list[np.ndarray],
) -> dict[str, Interval]:
    return {
        "geneval_toy": scorer.prompts(literal, drawn)["overall"],
        "thought": scorer.prompts(thought, drawn_thought)["overall"],
    }


def ceiling(
    pipeline: LadderPipeline,
    scorer: Scorer,
    literal: list[Asked],
    thought: list[Asked],
    edits: list[Edit],
) -> dict[str, Interval]:
    """Scores of true pictures after autoencoder: what a perfect generator would get."""
    redrawn = [one[None] for one in redraw(pipeline, [a.scene for a in literal + thought])]
    targets = redraw(pipeline, [edit.after for edit in edits])
    scores = [score_edit(edit, image) for edit, image in zip(edits, targets, strict=True)]
    kinds = [edit.kind for edit in edits]
    split = len(literal)
    return bounds(scorer, literal, thought, redrawn[:split], redrawn[split:]) | {
        "edit_exact": scorer.edits(kinds, scores)["exact"]
    }


@torch.no_grad()
def redraw(pipeline: LadderPipeline, scenes: list[Scene], batch: int = 100) -> list[np.ndarray]:
    """Rendered scenes after encoding and decoding."""
    found: list[np.ndarray] = []
    for start in range(0, len(scenes), batch):
        pixels = [picture(scene) for scene in scenes[start : start + batch]]
        tensor = pipeline.image_processor.preprocess(pixels).to(pipeline.vae.device, pipeline.vae.dtype)
        decoded = pipeline.vae.decode(pipeline.vae.encode(tensor).latent).sample
        shown = pipeline.image_processor.postprocess(decoded, output_type="np")
        found += [*(shown * 255).round().astype(np.uint8)]
    return found


def as_plain(metrics: dict[str, dict[str, Interval]]) -> dict[str, dict[str, dict]]:
    return {
        group: {name: dataclasses.asdict(value) for name, value in values.items()}
        for group, values in metrics.items()
    }


def peak_memory() -> int:
    """KiB of memory that this process held at its most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
