"""ImgEdit-Bench in the toy world: an edit is graded by what changed and what stayed.

The oracle fills in three criteria from 1 to 5, as ImgEdit's judges do, and the benchmark's scorer
reads its text. Each criterion is 1 + 4 times a share, rounded:

Instruction followed  of the looks that the edit changes (shape, colour and size of an object, an
                      object that comes or goes, the background), those that are as intended
Rest kept             of the looks that the edit leaves alone, those that are as before
Nothing else          of the objects in the picture, those that are beyond doubt and stand where an
                      object belongs; none at all is right only if none belongs there

Where an object stands within its cell doesn't count. The scorer holds the second and third
criterion down to the first, so a picture that is only copied gets a 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from ladder.evaluation.scorers import imgedit
from ladder.evaluation.toy.observe import by_cell, looks
from ladder.world.edits import Edit
from ladder.world.oracle import SURE, Detections

WHAT = ("size", "color", "shape")
Look = dict[tuple[int, str] | str, str | None]
"""What can be seen of a picture, one thing at a time."""


def judge_text(edit: Edit, found: Detections) -> str:
    """The three criteria, a line each."""
    before = _looks(looks(edit.before), edit.before.background)
    after = _looks(looks(edit.after), edit.after.background)
    shown = _looks(by_cell(found), found.background)
    names = before.keys() | after.keys()
    changed = {name for name in names if before.get(name) != after.get(name)}
    places = looks(edit.after)
    fitting = [thing.score > SURE and thing.cell in places for thing in found.things]
    shares = {
        "Instruction followed": _share([shown.get(n) == after.get(n) for n in changed]),
        "Rest kept": _share([shown.get(n) == after.get(n) for n in names - changed]),
        "Nothing else": _share(fitting) if fitting or not places else 0.0,
    }
    span = imgedit.HIGHEST - imgedit.LOWEST
    return "\n".join(
        f"{name}: {imgedit.LOWEST + round(span * share)}" for name, share in shares.items()
    )


def _looks(things: dict[int, tuple[str, str, str]], background: str | None) -> Look:
    found: Look = {"background": background}
    for cell, what in things.items():
        found |= {(cell, name): value for name, value in zip(WHAT, what, strict=True)}
    return found


def _share(right: Sequence[bool]) -> float:
    """Of nothing, all is right."""
    return sum(right) / len(right) if right else 1.0
