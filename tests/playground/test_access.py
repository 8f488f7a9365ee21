"""The page on a phone, in the dark and for a screen reader."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.playground.browsing import drawn, press, text

from ladder.playground.settings import Settings

pytestmark = pytest.mark.slow
PHONE = {"width": 390, "height": 844}
TABS = ("Generate", "Edit", "Ask", "Compare", "Inside")
AXE = Path(sys.prefix) / "node_modules/axe-core/axe.min.js"
SERIOUS = """() => axe.run().then(found => found.violations
    .filter(one => ["serious", "critical"].includes(one.impact))
    .map(one => one.id + ": " + one.nodes.map(node => node.target.join(" ")).join(", ")))"""
"""What axe-core finds that keeps people out."""


def show_all(page) -> None:
    """Open every accordion of the tab that is seen."""
    closed = page.locator("button.label-wrap:not(.open)").locator("visible=true")
    while closed.count():
        closed.first.click()
        page.wait_for_timeout(200)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit, scheme: str):
    if not AXE.exists():
        pytest.skip("axe-core is missing: make test-playground fetches it by npm")
    settings = Settings("inside", "a red zebra", (1.0, 0.0, 1.0), steps=2)
    page = visit(settings, color_scheme=scheme)
    drawn(page, settings)
    press(page, "Look inside (draws once more for each rung)")
    page.get_by_role("region", name="Attention").wait_for()
    page.add_script_tag(path=AXE)
    found = {}
    for tab in TABS:
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(500)
        show_all(page)
        found[tab] = page.evaluate(SERIOUS)
    assert found == {tab: [] for tab in TABS}


def test_nothing_is_wider_than_a_phone(visit):
    settings = Settings("generate", "a red star", (0.5, 1.0, 1.0), steps=2)
    page = visit(settings, viewport=PHONE)
    drawn(page, settings)
    press(page, "Edit it")
    text(page, "edit").wait_for()
    for tab in TABS:
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(500)
        show_all(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], tab
