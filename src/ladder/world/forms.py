"""A form that says what a picture shows, field by field, and is filled in all at once.

A description names what there is, one word after the other, and each word depends on those before
it. A form has the same fields whatever the picture: what a caption asks for (two clauses and how
they relate), the background, and shape, colour and size of each of the nine cells. The words of
the form are the names of its fields; at each of them stands one word that fills it in.
"""

from __future__ import annotations

from collections.abc import Sequence

from ladder.world.language import RELATIONS
from ladder.world.scenes import CELL_NAMES, Scene

CLAUSE = ("count", "size", "color", "shape")
FORM = (
    *CLAUSE, "relation", *CLAUSE, "background",
    *(word for cell in CELL_NAMES for word in (cell, "color", "size")),
)  # fmt: skip
"""The names of the fields. That of a cell asks for the shape in it."""
ASKED = 2 * len(CLAUSE) + 1
"""The first fields, of what a caption asks for; those behind them tell what is seen."""
EMPTY = "empty"
OPEN_ASKED, OPEN_SEEN = FORM[:ASKED], FORM[ASKED:]
"""The two parts of a form in which nothing is filled in: every field holds its name."""
EMPTY_ASKED, EMPTY_SEEN = (EMPTY,) * len(OPEN_ASKED), ("background", *(EMPTY,) * len(OPEN_SEEN[1:]))
"""The two parts in which nothing is there, before a background left open."""


def asked(specification: str) -> tuple[str | None, ...]:
    """What a caption's `specification` fills into the first fields; None where it says nothing."""
    words = specification.split()
    if words[0] == "background":
        return (None,) * ASKED
    first, rest = words[: len(CLAUSE)], words[len(CLAUSE) :]
    if not rest:
        return (*first, *[EMPTY] * (1 + len(CLAUSE)))
    relation = next((name.split()[0] for name in RELATIONS if rest[0] == name.split()[0]), EMPTY)
    return (*first, relation, *rest[-len(CLAUSE) :])


def seen(scene: Scene) -> tuple[str, ...]:
    """What a picture of `scene` fills into the fields behind."""
    fields = [scene.background]
    for cell in range(len(CELL_NAMES)):
        thing = scene.at(cell)
        fields += [thing.shape, thing.color, thing.size] if thing else [EMPTY] * 3
    return tuple(fields)


def text(fields: Sequence[str | None]) -> str:
    """The words of a form; a field that is None holds its name.

    They begin with a space, since a tokenizer's words within a text hold the space before them.
    """
    return "".join(f" {field or name}" for field, name in zip(fields, FORM, strict=True))
