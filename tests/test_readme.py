"""The README's numbers are those of the committed results."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ladder.experiments.results import RESULTS, read_runs
from ladder.experiments.study import Study

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
FOUNDATIONS = {
    "autoencoder: PSNR in dB": ("autoencoder", "psnr"),
    "autoencoder: scenes read back exactly": ("autoencoder", "exact"),
    "MLLM: questions": ("questions", "overall"),
    "MLLM: instruction to resulting scene": ("edits", "overall"),
    "MLLM: prompts, those that need thought included": ("prompts", "overall"),
    "Sana with its own text encoder: GenEval-toy": ("generator", "overall"),
}
TASKS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
LADDER = {
    "GenEval-toy, overall": ("geneval_toy", "overall"),
    **{f"&nbsp;&nbsp;{task}": ("geneval_toy", task) for task in TASKS},
    "prompts that need thought": ("reasoning", "overall"),
    "edits: followed": ("edit", "followed"),
    "edits: kept": ("edit", "kept"),
    "edits: exact": ("edit", "exact"),
    "questions (as the untouched MLLM)": ("understanding", "overall"),
}
ROWS = [
    *(("foundations", name, path) for name, path in FOUNDATIONS.items()),
    *(("ladder-0", name, path) for name, path in LADDER.items()),
]


@pytest.mark.parametrize(("file", "name", "path"), ROWS)
def test_a_row_says_what_the_results_say(file: str, name: str, path: tuple[str, str]):
    """To as many digits as it gives."""
    result = json.loads((ROOT / f"experiments/results/{file}.json").read_text())
    found = result["metrics"][path[0]][path[1]]
    row = re.search(rf"^\| {re.escape(name)} \| (.+) \|$", README, re.MULTILINE)
    assert row, f"{name} is not in the README"
    digits = len(row[1].split()[0].partition(".")[2])
    mean, low, high = (f"{found[key]:.{digits}f}" for key in ("mean", "low", "high"))
    assert row[1] == f"{mean} [{low}, {high}]"


ARM = re.compile(r"^\| `(\w+)`[^|]*\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


@pytest.mark.parametrize("arm", [row[1] for row in ARM.finditer(README)])
def test_an_arm_differs_from_the_control_as_the_report_says(arm: str):
    """Bold where the report calls it better or worse."""
    verdicts = json.loads((ROOT / "experiments/report/verdicts.json").read_text())
    row = next(row for row in ARM.finditer(README) if row[1] == arm)
    metrics = ("edit.exact", "edit.kept", "geneval_toy")
    for metric, said in zip(metrics, row.groups()[1:], strict=True):
        found = verdicts[metric][arm]
        mean, low, high = (100 * found[f"difference{end}"] for end in ("", "_low", "_high"))
        mean = f"{mean:+.1f}" if mean else "0.0"
        told = f"**{mean}**" if found["verdict"] in ("better", "worse") else mean
        assert said == f"{told} [{low:.1f}, {high:.1f}]", metric


FULL = re.compile(r"^\| edit.exact \| (\w+) \| (\S+) \[(.+?), (.+?)\] \| 1 \| (\S+) ", re.MULTILINE)


def test_edits_at_full_length_are_those_of_the_report():
    said, short = [], []
    for arm, *values in FULL.findall((ROOT / "experiments/report/table.md").read_text()):
        mean, low, high, before = (f"{float(value):.0f}" for value in values)
        said.append(f"`{arm}` {mean} [{low}, {high}]")
        short.append(before)
    assert f"exact {', '.join(said)}; short {', '.join(short)}." in " ".join(README.split())


MONITOR = re.compile(r"^\| (ladder|faults_\w+) \|((?: [\d.]* \|){10})$", re.MULTILINE)


def test_monitors_end_where_the_report_says():
    """Of the table under faults: GenEval-toy, and whether a good step was lost."""
    table = (ROOT / "experiments/report/table.md").read_text().partition("## Monitors under faults")
    rows = {arm: cells.split("|") for arm, cells in MONITOR.findall(table[2].partition("\n## ")[0])}
    assert all(float(cells[3]) == 0 for cells in rows.values()), "README: none lost a good step"
    ends = {arm: round(100 * float(cells[5])) for arm, cells in rows.items()}
    off, clean = ends.pop("faults_off"), ends.pop("ladder")
    low, high = min(ends.values()), max(ends.values())
    said = " ".join(README.split())
    assert f"is lost (GenEval-toy {off}); under any monitor it ends at {low} to {high}" in said
    assert f"the clean training with this seed at {clean}" in said


def test_as_many_cells_as_said_have_scores():
    studies = (Study.read(name, root=ROOT) for name in ("layers", "monitors"))
    cells = [run for study in studies for run in read_runs(study, ROOT / RESULTS)]
    scored = sum(run.outcomes is not None for run in cells)
    assert f"**{scored} of its {len(cells)} cells have been run so far**" in README
    assert ARM.search(README)
