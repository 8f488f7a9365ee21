"""The rate of preparing is that of what encoding does before its autoencoder."""

from __future__ import annotations

import json

import pytest

from ladder.cli.main import main


@pytest.mark.slow
def test_it_prepares_with_two_processes(capsys):
    assert main(["bench", "encode", "40", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["samples"], row["processes"]) == (40, 2)
    assert row["prepared/s"] > 0
    assert row["prepared/CPU s"] > 0
