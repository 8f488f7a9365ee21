"""The oracle reads what is there, survives what an autoencoder does, and doubts what is wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from ladder.evaluation.bounds import reconstructed
from ladder.world.oracle import SURE, detect, read_scene, same_scene
from ladder.world.render import SIDE, render
from ladder.world.scenes import BACKGROUNDS, COLORS, SHAPES, SIZES, Scene, Thing, draw_scene

cv2.setNumThreads(1)


def scenes(count: int, most: int = 7, seed: int = 0) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [draw_scene(rng, int(rng.integers(most + 1))) for _ in range(count)]


def exact(pictures: Sequence[np.ndarray], truth: Sequence[Scene]) -> float:
    """Share of pictures read as their scenes."""
    pairs = zip(pictures, truth, strict=True)
    return float(np.mean([same_scene(read_scene(picture), scene) for picture, scene in pairs]))


def single(**changes: str) -> Scene:
    things = Thing(4, "star", "red", "large", 1, -2)
    return Scene((dataclasses.replace(things, **changes),), "sand")


def mixed(*ones: Scene) -> np.ndarray:
    """The pictures of scenes on top of one another, each half transparent."""
    return np.mean([render(scene) for scene in ones], axis=0).round().astype(np.uint8)


def test_every_object_is_read_on_every_background():
    for shape in SHAPES:
        for color in COLORS:
            for size in SIZES:
                for background in BACKGROUNDS:
                    scene = Scene((Thing(4, shape, color, size, -1, 2),), background)
                    assert read_scene(render(scene)) == scene


def test_rendered_scenes_are_read_exactly():
    """Even the offsets in pixels."""
    truth = scenes(200)
    read = [read_scene(render(scene)) for scene in truth]
    assert np.mean([one == other for one, other in zip(read, truth, strict=True)]) >= 0.995


def test_objects_are_sure_in_any_number():
    """Above 0.9, the score that GenEval asks for when it counts."""
    for scene in scenes(50, most=9, seed=1):
        found = detect(render(scene)).things
        assert len(found) == len(scene.things)
        assert all(thing.score > 0.9 for thing in found)


def test_boxes_and_centres_are_in_pixels():
    scene = Scene((Thing(5, "square", "black", "large", 2, -1),))
    (found,) = detect(render(scene)).things
    x1, y1, x2, y2 = found.box
    inside = (render(scene) != BACKGROUNDS["slate"]).any(-1)
    rows, columns = np.nonzero(inside)
    assert (x1, y1, x2, y2) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert found.center == pytest.approx(scene.things[0].center, abs=0.5)
    assert found.cell == 5


def test_blur_and_noise_are_survived():
    rng = np.random.default_rng(2)
    truth = scenes(200, seed=3)

    def spoiled(scene: Scene) -> np.ndarray:
        soft = cv2.GaussianBlur(render(scene).astype(np.float32), (0, 0), 0.6)
        return (soft + rng.normal(0, 4, soft.shape)).clip(0, 255).round().astype(np.uint8)

    assert exact([spoiled(scene) for scene in truth], truth) >= 0.985


@pytest.mark.slow
def test_reconstructions_of_the_autoencoder_are_read_exactly(root: Path):
    folder = root / "models/sana/vae"
    if not (folder / "config.json").is_file():
        pytest.skip(f"no trained autoencoder at {folder}")
    from diffusers import AutoencoderDC

    vae = AutoencoderDC.from_pretrained(folder, torch_dtype=torch.float32)
    truth = scenes(200, seed=4)
    assert exact(reconstructed(vae, truth, 50), truth) >= 0.985


CHANGED: dict[str, Callable[[], Scene]] = {
    "color": lambda: single(color="orange"),
    "shape": lambda: single(shape="heart"),
    "size": lambda: single(size="small"),
    "cell": lambda: single(cell=5),
    "missing": lambda: Scene((), "sand"),
    "extra": lambda: Scene((*single().things, Thing(0, "cross", "white", "small")), "sand"),
    "background": lambda: dataclasses.replace(single(), background="mint"),
}


@pytest.mark.parametrize("change", CHANGED)
def test_a_wrong_picture_is_not_read_as_right(change: str):
    assert same_scene(read_scene(render(single())), single())
    assert not same_scene(read_scene(render(CHANGED[change]())), single())


DOUBTFUL: dict[str, Callable[[], np.ndarray]] = {
    "two shapes in one": lambda: mixed(single(), single(shape="circle")),
    "two colors in one": lambda: mixed(single(), single(color="blue")),
    "faded": lambda: mixed(single(), Scene((), "sand")),
    "left half": lambda: cut(single(), columns=slice(0, 49)),
    "lower half": lambda: cut(single(shape="heart"), rows=slice(46, SIDE)),
    "blob": lambda: painted(cv2.ellipse, (48, 48), (15, 6), 30, 0, 360, COLORS["red"], -1),
    "bar": lambda: painted(cv2.rectangle, (10, 40), (80, 50), COLORS["blue"], -1),
    "two halves": lambda: np.where(
        np.arange(SIDE)[None, :, None] < 49, render(single()), render(single(color="blue"))
    ),
}  # fmt: skip


def cut(scene: Scene, rows: slice = slice(None), columns: slice = slice(None)) -> np.ndarray:
    """The picture of a scene without what lies outside `rows` and `columns`."""
    empty = render(Scene((), scene.background))
    empty[rows, columns] = render(scene)[rows, columns]
    return empty


def painted(paint: Callable[..., object], *what: object) -> np.ndarray:
    image = render(Scene(()))
    paint(image, *what)
    return image


@pytest.mark.parametrize("what", DOUBTFUL)
def test_what_is_no_object_is_not_believed(what: str):
    picture = DOUBTFUL[what]()
    found = detect(picture).things
    assert found
    assert all(thing.score <= SURE for thing in found), found
    assert read_scene(picture) is None


def test_no_scene_is_read_from_noise():
    noise = np.random.default_rng(5).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    assert read_scene(noise) is None
    assert all(thing.score <= SURE for thing in detect(noise).things)


def test_a_background_of_two_styles_is_none():
    half = np.where(
        np.arange(SIDE)[:, None, None] < SIDE // 2,
        render(Scene((), "slate")),
        render(Scene((), "mint")),
    )
    assert detect(half).background is None
    assert read_scene(half) is None


def test_an_empty_picture_has_no_objects():
    for style in BACKGROUNDS:
        assert read_scene(render(Scene((), style))) == Scene((), style)


DETECT = """
import numpy as np
from ladder.world.oracle import detect
from ladder.world.render import render
from ladder.world.scenes import draw_scene
rng = np.random.default_rng(6)
pictures = [render(draw_scene(rng, int(rng.integers(8)))) for _ in range(60)]
"""


def test_a_picture_takes_at_most_four_milliseconds(seconds, slowness: float):
    spent = seconds("for picture in pictures: detect(picture)", DETECT)
    assert spent / 60 <= 4e-3 * slowness
