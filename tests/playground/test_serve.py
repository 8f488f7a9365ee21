"""The verb: it listens on this machine only unless told otherwise, and says what it lacks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ladder.cli import main


def test_it_listens_on_this_machine_only_unless_told_otherwise():
    parser = main.build_parser()
    options = parser.parse_args(["playground"])
    assert (options.host, options.model, options.compare) == ("127.0.0.1", None, None)
    words = ["playground", "--host", "0.0.0.0", "--port", "80", "--compare", "models/last"]
    options = parser.parse_args(words)
    assert (options.host, options.port, options.compare) == ("0.0.0.0", 80, Path("models/last"))


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
