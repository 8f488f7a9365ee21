"""The numbers in README and guides are those of the committed results."""

from __future__ import annotations

import json
import re
from functools import reduce
from pathlib import Path

import pytest

from ladder.experiments.results import RESULTS, read_runs
from ladder.experiments.study import Study

ROOT = Path(__file__).parents[1]
README, REPRODUCE, ARMS = (
    (ROOT / name).read_text()
    for name in ("README.md", "docs/how-to/reproduce.md", "docs/how-to/arms.md")
)
REPORT = json.loads((ROOT / "experiments/report/verdicts.json").read_text())
VERDICTS = REPORT["outcomes"]
FOUNDATIONS = {
    "autoencoder: PSNR in dB": ("autoencoder", "psnr"),
    "autoencoder: scenes read back exactly": ("autoencoder", "exact"),
    "MLLM: questions": ("questions", "overall"),
    "MLLM: instruction to resulting scene": ("edits", "overall"),
    "MLLM: prompts, those that need reasoning included": ("prompts", "overall"),
    "Sana with its own text encoder: GenEval-toy": ("generator", "overall"),
}
TASKS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
MAIN = {
    "GenEval-toy, overall": ("geneval_toy", "overall"),
    "reasoning prompts": ("reasoning", "overall"),
    "edits: exact": ("edit", "exact"),
}
LADDER = {
    **MAIN,
    **{f"GenEval-toy, {task}": ("geneval_toy", task) for task in TASKS},
    "edits: followed": ("edit", "followed"),
    "edits: kept": ("edit", "kept"),
    "edits: what stays is off by, in pixels": ("edit", "detail", "offset"),
    "edits: its hue is off by, in degrees": ("edit", "detail", "hue"),
    "questions (as the untouched MLLM)": ("understanding", "overall"),
}
ROWS = [
    *((REPRODUCE, "foundations", name, path) for name, path in FOUNDATIONS.items()),
    *((REPRODUCE, "ladder-0", name, path) for name, path in LADDER.items()),
    *((README, "ladder-0", name, path) for name, path in MAIN.items()),
    (README, "ladder-0", "questions", ("understanding", "overall")),
]


def cell(text: str, name: str) -> str:
    """The second cell of the row of a table that begins with `name`."""
    row = re.search(rf"^\| {re.escape(name)} \| ([^|]+) \|", text, re.MULTILINE)
    assert row, f"no row begins with {name}"
    return row[1]


@pytest.mark.parametrize(("text", "file", "name", "path"), ROWS)
def test_a_row_says_what_the_results_say(text: str, file: str, name: str, path: tuple[str, ...]):
    """To as many digits as it gives."""
    result = json.loads((ROOT / f"experiments/results/{file}.json").read_text())
    found = reduce(dict.__getitem__, path, result["metrics"])
    said = cell(text, name)
    digits = len(said.split()[0].partition(".")[2])
    mean, low, high = (f"{found[key]:.{digits}f}" for key in ("mean", "low", "high"))
    assert said == f"{mean} [{low}, {high}]"


def test_the_readme_is_short_and_shows_a_picture_first():
    assert len(README.encode()) < 6000
    assert README.splitlines()[2].startswith("![")
    assert (ROOT / re.search(r"\]\((.+?)\)", README)[1]).is_file()


def test_the_weakest_task_is_the_one_that_the_readme_names():
    metrics = json.loads((ROOT / "experiments/results/ladder-0.json").read_text())["metrics"]
    assert min(TASKS, key=lambda task: metrics["geneval_toy"][task]["mean"]) == "color_attr"
    kinds = metrics["edit"]["kinds"]
    assert min(kinds, key=lambda kind: kinds[kind]["exact"]["mean"]) == "swap"


# ---- arms against their control ----


def difference(metric: str, arm: str) -> str:
    """An arm minus `last`, in points, as the documents write it."""
    found = VERDICTS[metric][arm]
    ends = (round(100 * found[f"difference{end}"], 1) + 0.0 for end in ("", "_low", "_high"))
    mean, low, high = ends  # + 0.0: what rounds to 0 has no minus
    return f"{mean:+.1f} [{low:.1f}, {high:.1f}]"


def decided(metric: str, arm: str) -> bool:
    return VERDICTS[metric][arm]["verdict"] in ("better", "worse")


def test_the_readme_says_of_the_arms_what_the_report_says():
    assert cell(README, "`mean` minus `last`, edits: exact") == (
        f"{difference('edit.exact', 'mean')} points"
    )
    assert f"{difference('edit.exact', 'ladder')} points" in README
    assert decided("edit.exact", "mean")
    assert VERDICTS["edit.exact"]["mean"]["seeds"] == VERDICTS["edit.exact"]["ladder"]["seeds"] == 5


def test_the_readme_calls_a_lead_what_decides_no_hypothesis():
    undecided = {one["verdict"] for one in REPORT["hypotheses"].values()} == {"no runs"}
    assert undecided == ("they are leads" in " ".join(README.split()))


def test_the_results_are_three_sentences_and_five_rows():
    section = README.partition("## Results")[2].partition("\n## ")[0]
    said, rows = section.partition("\n| |")[0], re.findall(r"^\| [^|-].+\|$", section, re.MULTILINE)
    assert len(re.findall(r"\.(?=\s|$)", said.strip())) == 3
    assert len(rows) == 5


ARM = re.compile(r"^\| `(\w+)`[^|]*\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


@pytest.mark.parametrize("arm", [row[1] for row in ARM.finditer(ARMS)])
def test_an_arm_differs_from_the_control_as_the_report_says(arm: str):
    """Bold where the report calls it better or worse."""
    row = next(row for row in ARM.finditer(ARMS) if row[1] == arm)
    metrics = ("edit.exact", "edit.kept", "geneval_toy")
    for metric, said in zip(metrics, row.groups()[1:], strict=True):
        mean, interval = difference(metric, arm).split(" ", 1)
        mean = f"**{mean}**" if decided(metric, arm) else mean
        assert said == f"{mean} {interval}", metric


def test_there_are_arms():
    assert len(ARM.findall(ARMS)) == 11


def test_edits_at_full_length_are_those_of_the_report():
    said, short = [], []
    for row in REPORT["full_length"]:
        if row["metric"] == "edit.exact":
            low, high = (float(end) for end in row["95% of full length"].strip("[]").split(", "))
            said.append(f"`{row['arm']}` {float(row['full length']):.0f} [{low:.0f}, {high:.0f}]")
            short.append(f"{float(row['short']):.0f}")
    assert f"exact {', '.join(said)}; short {', '.join(short)}." in " ".join(ARMS.split())


def test_monitors_end_where_the_report_says():
    """Of the table under faults: GenEval-toy, and whether a good step was lost."""
    rows = {row["arm"]: row for row in REPORT["monitors"]}
    assert all(row["good_lost"] == 0 for row in rows.values()), "the guide: none lost a good step"
    ends = {arm: round(100 * row["geneval_toy"]) for arm, row in rows.items()}
    off, clean = ends.pop("faults_off"), ends.pop("ladder")
    low, high = min(ends.values()), max(ends.values())
    said = " ".join(ARMS.split())
    assert f"is lost (GenEval-toy {off}); under any monitor it ends at {low} to {high}" in said
    assert f"the clean training with this seed at {clean}" in said


def test_as_many_runs_as_said_are_committed():
    studies = (Study.read(name, root=ROOT) for name in ("layers", "monitors"))
    runs = [run for study in studies for run in read_runs(study, ROOT / RESULTS)]
    finished = sum(run.outcomes is not None for run in runs)
    assert f"{finished} of the {len(runs)} planned runs are committed" in ARMS
