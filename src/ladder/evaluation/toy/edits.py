"""Edits of every kind: was the instruction followed, and did the rest stay as it was?

The nine cells of the grid are of three kinds: those the edit changes, those it leaves occupied, and
those it leaves empty. An edit is followed if the first are right, kept if the second are, and exact
if all are. Where an object stands within its cell doesn't count for these; how far what stays has
moved, and its hue, size and rotation, are measured beside them (`ladder.world.detail`). The same
pictures get the grades
of ImgEdit-Bench (`imgedit`). Every score is the unweighted mean of the kinds of edit.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image

from ladder.config.files import write_text
from ladder.config.load import Evaluation, Sampling
from ladder.evaluation.bounds import reconstructed
from ladder.evaluation.generate import draw
from ladder.evaluation.image_grids import Tile, save_grid
from ladder.evaluation.outcomes import DETAILS, Outcome
from ladder.evaluation.scorers import imgedit
from ladder.evaluation.toy.imgedit import judge_text
from ladder.evaluation.toy.observe import Observed, by_cell, looks
from ladder.evaluation.toy.test_set import evaluation_edits
from ladder.inference.pipeline import LadderPipeline
from ladder.world.detail import detail
from ladder.world.edits import Edit
from ladder.world.oracle import SURE, Detections
from ladder.world.render import render
from ladder.world.scenes import GRID

SHOWN = 3
"""Edits of each kind in a grid."""


@dataclass(frozen=True)
class EditScore:
    """Each is 0 or 1, but for the share."""

    followed: float
    """1 if every cell that the edit changes looks as intended, and so does the background if it
    was to change."""
    kept: float
    """1 if every untouched object stands in its cell with its shape, colour and size, and so does
    the background if it was to stay."""
    kept_share: float | None
    """Share of the untouched objects that do; None if there are none."""
    exact: float
    """1 if the whole picture is as intended and shows nothing else."""


def score_edit(edit: Edit, found: Detections) -> EditScore:
    """Judge what the oracle found in a result against the scene that the edit should give."""
    shown, before, after = by_cell(found), looks(edit.before), looks(edit.after)
    right = {cell: shown.get(cell) == after.get(cell) for cell in range(GRID**2)}
    changed = [cell for cell in right if before.get(cell) != after.get(cell)]
    untouched = [right[cell] for cell in before if cell not in changed]
    grounded = found.background == edit.after.background
    repainted = edit.before.background != edit.after.background
    clear = len(shown) == len(found.things) and all(thing.score > SURE for thing in found.things)
    return EditScore(
        followed=float(all(right[cell] for cell in changed) and (grounded or not repainted)),
        kept=float(all(untouched) and (grounded or repainted)),
        kept_share=sum(untouched) / len(untouched) if untouched else None,
        exact=float(all(right.values()) and grounded and clear),
    )


def measure_kept(edit: Edit, seen: Observed) -> dict[str, float]:
    """The mean errors, in pixels and degrees, of the objects that stay and that a result shows with
    their shape, colour and size: offset, hue, size, rotation. Those that nothing tells are left
    out."""
    shown, before, after = by_cell(seen.found), looks(edit.before), looks(edit.after)
    errors = [
        asdict(detail(seen.pixels, thing, edit.after.background))
        for thing in edit.before.things
        if before[thing.cell] == after.get(thing.cell) == shown.get(thing.cell)
    ]
    known = {name: [e[name] for e in errors if e[name] is not None] for name in DETAILS}
    return {name: sum(values) / len(values) for name, values in known.items() if values}


@dataclass(frozen=True)
class EditsToy:
    """The benchmark; of each edit it sees one picture."""

    evaluation: Evaluation
    sampling: Sampling
    name = "edits"

    @cached_property
    def prompts(self) -> list[Edit]:
        return evaluation_edits(self.evaluation.edits, self.evaluation.seed)

    @property
    def groups(self) -> list[str]:
        """The kind of each edit; the floor stays within it."""
        return [edit.kind for edit in self.prompts]

    def observe(self, pipeline: LadderPipeline) -> list[Observed]:
        """Draw every edit of its source and look at the picture."""
        texts = [edit.instructions[0] for edit in self.prompts]
        sources = [Image.fromarray(render(edit.before)) for edit in self.prompts]
        drawn = draw(pipeline, texts, sources, 1, self.sampling, self.evaluation.seed, "edits")
        return [Observed.of(picture) for picture in drawn[:, 0]]

    def ceiling(self, pipeline: LadderPipeline) -> list[Observed]:
        """The reconstruction of the scene that each edit should give."""
        scenes = [edit.after for edit in self.prompts]
        best = reconstructed(pipeline.vae, scenes, self.sampling.batch)
        return [Observed.of(picture) for picture in best]

    def score(self, seen: Sequence[Observed]) -> list[Outcome]:
        """`EditScore` of each picture, the errors of what it keeps, and the grades of ImgEdit's
        scorer without faults and with them, with the judge's text."""
        outcomes = []
        for number, (edit, picture) in enumerate(zip(self.prompts, seen, strict=True)):
            place = (edit.kind, number, edit.instructions[0], 0)
            for name, score in asdict(score_edit(edit, picture.found)).items():
                if score is not None:
                    outcomes.append(Outcome(f"edit.{name}", *place, score))
            for name, error in measure_kept(edit, picture).items():
                outcomes.append(Outcome(f"edit.detail.{name}", *place, error))
            text = judge_text(edit, picture.found)
            outcomes += [
                Outcome("imgedit_toy", *place, imgedit.fixed(text), text),
                Outcome("imgedit_toy.official", *place, imgedit.official(text), text),
            ]
        return outcomes

    def save(
        self, seen: Sequence[Observed], outcomes: Sequence[Outcome], notes: Path, grids: Path
    ) -> None:
        """Write edits.jsonl and imgedit.json (in ImgEdit-Bench's form) into `notes`, and edits.png
        (source, result and target of the first edits of each kind) into `grids`."""
        lines = [
            {"kind": edit.kind, "instruction": edit.instructions[0],
             "before": edit.before.to_json(), "after": edit.after.to_json(),
             "detections": asdict(picture.found), "kept_share": None}
            for edit, picture in zip(self.prompts, seen, strict=True)
        ]  # fmt: skip
        for one in outcomes:
            benchmark, _, score = one.metric.partition(".")
            if benchmark == "edit":
                lines[one.number][score] = one.score
        graded = [
            {"name": str(one.number), "type": one.group, "judge_text": one.said}
            for one in outcomes
            if one.metric == "imgedit_toy"
        ]
        write_text(notes / "edits.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        write_text(notes / "imgedit.json", json.dumps(graded) + "\n")
        tiles: dict[str, list[Tile]] = {}
        for one in outcomes:
            if one.metric == "edit.exact":
                edit = self.prompts[one.number]
                tiles.setdefault(one.group, []).extend(
                    [
                        Tile(render(edit.before), "source"),
                        Tile(seen[one.number].pixels, one.prompt, one.score == 1),
                        Tile(render(edit.after), "target"),
                    ]
                )
        save_grid([(kind, row[: 3 * SHOWN]) for kind, row in tiles.items()], grids / "edits.png")
