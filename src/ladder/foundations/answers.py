"""Batches of answers of an MLLM to pictures and words: plain greedy generation of transformers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from tqdm import trange
from transformers import ProcessorMixin, Qwen2_5_VLForConditionalGeneration


def answers(
    model: Qwen2_5_VLForConditionalGeneration,
    processor: ProcessorMixin,
    system: str,
    asked: Sequence[tuple[Image.Image | None, str]],
    batch: int = 64,
    longest: int = 64,
) -> list[str]:
    """The answer to each (picture or None, words), of at most `longest` tokens."""
    found: list[str] = []
    for start in trange(0, len(asked), batch, desc="answers", leave=False):
        part = asked[start : start + batch]
        texts = [_chat(processor, system, picture is not None, words) for picture, words in part]
        pictures = [picture for picture, _ in part if picture is not None]
        inputs = processor(
            text=texts, images=pictures or None, padding=True, padding_side="left",
            return_tensors="pt",
        )  # fmt: skip
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=longest, do_sample=False)
        fresh = output[:, inputs["input_ids"].shape[1] :]
        found += processor.batch_decode(fresh, skip_special_tokens=True)
    return found


def _chat(processor: ProcessorMixin, system: str, picture: bool, words: str) -> str:
    content = [{"type": "image"}] * picture + [{"type": "text", "text": words}]
    messages = [{"role": "system", "content": system}, {"role": "user", "content": content}]
    return processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
