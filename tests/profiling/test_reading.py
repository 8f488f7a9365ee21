"""Reading by place repeats nothing when the ranks change, and streams are read whole, too."""

from __future__ import annotations

import json

import pytest

from ladder.cli.main import main
from ladder.profiling.reading import WAYS


@pytest.mark.slow
def test_reading(capsys):
    assert main(["bench", "reading", "1600", "--json"]) == 0
    rows = {row["way"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows.keys() == WAYS.keys()
    assert (rows["place"]["twice"], rows["place"]["never"]) == (0, 0)
    for row in rows.values():
        assert row["samples/s"] > 0
        assert row["first s"] > 0
        assert row["never"] == row["twice"], "as many are read as there are"


def test_a_size_that_ranks_do_not_divide_is_refused(capsys):
    assert main(["bench", "reading", "100"]) == 2
    assert "samples must be a multiple of 1600, got 100" in capsys.readouterr().err
