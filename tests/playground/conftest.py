"""Tiny ladders to play with, and a browser without a screen that visits their page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.playground.browsing import CHROMIUM, PATIENCE, serving, text
from tests.tiny import tiny_mllm, tiny_sana

from ladder.config.load import load
from ladder.inference.pipeline import LadderPipeline
from ladder.models.ladder import Ladder
from ladder.playground.drawing import Models
from ladder.playground.settings import Settings, to_query

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Untrained ladders between tiny foundations: one of scheme last_n, one of scheme last."""
    root = tmp_path_factory.mktemp("playground")
    shipped = load(root=ROOT)
    mllm, sana = tiny_mllm(root / "mllm"), tiny_sana(root / "sana")
    foundations = replace(shipped.foundations, mllm=str(mllm), generator=str(sana), dtype="float32")
    found = {}
    for scheme in ("last_n", "last"):
        model = replace(shipped.model, scheme=scheme, layers=None, queries=4, query_text=None)
        ladder = Ladder.from_foundations(model, foundations, seed=0)
        pipeline = LadderPipeline.from_ladder(ladder, foundations, shipped.sampling)
        pipeline.save_pretrained(root / scheme)
        found[scheme] = root / scheme
    return found


@pytest.fixture(scope="session")
def models(folders: dict[str, Path]) -> Models:
    """The tiny ladder alone."""
    return Models.open(folders["last_n"], None)


@pytest.fixture(scope="session")
def compared(folders: dict[str, Path]) -> Models:
    """The tiny ladder beside the one of scheme last."""
    return Models.open(folders["last_n"], folders["last"])


@pytest.fixture(scope="session")
def address(folders: dict[str, Path]) -> Iterator[str]:
    """The page of both ladders."""
    with serving("--model", str(folders["last_n"]), "--compare", str(folders["last"])) as found:
        yield found


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium; tests that need it are skipped where gradio, playwright or Chromium is missing."""
    for name in ("gradio", "playwright.sync_api"):
        pytest.importorskip(name, reason=f"{name} is missing: make test-playground installs it")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on the PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Opens the page as a user of its own, with settings in the link or without."""
    from playwright.sync_api import expect

    contexts = []

    def opened(settings: Settings | None = None, **options: Any) -> Any:
        contexts.append(browser.new_context(**options))
        contexts[-1].set_default_timeout(PATIENCE)
        page = contexts[-1].new_page()
        page.goto(address + (f"?{to_query(settings)}" if settings else ""))
        if settings:
            expect(text(page, settings.task)).to_have_value(settings.prompt, timeout=PATIENCE)
        else:
            text(page).wait_for()
        return page

    yield opened
    for context in contexts:
        context.close()
