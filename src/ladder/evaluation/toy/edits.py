"""Scores of an edit: was the instruction followed, and did the rest stay as it was?

The nine cells of the grid are of three kinds: those the edit changes, those it leaves occupied, and
those it leaves empty. An edit is followed if the first are right, kept if the second are, and exact
if all are. Where an object stands within its cell doesn't count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from ladder.config.load import Evaluation
from ladder.evaluation.confidence import interval, mean_of_groups
from ladder.evaluation.toy.observe import by_cell
from ladder.world.edits import Edit
from ladder.world.oracle import SURE, Detections
from ladder.world.scenes import GRID, Scene


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


def scores(
    edits: Sequence[Edit], found: Sequence[Detections], evaluation: Evaluation
) -> dict[str, dict]:
    """The metrics of results of edits, one of each: over all, and by kind under "kinds".

    Over all is the unweighted mean of the kinds, of those that have a share to speak of.
    """
    judged: dict[str, list[EditScore]] = defaultdict(list)
    for edit, seen in zip(edits, found, strict=True):
        judged[edit.kind].append(score_edit(edit, seen))
    draws = (evaluation.resamples, evaluation.seed)
    metrics: dict[str, dict] = {"kinds": {kind: {} for kind in judged}}
    for name in (field.name for field in fields(EditScore)):
        values = {
            kind: [value for score in group if (value := getattr(score, name)) is not None]
            for kind, group in judged.items()
        }
        values = {kind: group for kind, group in values.items() if group}
        if values:
            metrics[name] = asdict(mean_of_groups(values, *draws))
        for kind, group in values.items():
            metrics["kinds"][kind][name] = asdict(interval(group, *draws))
    return metrics


def looks(scene: Scene) -> dict[int, tuple[str, str, str]]:
    """(size, colour, shape) by cell."""
    return {thing.cell: thing.what for thing in scene.things}
