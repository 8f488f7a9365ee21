"""The three parts of an evaluation: text to image, edits, understanding.

Each draws or asks, notes what was observed (a line of JSON a picture or answer, so that it can be
scored again), saves pictures for people, and scores.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ladder.config.load import Config
from ladder.evaluation import outcomes
from ladder.evaluation.bounds import of_another, reconstructed
from ladder.evaluation.generate import draw
from ladder.evaluation.image_grids import Tile, save_grid
from ladder.evaluation.outcomes import Outcome
from ladder.evaluation.scorers.geneval import judge
from ladder.evaluation.toy import edits as editing
from ladder.evaluation.toy import geneval, imgedit, vqa
from ladder.evaluation.toy.observe import observe
from ladder.evaluation.toy.test_set import evaluation_edits, evaluation_questions
from ladder.inference.pipeline import LadderPipeline
from ladder.models.mllm.frozen import Understanding
from ladder.world.oracle import detect
from ladder.world.render import render

SHOWN = 7
"""Prompts of each task or kind in a grid."""
SHOWN_EDITS = 3
"""Edits of each kind in a grid."""
STRIP, IN_STRIP = "strip.png", 2
"""The picture with the first so many of each task in a row, to lay beside those of other runs."""

Metrics = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """The scores of a ladder, those of the floor and the ceiling beside them, and what became of
    every prompt."""

    metrics: Metrics
    floor: Metrics
    ceiling: Metrics
    outcomes: list[Outcome]


def evaluate_generation(config: Config, pipeline: LadderPipeline, notes: Path, grids: Path) -> Part:
    """GenEval's tasks and prompts that need thought.

    Writes prompts.jsonl and pictures.jsonl in GenEval's forms into `notes`, and t2i.png,
    thought.png and STRIP into `grids`.
    """
    evaluation, sampling = config.evaluation, config.sampling
    asked = geneval.prompts(evaluation)
    texts = [prompt.text for prompt in asked]
    images, sources = evaluation.images, [None] * len(texts)
    pictures = draw(pipeline, texts, sources, images, sampling, evaluation.seed, "text to image")
    seen = [[observe(picture) for picture in group] for group in pictures]
    lines, tiles = [], {}
    for index, (prompt, observations) in enumerate(zip(asked, seen, strict=True)):
        verdicts = [judge(prompt.row, observation) for observation in observations]
        for image, (observation, verdict) in enumerate(zip(observations, verdicts, strict=True)):
            found = {name: [asdict(one) for one in group] for name, group in observation.items()}
            lines.append(
                {"prompt_index": index, "image": image, "detections": found} | asdict(verdict)
            )
        tile = Tile(pictures[index, 0], prompt.text, verdicts[0].correct)
        tiles.setdefault(prompt.row["tag"], {}).setdefault(prompt.kind, []).append(tile)
    write_lines(notes / "prompts.jsonl", (prompt.row | {"kind": prompt.kind} for prompt in asked))
    write_lines(notes / "pictures.jsonl", lines)
    thoughts = tiles.pop(geneval.THOUGHT)
    literal = {task: tile for kinds in tiles.values() for task, tile in kinds.items()}
    save_grid([(task, row[:SHOWN]) for task, row in literal.items()], grids / "t2i.png")
    save_grid([(kind, row[:SHOWN]) for kind, row in thoughts.items()], grids / "thought.png")
    strip = [tile.picture for row in literal.values() for tile in row[:IN_STRIP]]
    Image.fromarray(np.concatenate(strip, axis=1)).save(grids / STRIP)

    tasks = [prompt.row["tag"] for prompt in asked]
    best = reconstructed(pipeline.vae, [prompt.scene for prompt in asked], sampling.batch)
    return Part(
        geneval.scores(asked, seen, evaluation),
        geneval.scores(asked, of_another(seen, tasks), evaluation),
        geneval.scores(asked, [[observe(picture)] for picture in best], evaluation),
        [*outcomes.of_generation(asked, seen)],
    )


def evaluate_edits(config: Config, pipeline: LadderPipeline, notes: Path, grids: Path) -> Part:
    """Edits of every kind, one picture each.

    Writes edits.jsonl and imgedit.json (in ImgEdit-Bench's form) into `notes`, and edits.png
    (source, result, target) into `grids`.
    """
    evaluation, sampling = config.evaluation, config.sampling
    edits = evaluation_edits(evaluation.edits, evaluation.seed)
    texts = [edit.instructions[0] for edit in edits]
    sources = [Image.fromarray(render(edit.before)) for edit in edits]
    pictures = draw(pipeline, texts, sources, 1, sampling, evaluation.seed, "edits")[:, 0]
    found = [detect(picture) for picture in pictures]
    lines, tiles = [], {}
    for edit, text, picture, seen in zip(edits, texts, pictures, found, strict=True):
        score = editing.score_edit(edit, seen)
        truth = {"before": edit.before.to_json(), "after": edit.after.to_json()}
        lines.append(
            {"kind": edit.kind, "instruction": text}
            | truth
            | {"detections": asdict(seen)}
            | asdict(score)
        )
        tiles.setdefault(edit.kind, []).extend(
            [
                Tile(render(edit.before), "source"),
                Tile(picture, text, score.exact == 1),
                Tile(render(edit.after), "target"),
            ]
        )
    write_lines(notes / "edits.jsonl", lines)
    shown = [(kind, row[: 3 * SHOWN_EDITS]) for kind, row in tiles.items()]
    save_grid(shown, grids / "edits.png")

    graded = [
        {"name": str(number), "type": edit.kind, "judge_text": imgedit.judge_text(edit, seen)}
        for number, (edit, seen) in enumerate(zip(edits, found, strict=True))
    ]
    (notes / "imgedit.json").write_text(json.dumps(graded) + "\n")

    best = reconstructed(pipeline.vae, [edit.after for edit in edits], sampling.batch)
    others = of_another(found, [edit.kind for edit in edits])
    own, floor, ceiling = (
        {
            "edit": editing.scores(edits, seen, evaluation),
            "imgedit_toy": imgedit.scores(edits, seen, evaluation),
        }
        for seen in (found, others, [detect(picture) for picture in best])
    )
    return Part(own, floor, ceiling, [*outcomes.of_edits(edits, found)])


def evaluate_understanding(config: Config, pipeline: LadderPipeline, notes: Path) -> Part:
    """Questions about pictures, asked of the ladder and of the MLLM as it was before.

    They have no floor and no ceiling.

    Writes answers.jsonl into `notes`.
    """
    evaluation, batch = config.evaluation, config.sampling.batch
    questions = evaluation_questions(evaluation.questions, evaluation.seed)
    ours = pipeline.ladder.understanding
    answers = vqa.answers(ours, questions, batch, "questions")
    foundation = Understanding.from_pretrained(
        config.foundations.mllm, ours.mllm.dtype, ours.visual_tokens
    )
    foundation.to(ours.mllm.device)
    original = vqa.answers(foundation, questions, batch, "questions to the foundation")
    lines = (
        {"kind": asked.kind, "question": asked.text, "truth": asked.answer, "answer": answer}
        | {"foundation": before}
        for asked, answer, before in zip(questions, answers, original, strict=True)
    )
    write_lines(notes / "answers.jsonl", lines)
    scores = vqa.scores(questions, answers, original, evaluation)
    return Part({"understanding": scores}, {}, {}, [*outcomes.of_questions(questions, answers)])


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write a JSON object a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
