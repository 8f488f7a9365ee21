"""GenEval's observer: tiny models of the same classes give detections that can be scored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.tiny import tiny_picture

from ladder.cli import main
from ladder.evaluation.scorers.geneval import COLORS
from ladder.evaluation.scorers.score_file import score
from ladder.evaluation.vlm_judges.mask2former_clip import Mask2FormerClip, box
from ladder.evaluation.vlm_judges.observe_geneval import observe_geneval


@pytest.fixture(scope="module")
def observer(tiny_detector: Path, tiny_clip: Path) -> Mask2FormerClip:
    return Mask2FormerClip(tiny_detector, tiny_clip)


def test_detections_are_as_geneval_wants_them(observer: Mask2FormerClip):
    picture = tiny_picture(0, (96, 64))
    plainly, colored = observer.observe(picture), observer.observe(picture, {"bench", "cow"})
    assert plainly, "the tiny detector must be sure of something"
    assert {*plainly} <= {"bench", "computer mouse", "cow"}
    for name, group in plainly.items():
        scores = [one["score"] for one in group]
        assert scores == sorted(scores, reverse=True)
        assert min(scores) >= 0.3
        assert len(group) <= 16
        for one in group:
            x1, y1, x2, y2 = one["box"]
            assert 0 <= x1 < x2 <= 96
            assert 0 <= y1 < y2 <= 64
            assert "color" not in one
        if name != "computer mouse":
            assert all(one["color"] in COLORS for one in colored[name])
    assert observer.classes == {"bench", "computer mouse", "cow"}


def test_each_color_has_a_direction(observer: Mask2FormerClip):
    directions = observer._colors("bench")
    assert directions.shape == (10, 8)
    assert torch.allclose(directions.norm(dim=1), torch.ones(10))


def test_a_box_ends_just_outside_its_mask():
    mask = np.zeros((5, 7), bool)
    mask[1:3, 2:6] = True
    assert box(mask) == [2, 1, 6, 3]


# ---- folders ----


class Eye:
    """Finds one bench in every picture."""

    name, version, temperature, prompt = "eye", "1", 0.0, ""
    settings: Mapping[str, Any] = {}
    classes = frozenset({"bench", "cow"})

    def __init__(self) -> None:
        self.colored: list[set[str]] = []

    def observe(self, picture: Image.Image, colored: set[str]) -> dict[str, list[dict]]:
        self.colored.append(colored)
        return {"bench": [{"box": [0, 0, 9, 9], "score": 0.9, "color": "red"}]}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Two prompts with four pictures each."""
    rows = [
        {"tag": "single_object", "include": [{"class": "cow", "count": 1}], "prompt": "a cow"},
        {"tag": "colors", "include": [{"class": "bench", "count": 1, "color": "red"}],
         "prompt": "a red bench"},
    ]  # fmt: skip
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for index, row in enumerate(rows):
        samples = tmp_path / f"images/{index:05}/samples"
        samples.mkdir(parents=True)
        (samples.parent / "metadata.jsonl").write_text(json.dumps(row))
        for number in range(4):
            tiny_picture(number).save(samples / f"{number:04}.png")
    return tmp_path / "images", prompts


def test_folders_are_observed_scored_and_resumed(files: tuple[Path, Path], tmp_path: Path):
    out, eye = tmp_path / "out.jsonl", Eye()
    assert observe_geneval(*files, eye, out) == {"seen": 8, "stored": 0, "missing": 0}
    assert eye.colored == [set()] * 4 + [{"bench"}] * 4
    found = score("geneval", out, files[1], complete=True)
    assert found["official"] == {"single_object": 0.0, "colors": 1.0, "overall": 0.5}
    lines = out.read_text().splitlines(keepends=True)
    out.write_text("".join(lines[:6]) + lines[6][:20])
    assert observe_geneval(*files, Eye(), out) == {"seen": 2, "stored": 6, "missing": 0}
    assert out.read_text() == "".join(lines)
    other = Eye()
    other.classes = frozenset({"cow"})
    with pytest.raises(ValueError, match="must know every class, not bench"):
        observe_geneval(*files, other, out)
    other = Eye()
    other.version = "2"
    with pytest.raises(ValueError, match="not by 2"):
        observe_geneval(*files, other, out)


def test_folders_that_lack_pictures_are_counted(files: tuple[Path, Path], tmp_path: Path):
    images, prompts = files
    (images / "00001/samples/0003.png").unlink()
    out = tmp_path / "out.jsonl"
    with pytest.raises(ValueError, match=r"1 of 2 folders of .* have 4 pictures"):
        observe_geneval(images, prompts, Eye(), out)
    assert observe_geneval(images, prompts, Eye(), out, partial=True)["missing"] == 1
    assert score("geneval", out, prompts)["missing"] == ["prompt 1"]
    (images / "00000/metadata.jsonl").write_text('{"prompt": "a dog"}')
    with pytest.raises(ValueError, match="must hold the prompt 'a cow'"):
        observe_geneval(images, prompts, Eye(), out, partial=True)


def test_the_verb_runs_the_models(
    files: tuple[Path, Path],
    tiny_detector: Path,
    tiny_clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
):
    out = tmp_path / "out.jsonl"
    words = ["observe", "geneval", str(files[0]), "--questions", str(files[1]), "-o", str(out)]
    models = ["--model", str(tiny_detector), "--clip", str(tiny_clip)]
    assert main.main([*words, "--judge", "mask2former+clip", *models]) == 0
    assert capsys.readouterr().out.endswith(
        "8 pictures seen, 0 pictures stored, 0 pictures missing\n"
    )
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["benchmark"] for row in rows} == {"geneval-hf"}
    assert score("geneval", out, files[1])["images"] == 8
    assert main.main([*words, "--judge", "oracle"]) == 2
    assert "is observed by mask2former+clip, got geneval by oracle" in capsys.readouterr().err
