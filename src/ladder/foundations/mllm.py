"""The toy MLLM: the base of `ladder.foundations.mllm_base`, tuned on more questions.

A base learns first what is found by its place (what is at the north?) and last what is found by
what it is (where is the star?). Tuning goes on with a mix that asks more for the latter.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from transformers import (
    AutoTokenizer,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)

from ladder.config import Config
from ladder.foundations.conversations import TUNED
from ladder.foundations.mllm_base import train_conversation

log = logging.getLogger(__name__)


def main(config: Config) -> None:
    """The stage: tune the base and save to the folder that the configuration names."""
    toy = config.foundations
    tune(Path(toy.mllm_base), toy.mllm_steps, toy.seed, Path(toy.mllm))


def tune(base: Path, steps: int, seed: int, folder: Path) -> None:
    """Go on training the base model and save it to `folder`, its tokenizer unchanged."""
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(base)
    image_processor = Qwen2VLImageProcessorPil.from_pretrained(base)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        base, dtype=torch.float32, attn_implementation="eager"
    )
    rng = np.random.default_rng([seed, 21])
    train_conversation(model, tokenizer, image_processor, TUNED, rng, steps)
    tokenizer.save_pretrained(folder)
    image_processor.save_pretrained(folder)
    model.to(torch.bfloat16).save_pretrained(folder)
    log.info("saved the MLLM to %s", folder)
