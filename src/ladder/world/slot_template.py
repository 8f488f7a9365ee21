"""The slot template: it says what a picture shows, field by field, and is filled in all at once.

A description names what there is, one word after the other, and each word depends on those before
it. A template has the same fields whatever the picture: what a caption asks for (two clauses and
how they relate), the background, and shape, colour and size of each of the nine cells. The words of
the template are the names of its fields; at each of them stands one word that fills it in.
"""

from __future__ import annotations

from itertools import accumulate, chain

from ladder.world.language import RELATIONS
from ladder.world.scenes import CELL_NAMES, Scene

CLAUSE = ("count", "size", "color", "shape")
SLOTS = (
    *CLAUSE, "relation", *CLAUSE, "background",
    *(word for cell in CELL_NAMES for word in (cell, "color", "size")),
)  # fmt: skip
"""The names of the fields. That of a cell asks for the shape in it."""
GROUPS = (len(CLAUSE), 1 + len(CLAUSE), 1, *(3,) * len(CELL_NAMES))
"""How many fields behind one another belong together: a clause, the second one with its relation to
the first, the background, each cell."""
FIRST = tuple(chain.from_iterable(
    [first] * fields for first, fields in zip(accumulate(GROUPS, initial=0), GROUPS, strict=False)
))  # fmt: skip
"""The first field of the group of each field."""
ASKED = 2 * len(CLAUSE) + 1
"""The first fields, of what a caption asks for; those behind them tell what is seen."""
EMPTY, OPEN = "empty", "any"
"""What fills in a field of which there is nothing, and one of which nothing is said."""
UNASKED = (OPEN,) * ASKED
UNSEEN = (OPEN,) * (len(SLOTS) - ASKED)
"""The two parts where nothing is said."""


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
