"""Text to image: GenEval's six tasks in the toy world, and prompts that need reasoning.

As in GenEval, a picture is right or wrong, and the overall score is the unweighted mean of the six
tasks. Reasoning stands apart, over all its prompts and by kind.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from ladder.config.files import replacing, write_text
from ladder.config.load import Evaluation, Sampling
from ladder.evaluation.bounds import reconstructed
from ladder.evaluation.generate import draw
from ladder.evaluation.image_grids import Tile, save_grid
from ladder.evaluation.outcomes import Outcome
from ladder.evaluation.scorers.geneval import judge
from ladder.evaluation.toy.observe import Observed, by_class
from ladder.evaluation.toy.test_set import REASONING, HeldOutPrompt, evaluation_prompts
from ladder.inference.pipeline import LadderPipeline
from ladder.world.language import TASKS

SHOWN = 7
"""Prompts of each task or kind in a grid."""
STRIP, IN_STRIP = "strip.png", 2
"""The picture with the first so many of each task in a row, to lay beside those of other runs."""


def prompts(evaluation: Evaluation) -> list[HeldOutPrompt]:
    """The prompts of the six tasks, then those that need reasoning."""
    return [
        prompt
        for task in (*TASKS, REASONING)
        for prompt in evaluation_prompts(task, evaluation.prompts, evaluation.seed)
    ]


@dataclass(frozen=True)
class GenevalToy:
    """The benchmark; of each prompt it sees `evaluation.images` pictures."""

    evaluation: Evaluation
    sampling: Sampling
    name = "generation"

    @cached_property
    def prompts(self) -> list[HeldOutPrompt]:
        return prompts(self.evaluation)

    @property
    def groups(self) -> list[str]:
        """The task of each prompt; the floor stays within it."""
        return [prompt.task for prompt in self.prompts]

    def observe(self, pipeline: LadderPipeline) -> list[list[Observed]]:
        """Draw every prompt and look at the pictures."""
        texts, sources = [prompt.text for prompt in self.prompts], [None] * len(self.prompts)
        images, seed = self.evaluation.images, self.evaluation.seed
        drawn = draw(pipeline, texts, sources, images, self.sampling, seed, "text to image")
        return [[Observed.of(picture) for picture in pictures] for pictures in drawn]

    def ceiling(self, pipeline: LadderPipeline) -> list[list[Observed]]:
        """The reconstruction of a scene that each prompt is true of."""
        scenes = [prompt.scene for prompt in self.prompts]
        best = reconstructed(pipeline.vae, scenes, self.sampling.batch)
        return [[Observed.of(picture)] for picture in best]

    def score(self, seen: Sequence[Sequence[Observed]]) -> list[Outcome]:
        """1 for each right picture, 0 for each wrong one."""
        outcomes = []
        for number, (prompt, pictures) in enumerate(zip(self.prompts, seen, strict=True)):
            metric = "reasoning" if prompt.task == REASONING else "geneval_toy"
            for place, picture in enumerate(pictures):
                verdict = judge(prompt.row, by_class(picture.found))
                outcomes.append(
                    Outcome(metric, prompt.kind, number, prompt.text, place,
                            float(verdict.correct), verdict.reason)
                )  # fmt: skip
        return outcomes

    def save(
        self,
        seen: Sequence[Sequence[Observed]],
        outcomes: Sequence[Outcome],
        notes: Path,
        grids: Path,
    ) -> None:
        """Write prompts.jsonl and pictures.jsonl in GenEval's forms into `notes`, and t2i.png,
        reasoning.png and STRIP, first pictures of the first prompts, into `grids`."""
        rows = [prompt.row | {"kind": prompt.kind} for prompt in self.prompts]
        lines = []
        for one in outcomes:
            detections = {
                name: [asdict(detected) for detected in group]
                for name, group in by_class(seen[one.number][one.picture].found).items()
            }
            place = {"prompt_index": one.number, "image": one.picture, "detections": detections}
            lines.append(place | {"correct": bool(one.score), "reason": one.said})
        for name, values in (("prompts.jsonl", rows), ("pictures.jsonl", lines)):
            write_text(notes / name, "".join(json.dumps(value) + "\n" for value in values))
        tiles: dict[str, dict[str, list[Tile]]] = {"geneval_toy": {}, "reasoning": {}}
        for one in outcomes:
            if one.picture == 0:
                tile = Tile(seen[one.number][0].pixels, one.prompt, one.score == 1)
                tiles[one.metric].setdefault(one.group, []).append(tile)
        for metric, name in (("geneval_toy", "t2i.png"), ("reasoning", "reasoning.png")):
            save_grid([(kind, row[:SHOWN]) for kind, row in tiles[metric].items()], grids / name)
        strip = [tile.picture for row in tiles["geneval_toy"].values() for tile in row[:IN_STRIP]]
        with replacing(grids / STRIP) as part:
            Image.fromarray(np.concatenate(strip, axis=1)).save(part, "PNG")
