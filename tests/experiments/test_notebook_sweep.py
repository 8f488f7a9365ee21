"""Sweeps: a grid of notebooks that runs once, survives what breaks, and gives the same bytes."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from ladder.experiments import notebook_sweep as sweeping
from ladder.experiments.notebook_run import EXECUTED, RESULT, Translator, shown
from ladder.experiments.notebook_sweep import (
    cells_of,
    grid_of,
    name_of,
    require_type,
    source_of,
    sweep,
    values_of,
)

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
        cells_of(notebook, {name: [value]}, Path())


def test_whole_numbers_fit_where_broken_ones_are_the_default():
    require_type("rate", 1, 0.5)
    require_type("rate", np.float32(1), 0.5)
    require_type("anything", 1, None)
    with pytest.raises(ValueError, match="must be of type bool"):
        require_type("flag", 1, True)


def test_a_cell_is_named_by_all_that_decides_its_result(notebook: Path, tmp_path: Path):
    root = tmp_path / "root"
    (root / "src/ladder/models").mkdir(parents=True)
    code, lock = root / "src/ladder/models/layer_selection.py", root / "dvc.lock"
    code.write_text("a = 1")
    lock.write_text("outs: []")

    def name() -> str:
        (cell,) = cells_of(notebook, {"seed": [1]}, root)
        return cell.name

    names = [name()]
    code.write_text("a = 2")
    names.append(name())
    lock.write_text("outs: [x]")
    names.append(name())
    written = nbformat.read(notebook, as_version=4)
    written.cells[2].source += "\n"
    nbformat.write(written, notebook)
    names.append(name())
    assert len({*names}) == len(names)
    assert name() == names[-1]
    assert name_of({"a": 1, "b": 2}, []) == name_of({"b": 2, "a": 1}, [])
    assert name_of({"a": 1}, ["python 3"]) != name_of({"a": 1}, ["python 4"])
    assert name_of({"a": (1, 2)}, []) != name_of({"a": [1, 2]}, [])


def test_what_a_notebook_showed_when_it_was_last_run_doesnt_count(notebook: Path):
    before = source_of(notebook)
    written = nbformat.read(notebook, as_version=4)
    written.cells[1].outputs = [nbformat.v4.new_output("stream", text="old")]
    nbformat.write(written, notebook)
    assert source_of(notebook) == before


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
    assert "2 cells, 2 of them finished before" in caplog.text
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
        folder = tmp_path / "out" / row["cell"]
        assert (folder / "log.txt").stat().st_size > 0
        assert json.loads((folder / "failed.json").read_text())["error"]
        assert not (folder / RESULT).exists()


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on(notebook: Path, tmp_path: Path, monkeypatch):
    """Stopped while the second cell waits; then its wait is taken out and only it runs."""
    out = tmp_path / "out"
    command = (
        "from ladder.experiments.notebook_sweep import sweep; from pathlib import Path; "
        f"sweep(Path({str(notebook)!r}), {{'breaks': ['', 'wait']}}, Path({str(out)!r}))"
    )
    started = subprocess.Popen([sys.executable, "-c", command], start_new_session=True)
    try:
        for _ in range(600):
            if len(list(out.glob(f"*/{RESULT}"))) == 1 and len(list(out.iterdir())) == 2:
                break
            time.sleep(0.1)
    finally:
        os.killpg(started.pid, signal.SIGINT)
        started.wait(30)
    finished = bytes_of(out)
    assert len(finished) == 2
    ran = []
    monkeypatch.setattr(sweeping, "run", lambda notebook, cell, folder: ran.append(cell.parameters))
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
