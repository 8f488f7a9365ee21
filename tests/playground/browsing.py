"""What a user does in a browser without a screen, and what must come of it."""

from __future__ import annotations

import io
import json
import re
import shutil
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from ladder.playground.drawing import Models, draw
from ladder.playground.settings import Settings, to_query

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
PATIENCE = 120_000
"""Milliseconds that a step may take on a busy machine."""
TEXTS = {
    "generate": "Prompt",
    "edit": "Instruction",
    "compare": "Prompt of both",
    "inside": "Prompt to look into",
}
"""What the text of a tab is called."""


@contextmanager
def serving(*options: str, environment: dict[str, str] | None = None) -> Iterator[str]:
    """Where `ladder playground` says that it is, run as a user runs it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "ladder.cli.main", "playground", "--port", str(port)]
    with subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, text=True, env=environment
    ) as server:
        try:
            line = server.stdout.readline()
            assert line == f"http://127.0.0.1:{port}/ (Ctrl-C ends it)\n"
            yield line.split()[0]
        finally:
            server.terminate()


def text(page: Any, task: str = "generate") -> Any:
    """The field of a tab's text."""
    # gradio's label holds the button, too.
    return page.get_by_label(re.compile(rf"^\s*{TEXTS[task]}\s+Draw"))


def shown(page: Any, name: str) -> Any:
    """The one of several components of a name that is seen: tabs have them alike."""
    return page.get_by_label(name, exact=True).locator("visible=true")


def press(page: Any, name: str) -> None:
    """Press a button that is seen, or open what lies behind its words."""
    words = re.compile(rf"^{re.escape(name)}[\s▼]*$")
    page.get_by_role("button", name=words).locator("visible=true").click()


def dial(page: Any, name: str, value: float) -> None:
    """Type a number into the field of a slider."""
    field = page.get_by_label(f"number input for {name}", exact=True).locator("visible=true")
    field.fill(f"{value:g}")
    field.press("Tab")


def drawn(page: Any, settings: Settings) -> None:
    """Wait until the link says that these settings were drawn."""
    from playwright.sync_api import expect

    ending = re.compile(re.escape(f"?{to_query(settings)}") + "$")
    expect(shown(page, "Link to these settings")).to_have_value(ending, timeout=PATIENCE)


def upload(page: Any, *paths: Path) -> None:
    """Add files to the field of pictures that is seen; what it held is removed first."""
    clear = page.get_by_role("button", name="Clear").locator("visible=true")
    if clear.count():
        clear.first.click()
    with page.expect_file_chooser() as chooser:
        page.get_by_text("Click to Upload").locator("visible=true").click()
    chooser.value.set_files(list(paths))


def download(page: Any, start: Callable[[], None] | None = None) -> dict[str, bytes]:
    """The files of the archive that comes after "Download all", or after what starts it."""
    with page.expect_download() as coming:
        (start or page.get_by_text("Download all").locator("visible=true").click)()
    with zipfile.ZipFile(coming.value.path()) as file:
        return {name: file.read(name) for name in file.namelist()}


def pixels(png: bytes) -> bytes:
    return Image.open(io.BytesIO(png)).tobytes()


def holds(
    files: dict[str, bytes],
    models: Models,
    settings: Settings,
    sources: Sequence[Image.Image] = (),
) -> None:
    """Check that an archive holds what the library draws with these settings."""
    stored = json.loads(files["settings.json"])
    assert stored["link"] == f"?{to_query(settings)}"
    drawing = draw(models, settings, list(sources), lambda done, of: None)
    expected = {
        f"{kind}-{index}.png": picture.tobytes()
        for kind, pictures in (
            ("picture", drawing.pictures),
            ("reference", drawing.references),
            ("source", drawing.sources),
            ("difference", drawing.differences),
        )
        for index, picture in enumerate(pictures)
    }
    assert {name: pixels(file) for name, file in files.items() if name.endswith("png")} == expected
