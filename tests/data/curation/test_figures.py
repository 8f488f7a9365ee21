"""Figures of a curation: what they count is what was decided, and every example is a real one."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image
from tests.data.curation.test_curate import CURATION

from ladder.data.curation import figures
from ladder.data.curation.curate import curate


@pytest.fixture(scope="module")
def curated(tmp_path_factory, write_tar, picture, image_file) -> tuple[Path, Path]:
    """A raw set of five good and six bad records, and what curation made of it."""
    folder = tmp_path_factory.mktemp("figures")
    members = []
    for number in range(5):
        members += [(f"{number}.png", image_file(picture(number))), (f"{number}.txt", b"fine")]
    members += [
        ("small.png", image_file(picture(9, (20, 20)))), ("small.txt", b"a small one"),
        ("broken.png", b"x"), ("broken.txt", b"never seen"),
        ("again.png", image_file(picture(2))), ("again.txt", b"the same"),
        ("sorry.png", image_file(picture(8))), ("sorry.txt", b"I'm sorry, I can't help with that."),
        ("alone.png", image_file(picture(7))), ("blank.png", image_file(picture(6))),
        ("blank.txt", b"   "),
    ]  # fmt: skip
    write_tar(folder / "raw/set/0.tar", members)
    curate(folder / "raw", folder / "out", CURATION)
    return folder / "raw", folder / "out"


def test_examples_are_the_rejected_records(curated, picture):
    raw, out = curated
    found = {
        example.reason: example
        for example in figures.examples(figures.in_raw(raw), out / "decisions.parquet", 10**6)
    }
    assert [*found] == sorted(
        ["duplicate", "empty_caption", "no_caption", "refusal", "too_small", "undecodable"]
    )
    assert found["duplicate"].picture == picture(2)
    assert found["too_small"].caption == "a small one"
    assert found["undecodable"].picture is None


def test_the_figures_are_written(curated):
    _, out = curated
    for name in ("rejected", "kept", "examples"):
        with Image.open(out / f"figures/{name}.png") as image:
            assert min(image.size) > 100


def test_bars_count_what_was_rejected(curated):
    figure = figures.rejected(curated[1] / "decisions.parquet")
    (axes,) = figure.axes
    widths = [bar.get_width() for bars in axes.containers for bar in bars]
    assert sorted(widths) == [1] * 6


@pytest.mark.parametrize("condition", ["reason IS NULL", "reason IS NOT NULL", "false"])
def test_nothing_to_draw(curated, tmp_path, condition):
    """A set without kept or without rejected records has its figures, too."""
    import duckdb

    path = tmp_path / "some.parquet"
    decisions = curated[1] / "decisions.parquet"
    duckdb.sql(f"COPY (SELECT * FROM '{decisions}' WHERE {condition}) TO '{path}'")
    assert isinstance(figures.rejected(path), Figure)
    assert isinstance(figures.kept(path), Figure)
    figures.shown([]).savefig(tmp_path / "examples.png")
