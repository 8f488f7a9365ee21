"""Weighted rungs: at one they change nothing, and each weight reaches its own block only."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.tiny import GENERATOR_BLOCKS, LATENT_SHAPE, SIDE, tiny_picture

from ladder.inference.pipeline import LadderPipeline
from ladder.models.layer_selection import Taps
from ladder.playground.drawing import Models, difference, draw, read_sources, rung_names
from ladder.playground.files import Files, pack
from ladder.playground.settings import Settings, caption, file_stem, from_query

ONES = (1.0,) * GENERATOR_BLOCKS
SETTINGS = Settings("generate", "a red star", ONES, seed=3, steps=2, pictures=2)


def quiet(done: int, of: int) -> None:
    """Nobody watches."""


def latents(pipeline, prompt="a red star", **options):
    return pipeline(
        prompt,
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(0),
        output_type="latent",
        **options,
    ).images


def test_the_pipeline_is_left_as_it_was(models: Models):
    """Whatever the weights were."""
    before = latents(models.pipeline)
    draw(models, replace(SETTINGS, rungs=(0.0,) * GENERATOR_BLOCKS), [], quiet)
    assert torch.equal(latents(models.pipeline), before)


def test_every_rung_matters_and_no_rungs_leave_no_prompt(models: Models):
    one = replace(SETTINGS, pictures=1)
    plain = draw(models, one, [], quiet).pictures
    for silent in range(GENERATOR_BLOCKS):
        weights = tuple(float(rung != silent) for rung in range(GENERATOR_BLOCKS))
        assert draw(models, replace(one, rungs=weights), [], quiet).pictures != plain
    nothing = replace(one, rungs=(0.0,) * GENERATOR_BLOCKS)
    other = replace(nothing, prompt="two blue hearts")
    assert draw(models, nothing, [], quiet).pictures == draw(models, other, [], quiet).pictures


def test_an_edit_of_a_photograph_has_its_shape(models: Models, monkeypatch):
    monkeypatch.setattr(models.pipeline.ladder, "aspects", (1.0, 0.5, 2.0))
    edit = replace(SETTINGS, task="edit", pictures=1)
    (picture,) = draw(models, edit, [tiny_picture(0, (640, 330))], quiet).pictures
    assert picture.size == (48, 24)


def test_each_rung_needs_a_weight(models: Models):
    with pytest.raises(ValueError, match="each of 3 rungs needs a weight, got 2"):
        draw(models, replace(SETTINGS, rungs=(1.0, 0.0)), [], quiet)


def test_each_picture_has_a_seed_of_its_own(models: Models):
    drawing = draw(models, SETTINGS, [], quiet)
    alone = draw(models, replace(SETTINGS, seed=4, pictures=1), [], quiet)
    difference = np.asarray(drawing.pictures[1], int) - np.asarray(alone.pictures[0], int)
    assert np.abs(difference).max() <= 1
    assert drawing.pictures[0] != drawing.pictures[1]
    assert [[words for *_, words in row] for row in drawing.rows] == [["seed 3"], ["seed 4"]]
    assert drawing.references == []


def test_weights_are_shown_beside_the_same_noise_without_them(models: Models):
    plain = draw(models, SETTINGS, [], quiet)
    told = []
    moved = replace(SETTINGS, rungs=(0.0, *ONES[1:]))
    drawing = draw(models, moved, [], lambda done, of: told.append((done, of)))
    assert drawing.references == plain.pictures
    assert drawing.pictures != plain.pictures
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for row, picture, reference in zip(
        drawing.rows, drawing.pictures, drawing.references, strict=True
    ):
        assert [kind for kind, *_ in row] == ["picture", "reference", "difference"]
        assert [shown for _, shown, _ in row] == [
            picture, reference, difference(reference, picture),
        ]  # fmt: skip


def test_a_comparison_draws_another_ladder_on_the_same_noise(compared: Models):
    settings = replace(SETTINGS, task="compare")
    drawing = draw(compared, settings, [], quiet)
    assert drawing.pictures == draw(compared, SETTINGS, [], quiet).pictures
    other = Models(compared.other, "last")
    assert drawing.references == draw(other, SETTINGS, [], quiet).pictures
    assert [words for *_, words in drawing.rows[1]] == ["seed 4", "last", "difference"]


def test_beside_another_ladder_weights_are_still_compared_with_none(compared: Models):
    moved = replace(SETTINGS, rungs=(0.0, *ONES[1:]))
    drawing = draw(compared, moved, [], quiet)
    assert drawing.references == draw(compared, SETTINGS, [], quiet).pictures
    assert drawing.rows[0][1][2] == "all rungs at 1"


def test_a_difference_is_white_where_a_channel_differs_most():
    one, other = Image.new("RGB", (2, 1), "black"), Image.new("RGB", (2, 1), "black")
    other.putpixel((1, 0), (10, 255, 20))
    assert [*difference(one, other).getdata()] == [(0, 0, 0), (255, 255, 255)]


def test_an_edit_depends_on_all_its_sources(models: Models):
    edit = replace(SETTINGS, task="edit", pictures=1)
    sources = [tiny_picture(0), tiny_picture(1)]
    drawn = [draw(models, edit, given, quiet).pictures[0] for given in (sources[:1], sources)]
    assert drawn[0] != drawn[1]
    assert drawn[0].size == (SIDE, SIDE)


def test_an_edit_stands_between_its_source_and_what_it_changed(models: Models):
    edit = replace(SETTINGS, task="edit", pictures=1)
    source = tiny_picture(0)
    drawing = draw(models, edit, [source], quiet)
    (row,) = drawing.rows
    assert [kind for kind, *_ in row] == ["source", "picture", "difference"]
    assert row[0][1] == source
    assert row[2][1] == difference(source, drawing.pictures[0])


def test_files_are_named_by_all_settings_of_their_picture(models: Models, tmp_path: Path):
    moved = replace(SETTINGS, prompt="A red star!", rungs=(0.5, *ONES[1:]))
    files = Files.write(draw(models, moved, [], quiet), models, tmp_path)
    rungs = "-".join(["0.5", *["1"] * (GENERATOR_BLOCKS - 1)])
    assert [Path(path).name for path, _ in files.shown[:2]] == [
        f"picture_a-red-star_seed3_steps2_guidance3_rungs{rungs}.png",
        f"reference_a-red-star_seed3_steps2_guidance3_rungs{rungs}.png",
    ]
    assert files.archive.name == f"{file_stem(moved, 0)}.zip"
    assert files.caption == caption(moved)
    assert files.columns == 3


def test_the_archive_holds_all_that_makes_the_pictures_again(models: Models, tmp_path: Path):
    settings = replace(SETTINGS, task="edit", rungs=(0.5, *ONES[1:]))
    drawing = draw(models, settings, [tiny_picture(0)], quiet)
    with zipfile.ZipFile(pack(drawing, models, tmp_path)) as file:
        kinds = ("picture", "reference", "difference")
        pictures = [f"{kind}-{index}.png" for kind in kinds for index in (0, 1)]
        assert file.namelist() == ["source-0.png", *pictures, "settings.json"]
        stored = json.loads(file.read("settings.json"))
        (tmp_path / "source.png").write_bytes(file.read("source-0.png"))
        picture = Image.open(file.open("picture-1.png")).copy()
    assert picture.tobytes() == drawing.pictures[1].tobytes()
    fields = {name: stored[name] for name in asdict(settings)}
    again = Settings(**fields | {"rungs": tuple(fields["rungs"])})
    assert again == settings
    sources = read_sources([str(tmp_path / "source.png")])
    assert draw(models, again, sources, quiet).pictures == drawing.pictures
    query = dict(pair.split("=") for pair in stored["link"].removeprefix("?").split("&"))
    assert from_query(query | {"prompt": "a red star"}, GENERATOR_BLOCKS) == settings


@pytest.mark.parametrize(
    ("change", "sources", "message"),
    [
        ({"prompt": " \n"}, 0, "the prompt is empty"),
        ({"task": "edit"}, 0, "1 to 4 pictures can be changed, got 0"),
        ({"task": "edit"}, 5, "1 to 4 pictures can be changed, got 5"),
        ({"task": "compare"}, 0, "start the page with --compare FOLDER"),
        ({"rungs": (1.0,)}, 0, f"each of {GENERATOR_BLOCKS} rungs needs a weight, got 1"),
    ],
)
def test_what_cannot_be_drawn(models: Models, change: dict, sources: int, message: str):
    with pytest.raises(ValueError, match=message):
        draw(models, replace(SETTINGS, **change), [tiny_picture(0)] * sources, quiet)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "undecodable"), (b"<html>no picture</html>", "undecodable"), (None, "too_large")],
)
def test_an_upload_that_is_no_picture_is_named_without_its_folder(
    content: bytes | None, reason: str, tmp_path: Path
):
    path = tmp_path / "holiday.png"
    if content is None:
        Image.new("1", (5000, 5000)).save(path)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^holiday.png: not a picture .* \({reason}\)"):
        read_sources([str(path)])


def test_uploads_that_are_too_many_or_gone(tmp_path: Path):
    gone = str(tmp_path / "gone.png")
    with pytest.raises(ValueError, match=r"^gone.png: kept no longer, upload it again$"):
        read_sources([gone])
    with pytest.raises(ValueError, match="at most 4 pictures can be used, got 5"):
        read_sources([gone] * 5)


def test_ladders_of_other_sizes_are_not_compared(models: Models, folders: dict[str, Path]):
    other = LadderPipeline.from_pretrained(folders["last"])
    other.ladder.generator.register_to_config(sample_size=2 * LATENT_SHAPE[1])
    with pytest.raises(ValueError, match=r"on the same noise only, got .*\(8, 4\) and \(8, 8\)"):
        Models(models.pipeline, "one", other, "larger")


def test_rungs_are_named_by_what_feeds_them():
    assert rung_names(Taps("list", (0, "norm"), 2, 6)) == ["Rung 1: layer 0", "Rung 2: final norm"]
    assert rung_names(Taps("mean", (1, 2, 3), 2, 6)) == ["Rung 1: mixture", "Rung 2: mixture"]
