"""Before the first stage: connectors learn to say what the MLLM knows in the generator's words.

A generator understands the states of its own text encoder. What the MLLM answers at a query (its
last layer, its own head) is a word; the encoder's state of that word, among the words of all
queries, is what the connectors shall make of the query's state at each rung. Nothing is drawn for
that, so it takes a minute, instead of thousands of steps that find it out from noise. It needs
queries that begin as words, and a text encoder beside the generator. The paper has nothing of the
kind (`translation.steps: 0`).

Letters: N rungs, B batch, Q queries, D width of the MLLM, C caption channels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from ladder.config import Config, Dropping
from ladder.data.loading import Batch, LadderData
from ladder.model.generator import located
from ladder.model.ladder import Ladder
from ladder.model.prompts import Prompts
from ladder.model.rungs import NORM, Taps

NEVER = Dropping(t2i_text=0.0, edit_text=0.0, edit_both=0.0, edit_image=0.0)
"""Prompts are whole: the MLLM has no word for what is not there."""


def translate(config: Config, ladder: Ladder, encoded: Path) -> None:
    """Train the connectors of a fresh `ladder` in place, on prompts of the sets in `encoded`."""
    chosen = config.translation
    stage = replace(
        config.stages.t2i,
        steps=chosen.steps,
        batch=chosen.batch,
        accumulate=1,
        mixture=chosen.mixture,
    )
    prepare = ladder.understanding.prepare
    data = LadderData(encoded, "translation", stage, NEVER, config.seed, prepare)
    words = Words.from_pretrained(config.foundations.generator)
    teach(ladder, words, data.train_dataloader(), chosen.steps, chosen.lr)


def teach(
    ladder: Ladder, words: Words, batches: Iterable[Batch], steps: int, lr: float
) -> list[float]:
    """Make the connectors say `words`, by AdamW at a rate that falls from `lr` to 0.

    Returns the mean squared error of every step.
    """
    optimizer = torch.optim.AdamW(ladder.connector.parameters(), lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    progress = tqdm(islice(batches, steps), "translation", steps, unit="step", mininterval=1.0)
    losses: list[float] = []
    for batch in progress:
        states, answers = answered(ladder, batch.prompts)
        target = words.states(answers)
        if not losses:
            scale_to(ladder, target)
        said = ladder.connector(states)
        loss = F.mse_loss(said, target.expand_as(said))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        progress.set_postfix(loss=f"{losses[-1]:.4f}")
    return losses


@torch.no_grad()
def answered(ladder: Ladder, prompts: Prompts) -> tuple[Float[Tensor, "N B Q D"], list[list[str]]]:
    """What the rungs hold before the connectors, and the MLLM's word at each query."""
    understanding, taps = ladder.understanding, ladder.taps
    layers = (*taps.layers, NORM)
    both = Taps("list", layers, len(layers), taps.depth)
    *read, last = understanding.rungs(prompts, ladder.queries, both)
    ids = understanding.mllm.lm_head(last).argmax(-1)
    decode = understanding.prompter.tokenizer.decode
    answers = [[decode(token) for token in row] for row in ids.tolist()]
    return ladder.mixture(torch.stack(read).to(ladder.queries.dtype)), answers


@torch.no_grad()
def scale_to(ladder: Ladder, target: Float[Tensor, "B Q C"]) -> None:
    """Let the connectors, whose last part is a norm, begin at the scale of what they shall say."""
    for norm in ladder.connector.modules():
        if isinstance(norm, nn.RMSNorm):
            norm.weight.fill_(target.square().mean().sqrt())


@dataclass(frozen=True)
class Words:
    """The text encoder of a generator, which knows words by its states."""

    encoder: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @classmethod
    def from_pretrained(cls, source: str) -> Words:
        """That of the pipeline in a folder, or on the hub (`id` or `id@revision`).

        Raises ValueError where there is none.
        """
        name, revision = located(source)
        where = {"pretrained_model_name_or_path": name, "revision": revision}
        try:
            encoder = AutoModel.from_pretrained(
                **where, subfolder="text_encoder", dtype=torch.float32
            )
            tokenizer = AutoTokenizer.from_pretrained(**where, subfolder="tokenizer")
        except (OSError, ValueError) as error:
            raise ValueError(
                "translation (translation.steps above 0) needs a text encoder and a tokenizer "
                f"beside the generator, got none in {source}"
            ) from error
        return cls(encoder.eval(), tokenizer)

    @torch.no_grad()
    def states(self, rows: list[list[str]]) -> Float[Tensor, "B Q C"]:
        """The state of each word, in the text that its row makes: that of its last token.

        A word that the tokenizer leaves out has the state of the first token, the start.
        """
        texts = ["".join(row) for row in rows]
        tokens = self.tokenizer(texts, padding=True, return_tensors="pt").to(self.encoder.device)
        found = self.encoder(tokens.input_ids, attention_mask=tokens.attention_mask)
        last = [
            [
                tokens.char_to_token(index, len("".join(row[: word + 1])) - 1) or 0
                for word in range(len(row))
            ]
            for index, row in enumerate(rows)
        ]
        states = found.last_hidden_state
        return states[torch.arange(len(rows))[:, None], torch.tensor(last)]
