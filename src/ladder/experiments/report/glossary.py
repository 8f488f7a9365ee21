"""What each arm is: a sentence from its file, and a small drawing of which layer feeds which block.

In the drawing columns are the generator's blocks from left to right, rows the MLLM's layers from
below, with the state after the final norm on top. The darker a cell, the larger the share of that
layer in what the block hears.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ladder.experiments.results import Run

CELL = 6
"""Pixels along a cell."""
ARMS = Path("experiments/arms")
NORM = "norm"


@dataclass(frozen=True)
class Entry:
    """An arm in the glossary."""

    arm: str
    sentence: str
    drawing: str
    """SVG; empty for an arm without runs, and where it is that of an arm before."""
    same_as: str
    """That arm."""
    seed: int | None
    """The seed that the drawing is of, for an arm whose assignment hangs on it."""


def glossary(arms: Sequence[str], every: Sequence[Run], root: Path = Path()) -> list[Entry]:
    """An entry for each arm, in their order."""
    depth = max((_layer(name) for run in every for rung in rungs(run) for name in rung), default=0)
    entries, drawn = [], {}
    for arm in arms:
        mine = [run for run in every if run.arm == arm and rungs(run)]
        drawing = svg(rungs(mine[0]), depth) if mine else ""
        first = drawn.setdefault(drawing, arm) if mine else arm
        seed = mine[0].seed if any(rungs(run) != rungs(mine[0]) for run in mine) else None
        shown, same_as = (drawing, "") if first == arm else ("", first)
        entries.append(Entry(arm, sentence(arm, root), shown, same_as, seed))
    return entries


def rungs(run: Run) -> list[dict[str, float]]:
    """The share of each layer in what each block hears; empty if the run failed before that."""
    return run.cost["rungs"] if run.cost else []


def sentence(arm: str, root: Path = Path()) -> str:
    """What an arm is, by the comment that its file begins with."""
    said = []
    for line in (root / ARMS / f"{arm}.yaml").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        said.append(line.lstrip("# ").strip())
    return " ".join(said)


def svg(blocks: Sequence[Mapping[str, float]], depth: int) -> str:
    """The drawing of an assignment in an MLLM of `depth` layers."""
    width, height = CELL * len(blocks), CELL * (depth + 1)
    cells = [
        f'<rect x="{CELL * column}" y="{height - CELL * row}" width="{CELL}" height="{CELL}" '
        f'fill-opacity="{max(share**0.5, 0.12):.2f}"/>'
        for column, shares in enumerate(blocks)
        for name, share in shares.items()
        for row in [depth + 1 if name == NORM else _layer(name)]
    ]
    heard = "; ".join(
        f"block {number}: {', '.join(shares)}" for number, shares in enumerate(blocks, 1)
    )
    return (
        f'<svg class="rungs" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{heard}"><rect class="frame" width="{width}" height="{height}"/>'
        f"{''.join(cells)}</svg>"
    )


def _layer(name: str) -> int:
    return 0 if name == NORM else int(name)
