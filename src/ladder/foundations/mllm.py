"""The toy MLLM: the base of `ladder.foundations.mllm_base`, tuned to know its answers early.

The layers of a large MLLM hold an answer long before the last of them; a small one computes to the
very end. So forms must also be filled in by the state after one of the deeper layers, with the head
of the last one (early-exit loss, LayerSkip: arXiv 2404.16710): without it, four of the six layers
that the ladder reads tell of the picture as it was before an edit.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer, Qwen2VLImageProcessorPil

from ladder.config import Config
from ladder.foundations.conversations import TUNED
from ladder.foundations.mllm_base import LAYERS, load, save, train_conversation

log = logging.getLogger(__name__)

EXITS = range(LAYERS - 4, LAYERS)
"""The layers whose states must fill in a form."""


def main(config: Config) -> None:
    """The stage: tune the base and save to the folder that the configuration names."""
    toy = config.foundations
    tune(Path(toy.mllm_base), toy.mllm_steps, toy.seed, Path(toy.mllm))


def tune(base: Path, steps: int, seed: int, folder: Path) -> None:
    """Go on training the base model and save it to `folder`, its tokenizer unchanged."""
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(base)
    image_processor = Qwen2VLImageProcessorPil.from_pretrained(base)
    model, rng = load(base), np.random.default_rng([seed, 22])
    train_conversation(model, tokenizer, image_processor, TUNED, rng, steps, EXITS)
    save(model, tokenizer, image_processor, folder)
    log.info("saved the MLLM to %s", folder)
