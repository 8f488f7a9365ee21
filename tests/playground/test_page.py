"""The page in a browser without a screen: what a user sees is what the pipeline draws and says."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlparse

import pytest
from PIL import Image
from tests.playground.browsing import (
    PATIENCE,
    dial,
    download,
    drawn,
    holds,
    press,
    shown,
    text,
    upload,
)
from tests.tiny import tiny_picture

from ladder.playground.drawing import draw, read_sources
from ladder.playground.frame import Frame, cropped
from ladder.playground.settings import Settings, caption
from ladder.playground.words import EXAMPLES

pytestmark = pytest.mark.slow
ONES = (1.0, 1.0, 1.0)
FIRST = Settings("generate", EXAMPLES["generate"][0], ONES)
"""What the page opens with."""
SETTINGS = Settings("generate", "a red star", (0.5, 1.0, 1.0), seed=3, steps=2)
NAME_IN_FOCUS = """(() => {
    const one = document.activeElement;
    if (!one.matches("button, input, textarea, a")) return "";
    return one.getAttribute("aria-label") || (one.closest("label") || one).textContent;
})()"""
"""What a screen reader would call the element that has the focus."""


def expect(part):
    """Playwright's own, which is imported only where it is installed."""
    from playwright.sync_api import expect as expected

    return expected(part)


def says(page, words: str) -> None:
    """Wait until the caption that is seen says this."""
    expect(shown(page, "What is drawn")).to_have_value(words, timeout=PATIENCE)


def test_the_page_opens_with_a_picture_that_is_drawn(visit, compared):
    page = visit()
    says(page, caption(FIRST))
    expect(text(page)).to_have_value(FIRST.prompt)
    page.get_by_role("img").locator("visible=true").first.wait_for()
    holds(download(page), compared, FIRST)


def test_an_example_is_drawn_by_a_click(visit, compared):
    page = visit()
    second = replace(FIRST, prompt=EXAMPLES["generate"][1])
    press(page, second.prompt)
    drawn(page, second)
    says(page, caption(second))
    expect(text(page)).to_have_value(second.prompt)
    holds(download(page), compared, second)


def test_every_control_draws_anew(visit, compared):
    page = visit(replace(SETTINGS, rungs=ONES))
    now = replace(SETTINGS, rungs=ONES)
    drawn(page, now)
    now = replace(now, rungs=(1.0, 0.0, 1.0))
    dial(page, "Rung 2: layer 4", 0)
    drawn(page, now)
    now = replace(now, rungs=ONES)
    press(page, "All at 1")
    drawn(page, now)
    press(page, "Noise, steps and guidance")
    now = replace(now, seed=9)
    shown(page, "Seed").fill("9")
    drawn(page, now)
    for name, field, value in (
        ("Steps", "steps", 3),
        ("Guidance towards the text", "guidance", 4.5),
        ("Pictures", "pictures", 2),
    ):
        now = replace(now, **{field: value})
        dial(page, name, value)
        drawn(page, now)
    says(page, caption(now))
    holds(download(page), compared, now)
    before = page.url
    press(page, "Another seed")
    page.wait_for_url(lambda url: url != before)
    seed = int(parse_qs(urlparse(page.url).query)["seed"][0])
    drawn(page, replace(now, seed=seed))


def test_words_that_are_typed_wait_for_draw(visit, compared):
    page = visit(SETTINGS)
    drawn(page, SETTINGS)
    text(page).fill("two hearts")
    says(page, "Not drawn yet: press Draw.")
    press(page, "Draw")
    other = replace(SETTINGS, prompt="two hearts")
    drawn(page, other)
    says(page, caption(other))


def test_words_that_the_model_lacks_are_told(visit):
    page = visit(replace(SETTINGS, prompt="a zebra"))
    note = shown(page, "Note")
    expect(note).to_have_value("The language model has no word of its own for: zebra.")


def test_by_keyboard_alone_a_rung_is_moved_and_all_of_it_kept(visit, compared):
    page = visit(SETTINGS)
    drawn(page, SETTINGS)

    def tab_to(label: str) -> None:
        """Go on until what is named or labelled so has the focus."""
        for _ in range(80):
            page.keyboard.press("Tab")
            if label in page.evaluate(NAME_IN_FOCUS):
                return
        raise AssertionError(f"{label} can't be reached with the Tab key")

    tab_to("What can I ask for?")
    page.keyboard.press("Enter")
    page.get_by_text("circle, square, triangle").wait_for()
    tab_to("Prompt")
    page.keyboard.type("s")
    page.keyboard.press("Enter")
    several = replace(SETTINGS, prompt=text(page).input_value())
    drawn(page, several)
    tab_to("Download all")
    page.keyboard.press("Shift+Tab")
    tab_to("range slider for Rung 1")
    page.keyboard.press("ArrowRight")
    moved = replace(several, rungs=(0.55, 1.0, 1.0))
    drawn(page, moved)
    for _ in range(40):
        page.keyboard.press("Shift+Tab")
        if "Download all" in page.evaluate(NAME_IN_FOCUS):
            break
    holds(download(page, lambda: page.keyboard.press("Enter")), compared, moved)


def test_the_first_picture_is_edited_and_asked_about(visit, compared):
    page = visit()
    press(page, "Edit it")
    settings = Settings("edit", EXAMPLES["edit"][1], ONES)
    press(page, settings.prompt)
    drawn(page, settings)
    first = draw(compared, FIRST, [], lambda done, of: None).pictures
    holds(download(page), compared, settings, first)
    page.get_by_role("tab", name="Generate").click()
    press(page, "Ask about it")
    press(page, EXAMPLES["ask"][0])
    answer = compared.pipeline.ask(first[0], EXAMPLES["ask"][0])
    expect(shown(page, ANSWER)).to_have_value(plain(answer), timeout=PATIENCE)


ANSWER = "Answer of the untouched language model"


def plain(answer: str) -> str:
    """A text as a field of the browser holds it."""
    return answer.replace("\r\n", "\n").replace("\r", "\n")


def test_uploads_are_edited_within_their_frames(visit, compared, tmp_path: Path):
    wide, tall = tmp_path / "wide.png", tmp_path / "tall.png"
    tiny_picture(0, (64, 48)).save(wide)
    tiny_picture(1, (48, 64)).save(tall)
    settings = Settings("edit", "make it blue", (1.0, 0.0, 1.0), seed=5, steps=2, pictures=2)
    page = visit(settings)
    says(page, "Not drawn yet: press Draw.")
    upload(page, wide, tall)
    page.get_by_text("Frame of picture").wait_for()
    dial(page, "Left to right", 0)
    page.get_by_label("2", exact=True).check()
    dial(page, "Side of the frame", 0.5)
    page.wait_for_timeout(1000)
    press(page, "Draw")
    drawn(page, settings)
    frames = (Frame(across=0.0), Frame(side=0.5))
    sources = [
        cropped(picture, frame, compared.pipeline.sizes)
        for picture, frame in zip(read_sources([str(wide), str(tall)]), frames, strict=True)
    ]
    holds(download(page), compared, settings, sources)


def test_edits_are_chained_and_taken_back(visit, compared, tmp_path: Path):
    tiny_picture(0).save(tmp_path / "mine.png")
    source = read_sources([str(tmp_path / "mine.png")])
    settings = Settings("edit", "make it blue", ONES, steps=2)
    page = visit(settings)
    upload(page, tmp_path / "mine.png")
    page.get_by_role("img").locator("visible=true").first.wait_for()
    press(page, "Draw")
    drawn(page, settings)
    press(page, "Go on from the result")
    page.get_by_text("Steps so far").locator("visible=true").first.wait_for()
    second = replace(settings, prompt="two hearts")
    text(page, "edit").fill(second.prompt)
    press(page, "Draw")
    drawn(page, second)
    once = draw(compared, settings, source, lambda done, of: None).pictures
    holds(download(page), compared, second, once)
    press(page, "Undo")
    expect(text(page, "edit")).to_have_value(settings.prompt)
    third = replace(settings, prompt="a star")
    text(page, "edit").fill(third.prompt)
    press(page, "Draw")
    drawn(page, third)
    holds(download(page), compared, third, source)


def test_an_answer_is_that_of_the_language_model(visit, compared, tmp_path: Path):
    tiny_picture(0).save(tmp_path / "mine.png")
    page = visit()
    page.get_by_role("tab", name="Ask").click()
    upload(page, tmp_path / "mine.png")
    page.get_by_role("img").locator("visible=true").first.wait_for()
    page.get_by_label(re.compile(r"^\s*Question\s+Ask")).fill("what is it?")
    page.get_by_label(re.compile(r"^\s*Question\s+Ask")).press("Enter")
    picture = read_sources([str(tmp_path / "mine.png")])[0]
    answer = plain(compared.pipeline.ask(picture, "what is it?"))
    assert answer
    expect(page.get_by_label(ANSWER)).to_have_value(answer, timeout=PATIENCE)


def test_a_broken_upload_is_told_and_removed(visit, tmp_path: Path):
    (tmp_path / "broken.png").write_text("<html>no picture</html>")
    page = visit()
    page.get_by_role("tab", name="Edit").click()
    upload(page, tmp_path / "broken.png")
    page.get_by_text("broken.png: not a picture that can be used (undecodable)").first.wait_for()
    text(page, "edit").fill("make it blue")
    text(page, "edit").press("Enter")
    page.get_by_text("1 to 4 pictures can be changed, got 0").wait_for()


def test_a_link_that_cannot_be_is_told_as_text(visit, address: str):
    page = visit()
    page.goto(f"{address}?{urlencode({'seed': '<b id=bold>one</b>'})}")
    page.get_by_text("seed of a link must be a number, got '<b id=bold>one</b>'").wait_for()
    assert page.locator("#bold").count() == 0


def test_two_users_at_once_get_pictures_of_their_own_weights(visit, compared):
    weights = ((0.0, 1.0, 1.0), (1.0, 1.0, 2.0))
    both = [Settings("generate", "a star", rungs, seed=1, steps=20) for rungs in weights]
    pages = [visit(settings) for settings in both]
    for page, settings in zip(pages, both, strict=True):
        drawn(page, settings)
        holds(download(page), compared, settings)


def test_two_ladders_are_compared(visit, compared):
    settings = Settings("compare", "a red star", ONES, seed=2, steps=2, pictures=2)
    page = visit(settings)
    drawn(page, settings)
    holds(download(page), compared, settings)
    second = replace(settings, prompt=EXAMPLES["generate"][1])
    press(page, second.prompt)
    drawn(page, second)


def test_inside_a_rung_is_silenced_by_a_click_and_its_attention_is_seen(visit, compared):
    settings = Settings("inside", "a red star", ONES, steps=3)
    page = visit(settings)
    drawn(page, settings)
    page.get_by_label("Rung 2: layer 4", exact=True).locator("visible=true").check()
    silenced = replace(settings, rungs=(1.0, 0.0, 1.0))
    drawn(page, silenced)
    holds(download(page), compared, silenced)
    press(page, "Look inside (draws once more for each rung)")
    table = page.get_by_role("region", name="Attention")
    table.wait_for()
    assert table.locator("tbody tr").count() == 3
    assert table.locator("tbody tr").first.locator("td").count() == 4
    expect(table.locator("caption")).to_have_text(re.compile("^Step 1,"))
    expect(page.get_by_text(re.compile(r"without rung 3: layer 5: \d+% away"))).to_have_count(1)
    dial(page, "Step", 3)
    expect(table.locator("caption")).to_have_text(re.compile("^Step 3,"))


def test_a_link_to_a_silent_rung_shows_it(visit):
    silenced = Settings("inside", "a red star", (1.0, 0.0, 1.0), steps=2)
    page = visit(silenced)
    drawn(page, silenced)
    assert page.get_by_label("Rung 2: layer 4", exact=True).locator("visible=true").is_checked()


def test_a_picture_without_colour_can_be_uploaded(visit, compared, tmp_path: Path):
    Image.new("L", (32, 32), 90).save(tmp_path / "grey.png")
    settings = Settings("edit", "make it blue", ONES, steps=2)
    page = visit(settings)
    upload(page, tmp_path / "grey.png")
    page.get_by_role("img").locator("visible=true").first.wait_for()
    press(page, "Draw")
    drawn(page, settings)
    holds(download(page), compared, settings, read_sources([str(tmp_path / "grey.png")]))
