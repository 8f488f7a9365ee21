"""GenEval's observer, with Hugging Face weights: Mask2Former finds objects, CLIP names colours.

It follows the official one (https://github.com/djghosh13/geneval, evaluation/evaluate_images.py),
which runs mmdet's and open_clip's weights instead; so its scores are `geneval-hf`, not the
published metric. transformers' post-processing keeps what scores 0.5 and gives masks only: here it
keeps everything, and boxes, sorting and limits are ours.

Letters: N objects, H and W sides of the picture.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image
from torch.nn.functional import normalize
from transformers import (
    AutoTokenizer,
    CLIPImageProcessorPil,
    CLIPModel,
    Mask2FormerForUniversalSegmentation,
    Mask2FormerImageProcessorPil,
)

from ladder.evaluation.scorers.geneval import COLORS, MOST_OF_A_CLASS, SURE
from ladder.evaluation.vlm_judges.local_vqa import best_device, version
from ladder.models.reference import Reference

DETECTOR = "facebook/mask2former-swin-small-coco-instance"
CLIP = "openai/clip-vit-large-patch14"
NAMES = {"mouse": "computer mouse", "remote": "tv remote", "keyboard": "computer keyboard"}
"""COCO's classes that GenEval calls otherwise."""
TEMPLATES = (
    "a photo of a {c} {name}",
    "a photo of a {c}-colored {name}",
    "a photo of a {c} object",
)
BLANK = "#999"
"""What stands around an object while its colour is looked at."""


class Mask2FormerClip:
    """Detections of a picture, by GenEval's names of classes."""

    name = "mask2former+clip"
    temperature = 0.0
    prompt = json.dumps(TEMPLATES)
    settings: Mapping[str, Any] = {}

    def __init__(self, detector: str | Path = DETECTOR, clip: str | Path = CLIP) -> None:
        references = [Reference.of(str(source)) for source in (detector, clip)]
        self.version = "+".join(version(reference) for reference in references)
        folders = [reference.folder for reference in references]
        self.detector = Mask2FormerForUniversalSegmentation.from_pretrained(folders[0]).eval()
        self.detector_images = Mask2FormerImageProcessorPil.from_pretrained(folders[0])
        self.clip = CLIPModel.from_pretrained(folders[1]).eval()
        self.clip_images = CLIPImageProcessorPil.from_pretrained(folders[1])
        self.tokenizer = AutoTokenizer.from_pretrained(folders[1])
        for model in (self.detector, self.clip):
            model.to(best_device())
        labels = self.detector.config.id2label
        self.names = {index: NAMES.get(label, label) for index, label in labels.items()}
        self.classes = frozenset(self.names.values())
        self._colors = cache(self._color_embeddings)

    @torch.no_grad()
    def observe(
        self, picture: Image.Image, colored: Collection[str] = ()
    ) -> dict[str, list[dict[str, Any]]]:
        """The most certain objects of each class, best first; colours for the classes `colored`."""
        picture = picture.convert("RGB")
        inputs = self.detector_images(picture, return_tensors="pt").to(self.detector.device)
        found = self.detector_images.post_process_instance_segmentation(
            self.detector(**inputs),
            threshold=0.0,
            target_sizes=[picture.size[::-1]],
            return_binary_maps=True,
        )[0]
        best = sorted(enumerate(found["segments_info"]), key=lambda pair: -pair[1]["score"])
        classes: dict[str, list[dict[str, Any]]] = {}
        for index, segment in best:
            group = classes.setdefault(self.names[segment["label_id"]], [])
            if segment["score"] >= SURE and len(group) < MOST_OF_A_CLASS:
                mask = found["segmentation"][index].cpu().numpy() > 0
                group.append({"box": box(mask), "score": segment["score"], "mask": mask})
        for name in {*colored} & {*classes}:
            self._paint(picture, name, classes[name])
        return {
            name: [{key: value for key, value in one.items() if key != "mask"} for one in group]
            for name, group in classes.items()
            if group
        }

    def _paint(self, picture: Image.Image, name: str, group: list[dict[str, Any]]) -> None:
        """Add the colour to every object of a class."""
        if not group:
            return
        blank = Image.new("RGB", picture.size, BLANK)
        crops = [
            Image.composite(picture, blank, Image.fromarray(one["mask"])).crop(one["box"])
            for one in group
        ]
        pixels = self.clip_images(crops, return_tensors="pt")["pixel_values"]
        seen = self.clip.get_image_features(pixels.to(self.clip.device)).pooler_output
        likeness = normalize(seen, dim=-1) @ self._colors(name).T
        for one, color in zip(group, likeness.argmax(1).tolist(), strict=True):
            one["color"] = COLORS[color]

    def _color_embeddings(self, name: str) -> torch.Tensor:
        """A direction for each colour: the mean over the templates."""
        texts = [template.format(c=c, name=name) for c in COLORS for template in TEMPLATES]
        words = self.tokenizer(texts, padding=True, return_tensors="pt").to(self.clip.device)
        embedded = normalize(self.clip.get_text_features(**words).pooler_output, dim=-1)
        return normalize(embedded.unflatten(0, (len(COLORS), len(TEMPLATES))).mean(1), dim=-1)


def box(mask: Bool[np.ndarray, "H W"]) -> list[int]:
    """(x1, y1, x2, y2) of a mask, x2 and y2 just outside, as mmdet counts."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
