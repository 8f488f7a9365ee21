"""The page in Chromium: tables sort and filter, outcomes are chosen, pictures lie side by side.

The page is opened with a script of the test at its end, which does what a reader would and writes
down what is then to be seen. Skipped where Chromium is missing.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest
from tests.experiments.report.test_page import known  # noqa: F401  (the fixture)

from ladder.experiments.report.page import Reported, report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="Chromium is missing")


@pytest.fixture(scope="module")
def page(known: Reported, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    return report(known, tmp_path_factory.mktemp("report"))


def seen(page: Path, actions: str, width: int = 1200) -> dict:
    """What `actions` put into `found`, after the page's own script has run."""
    script = (
        "<script>addEventListener('error', (e) => { document.title = e.message; });</script>"
        f"{page.read_text()}<script>const found = {{}};\n{actions}\n"
        "const told = document.createElement('pre'); told.id = 'told';"
        "told.textContent = JSON.stringify(found); document.body.append(told);</script>"
    )
    path = page.with_name("acted.html")
    path.write_text(script)
    opened = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900",
         f"--user-data-dir={page.parent / 'profile'}", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    told = re.search(r'<pre id="told">(.*?)</pre>', opened.stdout, re.DOTALL)
    title = re.search("<title>(.*?)</title>", opened.stdout)
    assert told, title and title[1]
    return json.loads(unescape(told[1]))


def test_a_table_sorts_by_the_column_that_is_clicked_and_filters(page: Path):
    found = seen(
        page,
        """
        const table = [...document.querySelectorAll("#tables ~ details table")][0];
        const column = [...table.tHead.rows[0].cells].findIndex(
          (one) => one.textContent === "difference");
        const shown = () => [...table.tBodies[0].rows].filter((row) => !row.hidden)
          .map((row) => [row.cells[0].textContent, row.cells[column].textContent]);
        const press = () => table.tHead.rows[0].cells[column].querySelector("button").click();
        press(); found.up = shown(); press(); found.down = shown();
        found.sort = table.tHead.rows[0].cells[column].getAttribute("aria-sort");
        const long = [...document.querySelectorAll("input[type=search]")][0];
        long.value = "IMGEDIT"; long.dispatchEvent(new Event("input"));
        const rows = [...long.nextElementSibling.querySelectorAll("tbody tr")];
        found.left = rows.filter((row) => !row.hidden).map((row) => row.textContent);
        found.all = rows.length;
        """,
    )
    numbers = [float(value) for _, value in found["up"] if value]
    assert numbers == sorted(numbers)
    assert [arm for arm, _ in found["up"]][-1] == "last"  # it has no difference
    assert [arm for arm, _ in found["down"]] == ["ladder", "same", "last"]
    assert found["sort"] == "descending"
    assert 0 < len(found["left"]) < found["all"]
    assert all("imgedit" in row for row in found["left"])


def test_one_outcome_is_shown_at_a_time(page: Path):
    found = seen(
        page,
        """
        const visible = () => [...document.querySelectorAll("[data-outcome]")]
          .filter((one) => !one.hidden).map((one) => one.dataset.outcome);
        found.first = visible();
        const select = document.querySelector("#outcome");
        found.options = [...select.options].map((one) => one.value);
        select.value = "reasoning"; select.dispatchEvent(new Event("change"));
        found.then = visible();
        """,
    )
    assert found["first"] == ["edit.exact"]  # which decides the first hypothesis
    assert found["options"] == ["geneval_toy", "reasoning", "edit.followed", "edit.kept",
                                "edit.exact"]  # fmt: skip
    assert found["then"] == ["reasoning"]


def test_pictures_of_the_chosen_arms_prompt_and_seed_lie_side_by_side(page: Path):
    found = seen(
        page,
        """
        const cards = () => [...document.querySelectorAll(".card")].map((card) => [
          card.querySelector("p").textContent,
          getComputedStyle(card.querySelector(".picture")).backgroundPosition]);
        const change = (one) => one.dispatchEvent(new Event("change", {bubbles: true}));
        found.first = cards();
        found.hidden = document.querySelector("#gallery").hidden;
        found.prompts = [...document.querySelector("#prompt").options].map((one) => one.text);
        found.seeds = [...document.querySelector("#seed").options].map((one) => one.text);
        document.querySelector("#prompt").value = "1"; change(document.querySelector("#prompt"));
        const last = document.querySelector('#arms input[value="last"]');
        last.checked = false; change(last);
        found.then = cards();
        """,
    )
    assert not found["hidden"]
    assert found["first"] == [["ladder", "0% 0px"], ["last", "0% 0px"]]
    assert found["then"] == [["ladder", "20% 0px"]]  # the second of six
    assert found["prompts"][:2] == ["prompt 0", "prompt 3"]
    assert found["seeds"] == ["1", "2", "3", "4"]


def test_a_phone_scrolls_down_and_not_sideways(page: Path):
    """Chromium's window is at least 500 pixels wide, so the page is shown in a frame of 390."""
    frame = page.with_name("frame.html")
    frame.write_text(
        "<title>?</title><iframe src='report.html' width='390' height='800'></iframe><script>"
        "onload = () => { const d = document.querySelector('iframe').contentDocument"
        ".documentElement; document.title = `${d.scrollWidth} ${d.clientWidth}`; };</script>"
    )
    opened = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
         f"--user-data-dir={page.parent / 'profile'}", "--dump-dom", frame.as_uri()],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    wide, shown = map(int, re.search(r"<title>(\d+) (\d+)</title>", opened.stdout).groups())
    assert wide <= shown
