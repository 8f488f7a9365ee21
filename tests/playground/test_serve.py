"""The verb: it listens on this machine only unless told otherwise, and says what it lacks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ladder.cli import main


def test_it_listens_on_this_machine_only_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch):
    seen = []
    monkeypatch.setattr("ladder.playground.serve.playground", lambda *words: seen.append(words))
    assert main.main(["playground"]) == 0
    words = ["--host", "0.0.0.0", "--port", "80", "--compare", "models/last"]
    words += ["--device", "cpu", "--dtype", "bfloat16"]
    assert main.main(["playground", *words]) == 0
    assert seen == [
        (None, None, "127.0.0.1", 7860, "auto", "float32"),
        (None, Path("models/last"), "0.0.0.0", 80, "cpu", "bfloat16"),
    ]


def test_a_port_that_is_none_is_refused(capsys: pytest.CaptureFixture):
    assert main.main(["playground", "--port", "99999"]) == 2
    assert "'--port'" in capsys.readouterr().err


def test_without_gradio_one_line_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main.main(["playground"]) == 2
    said = capsys.readouterr()
    assert said.err == (
        "ladder playground: the playground needs gradio: `make playground` installs and starts it\n"
    )
    assert said.out == ""
