"""A pass through the MLLM's lower layers in parts: first prompts, then the queries behind them.

Attention is causal, so the prompt's states don't depend on the queries. The prompt therefore runs
once, without gradient, into a key/value cache; only the queries run with gradient, and both only
through the layers that the ladder taps. The outcome is that of one forward over all tokens.

Letters: B batch, T prompt tokens, D width, S tokens of a part, R all tokens so far.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache, PreTrainedModel
from transformers.masking_utils import create_causal_mask

from ladder.models.layer_selection import Layer
from ladder.models.lora import acting
from ladder.models.mllm.families import Embedded, embedded, language_model, rotary
from ladder.models.mllm.prompts import Prompts


class CachedPass:
    """Runs the first `layers` layers; `cache` holds keys and values of what has run.

    With `checkpointing` the backward pass runs the layers of what has a gradient anew, to save
    memory.
    """

    def __init__(self, mllm: PreTrainedModel, layers: int, checkpointing: bool = False) -> None:
        self.mllm = mllm
        self.layers = layers
        self.checkpointing = checkpointing
        self.cache = DynamicCache(config=mllm.config.get_text_config())

    def read(self, prompts: Prompts) -> Int[Tensor, "B T"]:
        """Run the prompts into the cache; returns which of the T tokens in it count.

        What all of them begin with runs once and comes first, the padding after it: of a row with
        n tokens, the last n - shared stay where they are.
        """
        shared, mask = prompts.shared, prompts.attention_mask
        entering, positions = embedded(self.mllm, prompts), prompts.position_ids
        if shared:
            longest = int(mask.sum(1).argmax())
            row = slice(longest, longest + 1)
            self.run(entering[row, :shared], positions[:, row, :shared], mask[row, :shared])
            self.cache.batch_repeat_interleave(len(prompts))
            mask = torch.cat([torch.ones_like(mask[:, :shared]), mask[:, :-shared]], dim=1)
        self.run(entering[:, shared:], positions[:, :, shared:], mask)
        return mask

    def run(
        self,
        entering: Embedded,
        positions: Int[Tensor, "3 B S"],
        mask: Int[Tensor, "B R"],
        keep: Collection[int] = (),
    ) -> dict[Layer, Float[Tensor, "B S D"]]:
        """The states after the layers `keep` of S tokens that follow those in the cache.

        The cache grows by the S tokens, to R, but for a part that is to be run anew in the backward
        pass.
        """
        model, states = language_model(self.mllm), entering.states
        turned = rotary(self.mllm, states, positions)
        attention = create_causal_mask(
            config=model.config, inputs_embeds=states, attention_mask=mask, cache=self.cache
        )
        kept = {0: states} if 0 in keep else {}
        for index, layer in enumerate(model.layers[: self.layers], start=1):
            run = partial(layer, attention_mask=attention, position_embeddings=turned)
            if self.checkpointing and states.requires_grad:
                states = checkpoint(
                    beside, run, states, self.cache, use_reentrant=False, context_fn=self._anew
                )
            else:
                states = run(states, cache=self.cache)
            if index <= len(entering.deeper):
                states = states + entering.deeper[index - 1]
            if index in keep:
                kept[index] = states
        return kept

    def _anew(self) -> tuple[AbstractContextManager, AbstractContextManager]:
        """Of a checkpoint: what surrounds the layer the first time, and the second."""
        return nullcontext(), acting(self.mllm)


def beside(run: Callable[..., Tensor], states: Tensor, cache: DynamicCache) -> Tensor:
    """What a layer makes of `states` after those in `cache`, which stays as it is: run twice, the
    layer finds the same."""
    own = copy.copy(cache)
    own.layers = [copy.copy(layer) for layer in cache.layers]
    return run(states, cache=own)
