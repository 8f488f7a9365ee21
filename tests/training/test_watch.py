"""What is shown of a run is what its files say."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import fmean

import pytest
from rich.console import Console
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tests.training.running import WATCHFUL, curve, losses, outage, spikes, train

from ladder.training import checkpoints, stages
from ladder.training import watch as watching
from ladder.training.watch import Progress, look, sparkline, table, watch


def test_the_names_are_those_that_the_stages_write():
    """Repeated there, since importing the stages takes seconds."""
    assert watching.STAGES == stages.STAGES
    assert watching.CHECKPOINT == stages.CHECKPOINT
    assert Path(watching.SETTINGS) == Path("ladder", stages.SETTINGS)
    assert checkpoints.CONFIG == "config"


def test_looking_on_loads_nothing_heavy(root: Path):
    code = (
        "import sys; from ladder.training.watch import look; from pathlib import Path;"
        f"look(Path({str(root / 'runs/ladder-0')!r}));"
        "print(sorted({'torch', 'lightning', 'numpy', 'tensorboard'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


@pytest.mark.slow
def test_a_run_from_its_interruption_to_its_end(short, encoded, tmp_path, monkeypatch):
    config = dataclasses.replace(short, monitor=WATCHFUL)
    with monkeypatch.context() as patch:
        change, stop = spikes({8: 1e4}), outage(9)
        losses(patch, lambda module, loss: stop(module, change(module, loss)))
        with pytest.raises(ConnectionError):
            train(config, encoded, tmp_path / "runs")
    run = tmp_path / "runs/ladder-0"
    first, second, third = look(run)
    assert (first.state, first.step, first.steps, first.losses) == ("done", 0, 0, [])
    assert third == Progress("finetune", "waiting")
    assert (second.state, second.step, second.steps, second.skipped) == ("running", 9, 10, 1)
    drawn = [loss for _, loss in curve(run / "ti2i", "loss")]
    assert second.losses == drawn
    assert second.norm == pytest.approx(fmean(norm for _, norm in curve(run / "ti2i", "norm")))
    assert second.event.startswith("step 8: ")
    assert second.event.endswith("; skip")
    assert second.speed > 0
    assert second.left == pytest.approx(6 / second.speed)
    train(config, encoded, tmp_path / "runs")
    _, second, _ = look(run)
    assert (second.state, second.step, second.steps, second.left) == ("done", 10, 10, None)


# ---- files made by hand ----


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A stage of 200 steps and 8 samples a step, of which 100 are made at 4 a second."""
    folder = tmp_path / "ladder-3/t2i"
    curves = folder / "dvclive/plots/metrics"
    curves.mkdir(parents=True)
    for name, value in {"loss": 2.0, "norm": 0.5, "skipped": 0.0}.items():
        rows = [f"{step}\t{value}\n" for step in range(100)]
        (curves / f"{name}.tsv").write_text("".join([f"step\t{name}\n", *rows]))
    settings = {"stages": {"t2i": {"steps": 200, "batch": 8}}}
    (folder / "ladder").mkdir()
    (folder / "ladder/training.json").write_text(json.dumps(settings))
    (folder / "last.ckpt").touch()
    writer = EventFileWriter(str(folder / "tensorboard"))
    for step in range(100):
        value = Summary.Value(tag="loss", simple_value=2.0)
        writer.add_event(Event(step=step, wall_time=step / 4, summary=Summary(value=[value])))
    writer.close()
    return folder.parent


@pytest.fixture
def settled(run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same run, whose settings are read without a checkpoint."""
    monkeypatch.setattr(watching, "settings_of", lambda folder: {"steps": 200, "batch": 8})
    return run


def test_speed_and_time_left(settled: Path):
    first = look(settled)[0]
    assert first.speed == pytest.approx(4 * 8)
    assert first.left == pytest.approx((200 - 100) / 4)


def finish(folder: Path, when: int) -> None:
    """Leave what a stage leaves that was done at that time."""
    (folder / "dvclive").mkdir(parents=True)
    (folder / "ladder").mkdir()
    path = folder / "ladder/training.json"
    path.write_text(json.dumps({"stages": {folder.name: {"steps": 5, "batch": 8}}}))
    os.utime(path, (when, when))


def test_what_an_earlier_run_left_of_later_stages_is_not_shown(settled: Path):
    finish(settled / "ti2i", 1000)
    assert [one.state for one in look(settled)] == ["running", "waiting", "waiting"]


def test_a_stage_is_done_only_after_the_one_before_it(tmp_path: Path):
    for stage, when in (("t2i", 2000), ("ti2i", 3000), ("finetune", 1000)):
        finish(tmp_path / stage, when)
    assert [one.state for one in look(tmp_path)] == ["done", "done", "waiting"]
    shutil.rmtree(tmp_path / "t2i")
    (tmp_path / "t2i").mkdir()
    assert [one.state for one in look(tmp_path)] == ["starting", "waiting", "waiting"]


def test_the_pause_of_an_interruption_does_not_count(settled: Path):
    """TensorBoard's newest file begins where the run was resumed."""
    writer = EventFileWriter(str(settled / "t2i/tensorboard"), filename_suffix=".resumed")
    for step in range(90, 100):
        value = Summary.Value(tag="loss", simple_value=2.0)
        time = 10_000 + step / 2
        writer.add_event(Event(step=step, wall_time=time, summary=Summary(value=[value])))
    writer.close()
    assert look(settled)[0].speed == pytest.approx(2 * 8)


def test_a_row_that_is_being_written_is_left_out(settled: Path):
    with (settled / "t2i/dvclive/plots/metrics/loss.tsv").open("a") as file:
        file.write("100\t1.")
    assert look(settled)[0].losses == [2.0] * 100


def test_the_table_says_it_in_80_columns(settled: Path, capsys, monkeypatch):
    event = {"step": 7, "reason": "norm 9 times too high", "verdict": "skip"}
    (settled / "t2i/events.jsonl").write_text(json.dumps(event) + "\n")
    monkeypatch.chdir(settled.parent)
    run = Path(settled.name)
    Console(width=80).print(table(run, look(run)))
    title, head, *rows, caption = capsys.readouterr().out.splitlines()
    first, second, third = (row.split() for row in rows)
    assert title.strip() == "ladder-3"
    assert head.split()[-4:] == ["norm", "skipped", "samples/s", "left"]
    assert first == ["t2i", "100/200", "2.000", "▁" * 14, "0.500", "0", "32.0", "0:00:25"]
    assert (second, third) == (["ti2i", "waiting"], ["finetune", "waiting"])
    assert "t2i, step 7: norm 9 times too high; skip" in caption


def test_without_a_terminal_it_is_shown_once(settled: Path, capsys: pytest.CaptureFixture):
    watch(settled, every=1, once=False)
    assert capsys.readouterr().out.count("100/200") == 1


def test_a_folder_that_is_no_run(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"a folder with stages \(t2i, ti2i, finetune\)"):
        look(tmp_path)


@pytest.mark.parametrize(
    ("values", "bars"),
    [([], ""), ([3.0], "▁"), ([1.0, 1.0], "▁▁"), ([0.0, 7.0], "▁█"), ([*range(8)], "▁▂▃▄▅▆▇█")],
)
def test_a_sparkline_goes_from_the_lowest_to_the_highest(values: list[float], bars: str):
    assert sparkline(values) == bars


def test_a_sparkline_has_the_means_of_its_stretches():
    assert sparkline([0.0, 2.0, 7.0, 9.0, 3.0, 5.0], width=3) == "▁█▄"
