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
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    Mask2FormerImageProcessorPil,
    SwinConfig,
)

from ladder.cli import main
from ladder.evaluation.scorers.geneval import COLORS
from ladder.evaluation.scorers.score_file import score
from ladder.evaluation.vlm_judges.mask2former_clip import Mask2FormerClip, box
from ladder.evaluation.vlm_judges.observe_geneval import observe_geneval

LABELS = {0: "bench", 1: "mouse", 2: "cow"}


@pytest.fixture(scope="module")
def tiny_detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Mask2Former on a Swin of two stages, with random weights."""
    folder = tmp_path_factory.mktemp("mask2former")
    swin = SwinConfig(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = Mask2FormerConfig(
        backbone_config=swin, feature_size=32, mask_feature_size=32, hidden_dim=32,
        encoder_feedforward_dim=16, encoder_layers=1, decoder_layers=2, num_attention_heads=2,
        dim_feedforward=16, num_queries=20, id2label=LABELS,
        label2id={label: index for index, label in LABELS.items()},
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Mask2FormerForUniversalSegmentation(config)
    with torch.no_grad():
        model.class_predictor.weight.mul_(20)  # sure of something, as a trained one is
    model.save_pretrained(folder)
    size = {"height": 64, "width": 64}
    Mask2FormerImageProcessorPil(size=size, num_labels=len(LABELS)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of one layer, with random weights."""
    folder = tmp_path_factory.mktemp("clip")
    letters = [*"abcdefghijklmnopqrstuvwxyz-0123456789"]
    words = [*letters, *(letter + "</w>" for letter in letters)]
    vocabulary = {word: index for index, word in enumerate([*words, "<|start|>", "<|end|>"])}
    named = {"bos_token": "<|start|>", "eos_token": "<|end|>", "unk_token": "<|end|>"}
    CLIPTokenizer(vocab=vocabulary, merges=[], pad_token="<|end|>", **named).save_pretrained(folder)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
             "num_attention_heads": 2, "projection_dim": 8}  # fmt: skip
    text = small | {"vocab_size": len(vocabulary), "eos_token_id": vocabulary["<|end|>"],
                    "bos_token_id": vocabulary["<|start|>"]}  # fmt: skip
    vision = small | {"image_size": 32, "patch_size": 8}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
                  ).save_pretrained(folder)  # fmt: skip
    size = {"height": 32, "width": 32}
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def observer(tiny_detector: Path, tiny_clip: Path) -> Mask2FormerClip:
    return Mask2FormerClip(tiny_detector, tiny_clip)


def test_detections_are_as_geneval_wants_them(observer: Mask2FormerClip):
    picture = tiny_picture(0, (96, 64))
    plainly, colored = observer.observe(picture), observer.observe(picture, {*LABELS.values()} -
                                                                   {"mouse"})  # fmt: skip
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
