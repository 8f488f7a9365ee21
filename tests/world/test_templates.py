"""The finder of captions in the words of GenEval-toy: its six tasks and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from ladder.world.sampling import LITERALS, draw_captioned
from ladder.world.templates import follows_geneval_toy


def test_it_finds_the_six_tasks_and_nothing_else():
    rng = np.random.default_rng(0)
    found: dict[str, set[bool]] = {}
    for _ in range(1000):
        for caption in draw_captioned(rng, captions=4).captions:
            found.setdefault(caption.tag, set()).add(follows_geneval_toy(caption.text))
    assert found == {tag: {True} for tag in LITERALS} | {"dense": {False}, "thought": {False}}


@pytest.mark.parametrize(
    "caption",
    [
        "",
        "a red star.",
        "a red star and",
        "a photo of a dog",
        "two red star",
        "a red star at the top",
    ],
)
def test_what_is_nearly_so_is_not_found(caption: str):
    assert not follows_geneval_toy(caption)
