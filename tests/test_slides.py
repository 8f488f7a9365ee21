"""`make slides`: a slide deck of every lecture, which asks no other server for anything."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).parents[1]
FETCHED = re.compile(
    r"<(?:script|link|img)[^>]+(?:src|href)=\"([^\"]+)\"|@import url\(([^)]+)\)|from '([^']+)';"
)
"""What a browser fetches beside a page."""


@pytest.fixture(scope="module")
def slides() -> ModuleType:
    """docs/slides/build.py."""
    for package in ("sphinx_revealjs", "sphinx-mathjax-offline"):
        pytest.importorskip(package, reason="`make slides` installs it")
    place = ROOT / "docs/slides/build.py"
    spec = importlib.util.spec_from_file_location("slides", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_slides_show_what_they_shall(slides: ModuleType, tmp_path: Path):
    """Neither code that only draws nor what is marked so; formulas stay as MathJax reads them."""
    drawn = new_code_cell("plot()", outputs=[new_output("stream", text="what was drawn")])
    drawn.metadata = {"tags": ["figure"], "slideshow": {"slide_type": "-"}}
    cells = [
        new_markdown_cell("# Title $a_b^c$", metadata={"slideshow": {"slide_type": "slide"}}),
        new_markdown_cell("contents", metadata={"slideshow": {"slide_type": "skip"}}),
        new_code_cell("own = 1", metadata={"slideshow": {"slide_type": "subslide"}}),
        drawn,
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "00_a.ipynb")
    (written,) = slides.build([tmp_path / "00_a.ipynb"], tmp_path / "out")
    text = written.read_text()
    body = text[text.index('<div class="slides">') :]
    assert body.count("<section") == 3, "a column of two slides"
    assert "$a_b^c$" in body
    assert "what was drawn" in body
    assert "own" in body
    assert "plot" not in body
    assert "contents" not in body


@pytest.mark.slow
def test_every_lecture_becomes_slides_that_need_no_network(slides: ModuleType, tmp_path: Path):
    lectures = sorted((ROOT / "notebooks").glob("0*.ipynb"))
    for page in slides.build(lectures, tmp_path):
        fetched = {name for found in FETCHED.findall(page.read_text()) for name in found if name}
        assert {"reveal/dist/reveal.js", "tex-svg.js"} <= fetched
        for name in fetched:
            assert name.startswith("data:") or (tmp_path / name).is_file(), f"{page.name}: {name}"
