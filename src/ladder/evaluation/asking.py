"""The part of an evaluation in which pictures are asked yes-no questions: DPG-toy and TIIF-toy.

Each picture is read once, and the oracle answers from what it found. What it said is noted in the
files that `ladder score` reads, so that the published scorers' faults can be seen as well.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ladder.config.load import Config
from ladder.evaluation import outcomes
from ladder.evaluation.bounds import of_another, reconstructed
from ladder.evaluation.generate import draw
from ladder.evaluation.parts import Part, write_lines
from ladder.evaluation.scorers.tiif import LENGTHS
from ladder.evaluation.toy import dpg, tiif
from ladder.evaluation.vlm_judges.oracle import Oracle, reply
from ladder.inference.pipeline import LadderPipeline
from ladder.world.oracle import detect


def evaluate_dense(config: Config, pipeline: LadderPipeline, notes: Path) -> Part:
    """Dense prompts with graphs of questions.

    Writes dpg.json and dpg.csv, answers and questions in DPG-Bench's forms, into `notes`.
    """
    evaluation, sampling = config.evaluation, config.sampling
    asked, images = dpg.prompts(evaluation.seed), evaluation.images
    texts, sources = [one.text for one in asked], [None] * len(asked)
    pictures = draw(pipeline, texts, sources, images, sampling, evaluation.seed, "dense prompts")
    best = reconstructed(pipeline.vae, [one.scene for one in asked], sampling.batch)
    others = of_another([*pictures], ["dense"] * len(asked))

    def answers(drawn: Iterable[Iterable[np.ndarray]]) -> list[list[dpg.Said]]:
        return [
            [dict(zip(one.questions, said(one.questions.values(), picture), strict=True))
             for picture in group]
            for one, group in zip(asked, drawn, strict=True)
        ]  # fmt: skip

    own = answers(pictures)
    with (notes / "dpg.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, [*asked[0].rows[0]], lineterminator="\n")
        table.writeheader()
        table.writerows(row for one in asked for row in one.rows)
    rows = [{"item_id": item, "answers": one} for item, one in dpg.by_item(asked, own).items()]
    (notes / "dpg.json").write_text(json.dumps({"prompts": rows}) + "\n")
    return Part(
        {"dpg_toy": dpg.scores(asked, own, evaluation)},
        {"dpg_toy": dpg.scores(asked, answers(others), evaluation)},
        {"dpg_toy": dpg.scores(asked, answers(best[:, None]), evaluation)},
        [*outcomes.of_dense(asked, own)],
    )


def evaluate_lengths(config: Config, pipeline: LadderPipeline, notes: Path) -> Part:
    """Short and long prompts of the same scenes, one picture each.

    Writes tiif.jsonl, the answers in TIIF-Bench's form, into `notes`.
    """
    evaluation, sampling = config.evaluation, config.sampling
    asked = tiif.prompts(evaluation.seed)
    drawn = {}
    for length in LENGTHS:
        texts, sources = [pair.texts[length] for pair in asked], [None] * len(asked)
        title = f"{length} prompts"
        pictures = draw(pipeline, texts, sources, 1, sampling, evaluation.seed, title)
        drawn[length] = [*pictures[:, 0]]
    best = [*reconstructed(pipeline.vae, [pair.scene for pair in asked], sampling.batch)]
    attributes = [pair.attribute for pair in asked]
    others = {length: of_another(pictures, attributes) for length, pictures in drawn.items()}

    def answers(drawn: Mapping[str, Sequence[np.ndarray]]) -> list[tiif.Answered]:
        return [
            {length: said(pair.questions, drawn[length][index]) for length in LENGTHS}
            for index, pair in enumerate(asked)
        ]

    own = answers(drawn)
    run = {"judge": Oracle.name, "model": f"{config.arm}-{config.seed}"}
    write_lines(notes / "tiif.jsonl", [run | {"records": tiif.records(asked, own)}])
    return Part(
        {"tiif_toy": tiif.scores(asked, own, evaluation)},
        {"tiif_toy": tiif.scores(asked, answers(others), evaluation)},
        {"tiif_toy": tiif.scores(asked, answers(dict.fromkeys(LENGTHS, best)), evaluation)},
        [*outcomes.of_lengths(asked, own)],
    )


def said(questions: Iterable[str], picture: np.ndarray) -> list[str]:
    """The oracle's answers about a picture, uint8 (H, W, 3)."""
    found = detect(picture)
    return [reply(found, text) for text in questions]
