"""Judges that run here, through transformers: they answer yes or no about one picture each.

They stand in for the benchmarks' own judges (mPLUG-large for DPG-Bench, GPT-4o for TIIF-Bench), so
their scores are labelled by their names and never ranked beside the published ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoTokenizer,
    BatchEncoding,
    BlipForQuestionAnswering,
    BlipImageProcessorPil,
)

from ladder.evaluation.vlm_judges import Answer, JudgeQuestion, only_picture
from ladder.models.mllm.frozen import Understanding
from ladder.models.reference import Reference

LONGEST = 16
"""Tokens of an answer; yes and no have one."""
YES_OR_NO = "{question} Answer yes or no."
BATCH = 16
QWEN, BLIP = "Qwen/Qwen2.5-VL-7B-Instruct", "Salesforce/blip-vqa-capfilt-large"
"""What is used unless another folder or id is named."""


class QwenJudge:
    """Qwen2.5-VL, told to answer yes or no unless a benchmark has another prompt; its most likely
    answer is taken."""

    name = "qwen2.5-vl"
    temperature = 0.0

    def __init__(
        self, source: str | Path = QWEN, prompt: str = YES_OR_NO, longest: int = LONGEST
    ) -> None:
        self.prompt, self.longest = prompt, longest
        self.settings = {"max_tokens": longest}
        device = best_device()
        dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
        self.understanding = Understanding.from_pretrained(str(source), dtype).to(device)
        self.version = version(self.understanding.reference)

    def answer(self, questions: Sequence[JudgeQuestion]) -> list[Answer]:
        """The greedy answers."""
        found: list[str] = []
        for first in range(0, len(questions), BATCH):
            part = questions[first : first + BATCH]
            pictures = [only_picture(question) for question in part]
            texts = [self.prompt.replace("{question}", q.text.strip()) for q in part]
            found += self.understanding.ask_all(pictures, texts, self.longest)
        return [Answer(text) for text in found]


class BlipJudge:
    """BLIP, fine-tuned on VQA v2 (https://huggingface.co/Salesforce/blip-vqa-capfilt-large).

    The image processor in PIL is named outright, as the other one's pixels differ.
    """

    name = "blip-vqa"
    temperature = 0.0
    prompt = "{question}"
    settings: Mapping[str, Any] = {"max_tokens": LONGEST}

    def __init__(self, source: str | Path = BLIP) -> None:
        reference = Reference.of(str(source))
        self.version = version(reference)
        self.model = BlipForQuestionAnswering.from_pretrained(reference.folder).eval()
        self.model.to(best_device())
        self.tokenizer = AutoTokenizer.from_pretrained(reference.folder)
        self.images = BlipImageProcessorPil.from_pretrained(reference.folder)

    @torch.no_grad()
    def answer(self, questions: Sequence[JudgeQuestion]) -> list[Answer]:
        """The greedy answers, in lower case as BLIP was taught to write."""
        found: list[str] = []
        for first in range(0, len(questions), BATCH):
            ids = self._generate(questions[first : first + BATCH])
            found += self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [Answer(text.strip()) for text in found]

    def _generate(self, questions: Sequence[JudgeQuestion]) -> torch.Tensor:
        pictures = [only_picture(question) for question in questions]
        texts = [self.prompt.replace("{question}", q.text.strip()) for q in questions]
        words: BatchEncoding = self.tokenizer(texts, padding=True, return_tensors="pt")
        pixels = self.images(pictures, return_tensors="pt")["pixel_values"]
        return self.model.generate(
            input_ids=words["input_ids"].to(self.model.device),
            attention_mask=words["attention_mask"].to(self.model.device),
            pixel_values=pixels.to(self.model.device),
            max_new_tokens=LONGEST,
            do_sample=False,
            num_beams=1,
        )


def best_device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def version(reference: Reference) -> str:
    """The hub's commit, or the beginning of the hash of a local folder."""
    return reference.revision or reference.digest[:16]
