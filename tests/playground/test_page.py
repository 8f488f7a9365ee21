"""The page in a browser without a screen: what a user sees is what the pipeline draws and says.

Skipped where gradio, playwright or Chromium is missing: `make test-playground` brings the first
two.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from PIL import Image
from tests.tiny import tiny_picture

from ladder.playground.drawing import Models, draw, read_sources
from ladder.playground.settings import Settings, to_query

pytest.importorskip("gradio", reason="gradio is missing: make test-playground installs it")
browsers = pytest.importorskip(
    "playwright.sync_api", reason="playwright is missing: make test-playground installs it"
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the PATH"),
]
PATIENCE = 300_000
"""Milliseconds that a step may take on a busy machine."""
SETTINGS = Settings("generate", "a red star", (0.5, 1.0, 1.0), seed=3, steps=2)
NAME_IN_FOCUS = """(() => {
    const one = document.activeElement;
    if (!one.matches("button, input, textarea, a")) return "";
    return one.getAttribute("aria-label") || (one.closest("label") || one).textContent;
})()"""
"""What a screen reader would call the element that has the focus."""
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def address(folders: dict[str, Path]) -> Iterator[str]:
    """Where `ladder playground` says that it is, run as a user runs it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "ladder.cli.main", "playground", "--port", str(port)]
    command += ["--model", str(folders["last_n"]), "--compare", str(folders["last"])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        line = server.stdout.readline()
        assert line == f"http://127.0.0.1:{port}/ (Ctrl-C ends it)\n"
        yield line.split()[0]
        server.terminate()


@pytest.fixture(scope="module")
def browser():
    with browsers.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, address: str) -> Iterator:
    """Opens the page as a user of its own, with settings in the link or without."""
    contexts = []

    def opened(settings: Settings | None = None, **options):
        contexts.append(browser.new_context(**options))
        contexts[-1].set_default_timeout(PATIENCE)
        page = contexts[-1].new_page()
        page.goto(address + (f"?{to_query(settings)}" if settings else ""))
        text = page.get_by_label(
            "Instruction" if settings and settings.task == "edit" else "Prompt"
        )
        browsers.expect(text).to_have_value(settings.prompt if settings else "", timeout=PATIENCE)
        return page

    yield opened
    for context in contexts:
        context.close()


def link(page):
    """The field of the link; gradio gives a field with a button to copy it no name."""
    return page.locator("textarea:disabled").locator("visible=true")


def drawn(page, settings: Settings) -> None:
    """Wait until the link says that these settings were drawn."""
    ending = re.compile(re.escape(f"?{to_query(settings)}") + "$")
    browsers.expect(link(page)).to_have_value(ending, timeout=PATIENCE)


def upload(page, *paths: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_text("Click to Upload").locator("visible=true").click()
    chooser.value.set_files(list(paths))


def download(page, press) -> dict[str, bytes]:
    """The files of the archive that comes after `press`."""
    with page.expect_download() as coming:
        press()
    with zipfile.ZipFile(coming.value.path()) as file:
        return {name: file.read(name) for name in file.namelist()}


def pixels(png: bytes) -> bytes:
    return Image.open(io.BytesIO(png)).tobytes()


def expected(models: Models, settings: Settings, sources: list[Image.Image]) -> dict[str, bytes]:
    """The pixels of each picture that the archive must hold."""
    drawing = draw(models, settings, sources, lambda done, of: None)
    groups = {"picture": drawing.pictures, "reference": drawing.references, "source": sources}
    return {
        f"{kind}-{index}.png": picture.tobytes()
        for kind, pictures in groups.items()
        for index, picture in enumerate(pictures)
    }


def holds(files: dict[str, bytes], models: Models, settings: Settings, sources=()) -> None:
    stored = json.loads(files.pop("settings.json"))
    assert stored["link"] == f"?{to_query(settings)}"
    assert {name: pixels(png) for name, png in files.items()} == expected(
        models, settings, list(sources)
    )


def test_by_keyboard_alone_a_link_is_drawn_a_rung_moved_and_all_of_it_kept(visit, compared):
    page = visit(SETTINGS)

    def tab_to(label: str) -> None:
        """Go on until what is named or labelled so has the focus."""
        for _ in range(80):
            page.keyboard.press("Tab")
            if label in page.evaluate(NAME_IN_FOCUS):
                return
        raise AssertionError(f"{label} can't be reached with the Tab key")

    tab_to("Prompt")
    page.keyboard.press("Enter")
    drawn(page, SETTINGS)
    tab_to("range slider for Rung 1")
    page.keyboard.press("ArrowRight")
    moved = Settings(**vars(SETTINGS) | {"rungs": (0.55, 1.0, 1.0)})
    drawn(page, moved)
    tab_to("Download all")
    holds(download(page, lambda: page.keyboard.press("Enter")), compared, moved)


def test_an_uploaded_picture_is_edited(visit, compared, tmp_path: Path):
    tiny_picture(0).save(tmp_path / "mine.png")
    settings = Settings("edit", "make it blue", (1.0, 0.0, 1.0), seed=5, steps=2, pictures=2)
    page = visit(settings)
    upload(page, tmp_path / "mine.png")
    page.get_by_role("img").locator("visible=true").first.wait_for()
    page.get_by_label("Instruction").press("Enter")
    drawn(page, settings)
    press = page.get_by_text("Download all").locator("visible=true").click
    sources = read_sources([str(tmp_path / "mine.png")])
    holds(download(page, press), compared, settings, sources)


def test_an_answer_is_that_of_the_language_model(visit, compared, tmp_path: Path):
    tiny_picture(0).save(tmp_path / "mine.png")
    page = visit()
    page.get_by_role("tab", name="Ask").click()
    upload(page, tmp_path / "mine.png")
    page.get_by_role("img").locator("visible=true").first.wait_for()
    page.get_by_label("Question").fill("what is it?")
    page.get_by_label("Question").press("Enter")
    picture = read_sources([str(tmp_path / "mine.png")])[0]
    answer = compared.pipeline.ask(picture, "what is it?").replace("\r\n", "\n").replace("\r", "\n")
    assert answer
    browsers.expect(page.get_by_label("Answer")).to_have_value(answer, timeout=PATIENCE)


def test_a_broken_upload_is_told_and_removed(visit, tmp_path: Path):
    (tmp_path / "broken.png").write_text("<html>no picture</html>")
    page = visit()
    page.get_by_role("tab", name="Edit").click()
    upload(page, tmp_path / "broken.png")
    page.get_by_text("broken.png: not a picture that can be used (undecodable)").wait_for()
    page.get_by_label("Instruction").fill("make it blue")
    page.get_by_label("Instruction").press("Enter")
    page.get_by_text("1 to 4 pictures can be changed, got 0").wait_for()


def test_a_link_that_cannot_be_is_told_as_text(visit, address: str):
    page = visit()
    page.goto(f"{address}?{urlencode({'seed': '<b id=bold>one</b>'})}")
    page.get_by_text("seed of a link must be a number, got '<b id=bold>one</b>'").wait_for()
    assert page.locator("#bold").count() == 0


def test_two_users_at_once_get_their_own_pictures(visit, compared):
    both = [Settings("generate", text, (1.0,) * 3, seed=1, steps=3) for text in ("a", "b")]
    pages = [visit(settings) for settings in both]
    for page in pages:
        page.get_by_label("Prompt").press("Enter")
    for page, settings in zip(pages, both, strict=True):
        drawn(page, settings)
        press = page.get_by_text("Download all").locator("visible=true").click
        holds(download(page, press), compared, settings)


def test_nothing_is_wider_than_a_phone(visit):
    page = visit(SETTINGS, viewport=PHONE)
    page.get_by_label("Prompt").press("Enter")
    drawn(page, SETTINGS)
    page.get_by_text("Edit the first").locator("visible=true").click()
    page.get_by_label("Instruction").wait_for()
    page.get_by_role("img").locator("visible=true").first.wait_for()
    for tab in ("Edit", "Ask", "Generate"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(500)
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"], tab
