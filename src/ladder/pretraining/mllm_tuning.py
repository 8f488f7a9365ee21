"""The toy MLLM: the base of `ladder.pretraining.mllm`, tuned to know its answers early.

The layers of a large MLLM hold an answer long before the last of them, and its state of a word
holds what that word belongs to; a small one computes to the very end, and no more than it is asked.
So every layer that the ladder reads must also fill in templates, with the head of the last one
(early-exit loss, LayerSkip: arXiv 2404.16710), and at each field tell the words before it in its
group (the shape of a clause: its colour, size and count): connectors see one token at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)

from ladder.config.load import Config
from ladder.pretraining.conversation_mix import TUNED
from ladder.pretraining.conversations import PackedRows
from ladder.pretraining.mllm import LAYERS, WIDTH, answer_loss, load, save, train_conversation
from ladder.world import slot_template

log = logging.getLogger(__name__)

EXITS = range(LAYERS // 2, LAYERS)
"""The layers whose states must fill in a template: those that the ladder reads."""
BACK = max(slot_template.GROUPS) - 1
"""How far before a field others of its group can be."""


class Early(nn.Module):
    """The loss of templates after each layer of `exits`: the word of each field, and, through a
    matrix for each distance, the words before it in its group."""

    def __init__(self, width: int, exits: Sequence[int]) -> None:
        super().__init__()
        self.exits = exits
        self.back = nn.ModuleList([nn.Linear(width, width, bias=False) for _ in range(BACK)])

    def forward(
        self,
        model: Qwen2_5_VLForConditionalGeneration,
        states: tuple[Float[Tensor, "B L D"], ...],
        rows: PackedRows,
    ) -> tuple[Float[Tensor, ""], dict[str, str]]:
        filled = (rows.fields >= 0) & (rows.targets != -100)
        if not filled.any():
            return torch.zeros(()), {}
        norm = model.model.language_model.norm
        early = [norm(states[layer]) for layer in self.exits]
        own = [answer_loss(model, state, rows, filled) for state in early]
        before = [self._before(model, state, rows, filled) for state in (*early, states[-1])]
        shown = {
            "early": f"{own[0][1]:.3f} to {own[-1][1]:.3f}",
            "before": f"{before[0][1]:.3f} to {before[-1][1]:.3f}",
        }
        means = [torch.stack([loss for loss, _ in losses]).mean() for losses in (own, before)]
        return means[0] + means[1], shown

    def _before(
        self,
        model: Qwen2_5_VLForConditionalGeneration,
        states: Float[Tensor, "B L D"],
        rows: PackedRows,
        filled: Bool[Tensor, "B L"],
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The loss of the words before, and the share of them that are right."""
        within = rows.fields - torch.tensor([*slot_template.FIRST, 0])[rows.fields]
        losses, right, weights = [], [], []
        for distance, matrix in enumerate(self.back, start=1):
            told = filled[:, distance:] & filled[:, :-distance] & (within[:, distance:] >= distance)
            logits = model.lm_head(matrix(states[:, distance:][told]))
            words = rows.targets[:, :-distance][told]
            losses.append(F.cross_entropy(logits, words, reduction="none"))
            right.append((logits.argmax(-1) == words).float())
            weights.append(rows.weights[:, :-distance][told])
        weight = torch.cat(weights)
        return (torch.cat(losses) * weight).sum() / weight.sum(), torch.cat(right).mean()


def main(config: Config) -> None:
    """The stage: tune the base and save to the folder that the configuration names."""
    toy = config.pretraining
    tune(Path(toy.mllm_base), toy.mllm_steps, toy.seed, Path(config.foundations.mllm))


def tune(base: Path, steps: int, seed: int, folder: Path) -> None:
    """Go on training the base model and save it to `folder`, its tokenizer unchanged."""
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(base)
    image_processor = Qwen2VLImageProcessorPil.from_pretrained(base)
    model, rng = load(base), np.random.default_rng([seed, 22])
    early = Early(WIDTH, EXITS)
    train_conversation(model, tokenizer, image_processor, TUNED, rng, steps, early)
    save(model, tokenizer, image_processor, folder)
    log.info("saved the MLLM to %s", folder)
