"""Linear probes find what is linearly there, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from ladder.experiments.linear_probes import probe


def test_a_label_that_is_a_direction_is_found_and_one_that_is_not_there_is_guessed():
    rng = np.random.default_rng(0)
    names = ["red", "green", "blue", "pink"]
    directions = rng.normal(size=(4, 300))
    labels = rng.integers(4, size=600)
    states = directions[labels] + rng.normal(size=(600, 300))
    said = [names[label] for label in labels]
    there = probe(states[:400], said[:400], states[400:], said[400:])
    absent = probe(rng.normal(size=(400, 300)), said[:400], states[400:], said[400:])
    assert there > 0.99
    assert absent == pytest.approx(0.25, abs=0.1)


def test_a_label_that_training_never_saw_is_an_error():
    states = np.eye(4)
    assert probe(states, ["a", "a", "b", "b"], states[:2], ["c", "a"]) == 0.5
