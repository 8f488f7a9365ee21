"""Runs of notebooks: each runs once, whatever is killed, and gives the same bytes."""

from __future__ import annotations

import ast
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from tests.test_end_to_end import configured

from ladder.experiments import runner
from ladder.experiments.execute import Translator, shown
from ladder.experiments.grid import grid_of, runs_of, sweep, values_of
from ladder.experiments.keys import Keys, key_of
from ladder.experiments.notebook import ANY, EXECUTED, RESULT, defaults_of, require_type
from ladder.experiments.runner import keyed

ROOT = Path(__file__).parents[2]
KILLS = 20
DEFAULTS = 'scheme = "last_n"\nseed = 0\nrate = 0.5\npair = (1, 2)\nbreaks = ""'
BODY = """\
import os, sys, signal, time
print("stderr differs", time.time(), file=sys.stderr)
if breaks == "raise":
    raise RuntimeError("this cell breaks")
if breaks == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if breaks == "wait":
    time.sleep(60)
"""
SHOW = """\
from IPython.display import JSON
JSON({"score": seed * 2 + rate, "length": len(pair), "kind": type(pair).__name__})
"""


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """Parameters, something that may break, and a result."""
    path = tmp_path / "study.ipynb"
    cells = [
        new_code_cell(DEFAULTS, metadata={"tags": ["parameters"]}),
        new_code_cell(BODY),
        new_code_cell(SHOW, metadata={"tags": ["result"]}),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


def rows(table) -> list[dict]:
    return table.to_dict("records")


def bytes_of(folder: Path) -> dict[str, bytes]:
    """What is finished, by cell and file."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.glob("*/*"))
        if path.name in (EXECUTED, RESULT)
    }


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0..4", [0, 1, 2, 3, 4]),
        ("last_n,uniform", ["last_n", "uniform"]),
        ("0.1,1", [0.1, 1]),
        ("True", [True]),
        ("(1, 2)", [(1, 2)]),
        ("null,x..y", ["null", "x..y"]),
    ],
)
def test_values_on_the_command_line(text: str, values: list):
    assert values_of(text) == values


@pytest.mark.parametrize(
    "value",
    [np.float64(0.1), np.int64(3), np.bool_(True), (1, 2), (1,), (), [(1, "a")], {"a": (1,)}],
)
def test_types_survive_the_way_into_a_notebook(value: object):
    """papermill alone makes strings of tuples and of NumPy's scalars."""
    found = ast.literal_eval(Translator.translate(value))
    expected = value.item() if isinstance(value, np.generic) else value
    assert found == expected
    assert type(found) is type(expected)


def test_a_misspelt_parameter_is_refused_before_anything_runs(notebook: Path, tmp_path: Path):
    with pytest.raises(ValueError, match=r"got sceme \(did you mean scheme\?\)"):
        sweep(notebook, {"sceme": ["last"]}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "value"), [("seed", "one"), ("seed", 0.5), ("scheme", 3)])
def test_a_value_of_another_type_is_refused(notebook: Path, name: str, value: object):
    with pytest.raises(ValueError, match=f"{name} must be of type"):
        keyed(notebook, runs_of({name: [value]}), Path())


def test_whole_numbers_fit_where_broken_ones_are_the_default():
    require_type("rate", 1, 0.5)
    require_type("rate", np.float32(1), 0.5)
    require_type("anything", 1, ANY)
    with pytest.raises(ValueError, match="must be of type bool"):
        require_type("flag", 1, True)


def test_an_expression_as_default_takes_any_value(notebook: Path):
    written = nbformat.read(notebook, as_version=4)
    written.cells[0].source = "hours: int = 24 * 7\nname = None\nrate = 0.5"
    nbformat.write(written, notebook)
    assert defaults_of(notebook) == {"hours": ANY, "name": ANY, "rate": 0.5}
    assert len(keyed(notebook, runs_of({"hours": [3, 4]}), Path())) == 2


def test_a_file_that_is_no_notebook_is_refused(tmp_path: Path):
    path = tmp_path / "a.ipynb"
    for text in ("", "[]", "{}", "not JSON"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"a\.ipynb must be a notebook"):
            keyed(path, runs_of({}), tmp_path)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with parameters, profiles and arms, in which commands are run."""
    place = tmp_path / "place"
    place.mkdir()
    configured(place)
    (place / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(place)
    return place


def key(notebook: Path, **parameters: object) -> str:
    return key_of(Keys(notebook).parts(parameters))


def test_the_key_of_a_run_is_that_of_what_decides_its_result(notebook: Path, place: Path):
    keys = [key(notebook, seed=1)]
    arm, other = place / "experiments/arms/last.yaml", place / "experiments/arms/new.yaml"
    other.write_text("model: {queries: 8}")  # C7: nothing of this notebook's
    written = nbformat.read(notebook, as_version=4)
    written.cells[1].outputs = [nbformat.v4.new_output("stream", text="old")]
    written.cells.append(new_markdown_cell("words"))
    nbformat.write(written, notebook)
    assert key(notebook, seed=1) == keys[0]
    arm.write_text(f"# a comment\n{arm.read_text()}")
    assert key(notebook, seed=1) == keys[0]

    keys.append(key(notebook, seed=2))
    parameters = place / "params.yaml"
    parameters.write_text(parameters.read_text().replace("queries: 38", "queries: 37"))
    keys.append(key(notebook, seed=1))
    (place / "dvc.lock").write_text("stages: {a: {outs: [{path: data, md5: x}]}}")
    keys.append(key(notebook, seed=1))
    written.cells[2].source += "\n1"
    nbformat.write(written, notebook)
    keys.append(key(notebook, seed=1))
    written.cells[1].source += "\nimport ladder.world.scenes"
    nbformat.write(written, notebook)
    keys.append(key(notebook, seed=1))
    assert len({*keys}) == len(keys)


def test_the_key_of_a_study_depends_on_its_own_arm_only(place: Path):
    notebook = ROOT / "notebooks/ablation_layers.ipynb"
    last, mean = ({"arm": arm, "seed": 1, "profile": "small"} for arm in ("last", "mean"))
    before = [key(notebook, **one) for one in (last, mean)]
    arm = place / "experiments/arms/mean.yaml"
    arm.write_text(f"# a comment\n{arm.read_text()}")
    assert [key(notebook, **one) for one in (last, mean)] == before
    arm.write_text(f"{arm.read_text()}stages: {{t2i: {{lr: 0.5}}}}\n")
    assert key(notebook, **last) == before[0]
    assert key(notebook, **mean) != before[1]
    parts = Keys(notebook).parts(mean)
    assert {*parts} == {
        "parameters", "settings", "notebook", "data", "foundations", "versions", "code",
    }  # fmt: skip


def test_half_a_result_is_none(notebook: Path, tmp_path: Path):
    (run,) = keyed(notebook, runs_of({"seed": [1]}), tmp_path)
    run.folder.mkdir()
    for text in ("", '{"values"', "[]", "{}"):
        (run.folder / RESULT).write_text(text)
        assert run.values is None
    (run.folder / RESULT).write_text('{"values": {"score": 1}}')
    assert run.values == {"score": 1}


@pytest.mark.slow
def test_finished_cells_are_skipped_and_bytes_are_the_same(notebook: Path, tmp_path: Path, caplog):
    """Two at a time, one after the other, and a second time."""
    grid = {"seed": [np.int64(1), 2], "pair": [(3, 4, 5)]}
    first = sweep(notebook, grid, tmp_path / "parallel", jobs=2)
    assert [row["status"] for row in rows(first)] == ["finished"] * 2
    assert [row["score"] for row in rows(first)] == [2.5, 4.5]
    assert [(row["length"], row["kind"]) for row in rows(first)] == [(3, "tuple")] * 2
    sweep(notebook, grid, tmp_path / "serial", jobs=1)
    assert len(bytes_of(tmp_path / "serial")) == 4
    assert bytes_of(tmp_path / "parallel") == bytes_of(tmp_path / "serial")
    caplog.set_level("INFO")
    dates = {path: path.stat().st_mtime_ns for path in tmp_path.glob("serial/*/*")}
    again = sweep(notebook, grid | {"seed": [1, 2]}, tmp_path / "serial")
    assert "2 runs, 2 of them finished before" in caplog.text
    assert rows(again) == rows(first)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("serial/*/*")} == dates


@pytest.mark.slow
def test_what_breaks_leaves_its_log_and_a_failed_row(notebook: Path, tmp_path: Path):
    """An error and a killed kernel; the cell between them is finished all the same."""
    table = sweep(notebook, {"breaks": ["raise", "", "kill"]}, tmp_path / "out", jobs=2)
    assert [row["status"] for row in rows(table)] == ["failed", "finished", "failed"]
    raised, _, killed = rows(table)
    assert "this cell breaks" in raised["error"]
    assert "died" in killed["error"].lower()
    for row in (raised, killed):
        folder = tmp_path / "out" / row["run"]
        assert (folder / "log.txt").stat().st_size > 0
        assert json.loads((folder / "failed.json").read_text())["error"]
        assert not (folder / RESULT).exists()


def start(notebook: Path, grid: dict, out: Path) -> subprocess.Popen:
    """A sweep in a process group of its own."""
    command = (
        "from ladder.experiments.grid import sweep; from pathlib import Path; "
        f"sweep(Path({str(notebook)!r}), {grid!r}, Path({str(out)!r}))"
    )
    return subprocess.Popen([sys.executable, "-c", command], start_new_session=True)


def count_runs(notebook: Path, count: Path) -> None:
    """Let the notebook add a line to a file when it ends."""
    written = nbformat.read(notebook, as_version=4)
    noted = f"with open({str(count)!r}, 'a') as file:\n    print(seed, file=file)"
    written.cells.insert(2, new_code_cell(noted))
    nbformat.write(written, notebook)


@pytest.mark.slow
def test_two_runners_share_the_work(notebook: Path, tmp_path: Path):
    count_runs(notebook, tmp_path / "count")
    grid, out = {"seed": [1, 2, 3, 4]}, tmp_path / "out"
    both = [start(notebook, grid, out) for _ in range(2)]
    assert [one.wait(300) for one in both] == [0, 0]
    assert sorted((tmp_path / "count").read_text().split()) == ["1", "2", "3", "4"]
    assert len(bytes_of(out)) == 8
    table = pd.read_csv(out / "table.csv")
    assert table["status"].tolist() == ["finished"] * 4


@pytest.mark.slow
def test_kills_at_random_moments_lose_and_repeat_no_finished_run(notebook: Path, tmp_path: Path):
    """The runner and its run are killed twenty times; each result stays as it was first written."""
    grid, out, moments = {"seed": [*range(6)]}, tmp_path / "out", random.Random(0)
    finished: dict[Path, int] = {}
    begun = time.monotonic()  # moments are as long as this machine takes for a run
    assert start(notebook, {"seed": [9]}, tmp_path / "measured").wait(1000) == 0
    longest = 1.5 * (time.monotonic() - begun)
    for _ in range(KILLS):
        started = start(notebook, grid, out)
        with suppress(subprocess.TimeoutExpired):
            started.wait(moments.uniform(0, longest))
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()
        found = {path: path.stat().st_mtime_ns for path in out.glob(f"*/{RESULT}")}
        assert finished.items() <= found.items()
        finished = found
    assert start(notebook, grid, out).wait(6000) == 0
    found = {path: path.stat().st_mtime_ns for path in out.glob(f"*/{RESULT}")}
    assert finished.items() <= found.items()
    assert len(found) == 6
    assert pd.read_csv(out / "table.csv")["score"].tolist() == [2 * seed + 0.5 for seed in range(6)]


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on(notebook: Path, tmp_path: Path, monkeypatch):
    """Stopped while the second cell waits; then its wait is taken out and only it runs."""
    out = tmp_path / "out"
    started = start(notebook, {"breaks": ["", "wait"]}, out)
    try:
        for _ in range(600):
            if len(list(out.glob(f"*/{RESULT}"))) == 1 and len(list(out.glob("*/lock"))) == 2:
                break
            time.sleep(0.1)
    finally:
        os.killpg(started.pid, signal.SIGINT)
        started.wait(30)
    finished = bytes_of(out)
    assert len(finished) == 2
    ran = []
    monkeypatch.setattr(runner, "_run", lambda notebook, run, _: ran.append(run.planned.parameters))
    table = sweep(notebook, {"breaks": ["", "wait"]}, out)
    assert ran == [{"breaks": "wait"}]
    assert rows(table)[0]["status"] == "finished"
    assert bytes_of(out) == finished


def test_values_are_those_of_the_cell_tagged_result():
    def notebook(tags: list[str], data: dict) -> nbformat.NotebookNode:
        output = nbformat.v4.new_output("display_data", data=data)
        cell = new_code_cell("", metadata={"tags": tags}, outputs=[output])
        return new_notebook(cells=[cell])

    assert shown(notebook(["result"], {"application/json": {"score": 1}})) == {"score": 1}
    assert shown(notebook([], {"application/json": {"score": 1}})) == {}
    with pytest.raises(ValueError, match='tagged "result" must show JSON'):
        shown(notebook(["result"], {"text/plain": "1"}))


def test_a_grid_names_every_parameter_once():
    assert grid_of(["seed=0..1", "scheme=last"]) == {"seed": [0, 1], "scheme": ["last"]}
    for wrong in (["seed"], ["seed=0", "seed=1"]):
        with pytest.raises(ValueError, match="a parameter is given once, as name=values"):
            grid_of(wrong)
