"""Grids of evaluated pictures for people, with what was asked underneath; a green frame: right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np

from ladder.evaluation.edits import score_edit
from ladder.evaluation.geneval import judge
from ladder.evaluation.observe import observe
from ladder.world.draws import Asked
from ladder.world.edits import KINDS, Edit
from ladder.world.render import render

COLUMNS = 8
RIGHT, WRONG = "#1a7f37", "#cf222e"


def prompts(
    path: Path, asked: Sequence[Asked], drawn: Sequence[np.ndarray], kinds: Sequence[str]
) -> None:
    """A row for each kind with the first picture of its first prompts."""
    figure, axes = _grid(len(kinds), COLUMNS)
    for row, kind in enumerate(kinds):
        chosen = [i for i, prompt in enumerate(asked) if prompt.kind == kind][:COLUMNS]
        for column, index in enumerate(chosen):
            image = drawn[index][0]
            verdict = judge(asked[index].row, observe(image))
            _show(axes[row, column], image, asked[index].text, verdict.correct)
        axes[row, 0].set_ylabel(kind, fontsize=9)
    _save(figure, path)


def edits(path: Path, changes: Sequence[Edit], drawn: Sequence[np.ndarray]) -> None:
    """A row for each kind: source, result and target of its first edits."""
    examples = 3
    figure, axes = _grid(len(KINDS), 3 * examples)
    for row, kind in enumerate(KINDS):
        chosen = [i for i, edit in enumerate(changes) if edit.kind == kind][:examples]
        for number, index in enumerate(chosen):
            edit, image = changes[index], drawn[index][0]
            right = score_edit(edit, image).exact == 1
            source, result, target = axes[row, 3 * number : 3 * number + 3]
            _show(source, render(edit.before), "source")
            _show(result, image, edit.instructions[0], right)
            _show(target, render(edit.after), "target")
        axes[row, 0].set_ylabel(kind, fontsize=9)
    _save(figure, path)


def _grid(rows: int, columns: int):
    figure, axes = plt.subplots(rows, columns, figsize=(1.5 * columns, 1.85 * rows), squeeze=False)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
    return figure, axes


def _show(axis, image: np.ndarray, text: str, right: bool | None = None) -> None:
    axis.imshow(image, interpolation="lanczos")
    axis.set_xlabel("\n".join(_wrapped(text, 22)), fontsize=6.5)
    if right is not None:
        axis.spines[:].set(visible=True, color=RIGHT if right else WRONG, linewidth=2)


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width)[:3]


def _save(figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout(pad=0.4)
    figure.savefig(path, dpi=90)
    plt.close(figure)
