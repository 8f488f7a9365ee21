"""`make real-size` and `make gpu`, at a size that takes seconds a verb."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
import torch

from ladder.cli.main import main
from ladder.profiling import gpu, real_size, train_step
from ladder.profiling.real_size import process, written_twice

pytestmark = pytest.mark.slow
VERBS = [
    "curate", "encode", "train t2i", "resume t2i", "train ti2i", "train finetune", "generate",
    "edit", "ask", "import", "export",
]  # fmt: skip


def test_every_verb_runs_and_stands_beside_its_plan(root: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(root)
    out = tmp_path / "found.json"
    words = ["--place", str(tmp_path / "place"), "--size", "tiny", "--threads", "1"]
    assert main(["real-size", *words, "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found.keys() == {"date", "machine", "size", "seconds", "steps"}
    assert [*found["steps"]] == VERBS
    for name, row in found["steps"].items():
        # At this size nearly all is libraries, whose share is reckoned to 0.2 GB.
        assert abs(row["planned_bytes"] - row["measured_bytes"]) < 0.25e9, name
    first = found["steps"]["train t2i"]
    assert first["planned_file"] == pytest.approx(first["measured_file"], rel=0.1)


def test_a_verb_that_fails_ends_the_run(root: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(root)
    monkeypatch.setattr(real_size, "settings", lambda threads: ["model.queries=0"])
    monkeypatch.setattr(real_size, "apart_from", lambda run, *words: ({}, {}))
    assert main(["real-size", "--place", str(tmp_path / "place"), "--size", "tiny"]) == 2
    assert "`ladder curate` must end with code 0, got 2" in capsys.readouterr().err


def test_memory_is_that_of_the_process_alone(tmp_path: Path, monkeypatch):
    """And not of this one, which holds more."""
    held = torch.ones(300_000_000, dtype=torch.uint8)
    monkeypatch.setattr(
        real_size, "COMMAND", (sys.executable, "-c", "import time; x = b'1' * 10**8; time.sleep(1)")
    )
    ended, killed = process([], tmp_path, tmp_path / "log", None)
    assert 1e8 < ended.bytes < 2e8 < held.nbytes
    assert not killed
    assert ended.code == 0


def test_a_process_is_killed_at_its_second_checkpoint(tmp_path: Path):
    path = tmp_path / "last.ckpt"
    twice = written_twice(path)
    assert not twice()
    for number in range(2):
        path.write_text(str(number))
        assert twice() == bool(number)
        time.sleep(0.01)


def test_gpu_runs_all_its_parts(root: Path, tmp_path: Path, monkeypatch):
    """On the CPU, where ratios of a tiny model mean nothing."""
    monkeypatch.chdir(root)
    monkeypatch.setattr(gpu, "PAIRS", 1)
    monkeypatch.setattr(train_step, "CAPTIONS", (60,))
    out = tmp_path / "gpu.json"
    words = ["--place", str(tmp_path / "place"), "--size", "tiny", "--device", "cpu"]
    assert main(["gpu", *words, "--speed", "0.1", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert {*found} >= {"date", "machine", "gpus", "torch", "step", "sample", "verbs", "mfu"}
    assert 0 < found["mfu"] < 1
    assert found["mfu"] == found["step"]["60"]["mfu"]["ours"]
    assert {*found["sample"]} == {"text", "edit", "unguided"}
    assert "generate" in found["verbs"]
