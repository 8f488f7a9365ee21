"""What is measured is what it says: decoding against curation, and memory by the number of rows."""

from __future__ import annotations

import json

import pytest

from ladder.cli.main import main


@pytest.mark.slow
def test_curation(capsys):
    assert main(["bench", "curation", "120", "--side", "512", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["side"], row["samples"]) == (512, 120)
    assert 0 < row["curated/s"] < row["decoded/s"]
    assert row["once"] > 0
    assert row["ratio"] == pytest.approx(row["curated/s"] / row["decoded/s"])


@pytest.mark.slow
def test_memory_of_decisions(capsys):
    assert main(["bench", "decisions", "100", "2000", "--json"]) == 0
    small, large = json.loads(capsys.readouterr().out)
    assert (small["records"], large["records"]) == (100, 2000)
    assert 10 < small["MiB"] < 2048
    assert large["seconds"] > 0
