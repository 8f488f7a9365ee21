"""Conditions are dropped by the joint rule of classifier-free guidance, and by nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ladder.config.load import ConditionDropout
from ladder.data.training.condition_dropout import Conditions, drop

PAPER = ConditionDropout(t2i_text=0.1, edit_text=0.1, edit_both=0.1, edit_image=0.1)


@pytest.mark.parametrize(
    ("draw", "text", "image"),
    [
        (0.0, False, True),
        (0.0999, False, True),
        (0.1, False, False),
        (0.1999, False, False),
        (0.2, True, False),
        (0.2999, True, False),
        (0.3001, True, True),
        (0.9999, True, True),
    ],
)
def test_the_joint_rule_of_edits(picture, draw, text, image):
    sources = (picture(0, (24, 16)), picture(1))
    black = (Image.new("RGB", (24, 16)), Image.new("RGB", (32, 32)))
    expected = Conditions("caption" if text else "", sources if image else black)
    assert drop("caption", sources, PAPER, draw) == expected


@pytest.mark.parametrize(("draw", "text"), [(0.0, ""), (0.0999, ""), (0.1, "c"), (0.25, "c")])
def test_the_rule_of_text_to_image(draw, text):
    assert drop("c", (), PAPER, draw) == Conditions(text, ())


@given(st.floats(0, 1, exclude_max=True))
def test_nothing_is_dropped_at_probability_zero(picture, draw):
    never = ConditionDropout(0.0, 0.0, 0.0, 0.0)
    assert drop("c", (), never, draw) == Conditions("c", ())
    assert drop("c", (picture(0),), never, draw) == Conditions("c", (picture(0),))


@given(
    st.tuples(*[st.floats(0, 0.33)] * 3),
    st.floats(0, 1, exclude_max=True),
)
def test_each_branch_has_its_probability(picture, shares, draw):
    """The interval of each outcome is as long as its probability, whatever the three are."""
    text, both, image = shares
    result = drop("c", (picture(0),), ConditionDropout(0.5, text, both, image), draw)
    outcome = (result.caption == "c", result.images == (picture(0),))
    edges = {(False, True): (0, text), (False, False): (text, text + both)}
    edges |= {(True, False): (text + both, text + both + image)}
    edges |= {(True, True): (text + both + image, 1)}
    low, high = edges[outcome]
    assert low <= draw < high
