"""Numbers as people read them."""

from __future__ import annotations

import pytest

from ladder.experiments.report import text
from ladder.experiments.statistics import Difference

LOSS = "heldout_loss.ti2i"


def test_small_p_are_not_zero():
    assert [text.p_value(p) for p in (0.0, 0.0009, 0.0123, 0.05, 0.9999, 1.0, float("nan"))] == [
        "< .001", "< .001", ".012", ".050", "1", "1", "",
    ]  # fmt: skip
    assert text.p_equals(0.0) == "p < .001"
    assert text.p_equals(0.02) == "p = .020"
    assert "very unlikely to be the reason (p < .001)" in text.sureness(0.0001)
    assert "is unlikely" in text.sureness(0.002)
    assert "rather unlikely" in text.sureness(0.049)


@pytest.mark.parametrize(
    ("mean", "control"), [(0.28095, 0.29048), (0.8194, 0.82949), (1.0, 0.0), (0.30049, 0.29951)]
)
def test_numbers_subtract(mean: float, control: float):
    """To the digit that is shown, and each within a digit of what it is."""
    shown, other, gain = (float(value) for value in text.subtracting(mean, control, "edit.exact"))
    assert round(shown - other, 1) == gain
    assert shown == pytest.approx(100 * mean, abs=0.1)
    assert other == pytest.approx(100 * control, abs=0.05)
    assert gain == pytest.approx(100 * (mean - control), abs=0.05)


def test_points_and_losses():
    points = Difference(0.103, 0.02, 40.0, 5, 105)
    assert text.difference(points, "edit.exact") == "+10.3 points [6.3, 14.3]"
    loss = Difference(-0.0118, 0.001, 40.0, 5, 105, lower_is_better=True)
    assert text.difference(loss, LOSS) == "-0.0118 [-0.0138, -0.0098]"
    assert text.amount(float("nan"), LOSS) == ""
    assert text.amount(-1e-9, LOSS, "+") == "+0.0000"
    assert text.amount(-1e-9, "edit.exact") == "0.0"


def test_an_interval_wider_than_the_scale_is_not_printed():
    assert text.interval(-1.107, 0.867, "reasoning") == f"[{text.TOO_FEW}]"
    assert text.interval(-0.5, 0.5, "reasoning") == "[-50.0, 50.0]"


def test_thousands_millions_and_shares():
    assert text.seconds(1170.2) == "1,170 s"
    assert text.millions(4_024_736) == "4.0 M"
    assert (text.share(0.8333), text.share(0.0), text.share(float("nan"))) == ("83%", "0%", "")


def test_names():
    assert text.label("edit.exact - geneval_toy") == "exact edits less GenEval-toy"
    assert text.label("edit.something") == "edit.something"
    assert text.capital("edits kept by GenEval") == "Edits kept by GenEval"
    assert [text.listed("abc"[:n]) for n in (1, 2, 3)] == ["`a`", "`a` and `b`", "`a`, `b` and `c`"]
