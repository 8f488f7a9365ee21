"""Before the first stage: connectors learn to say what the MLLM knows in the generator's words.

A generator understands the states of its own text encoder. What the MLLM answers at a query (its
last layer, its own head) is a word; what the connectors shall make of the query's state at each
rung is the encoder's state of that word in its group (`ladder.pretraining.word_states`). Nothing is
drawn for it, and the MLLM reads each prompt once, so it takes minutes, instead of thousands of
steps that find it out from noise. It needs queries that begin as words, and a text encoder beside
the generator. Queries beyond the words say what an empty text says, and so do all of them without a
text and a picture: guidance then leads away from what the generator itself draws without a caption.
The paper has nothing of the kind (`connector_warmup.steps: 0`).

Letters: P prompts, N rungs, Q queries, D width of the MLLM, C caption channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm, trange
from transformers import AutoModel, AutoTokenizer, Gemma2Model, PreTrainedTokenizerBase

from ladder.config.load import Config, ConnectorWarmup, Model
from ladder.data.training.datamodule import LadderData
from ladder.models.ladder import Ladder
from ladder.models.layer_selection import NORM, Taps
from ladder.models.loading import located
from ladder.models.mllm.prompts import Prompts
from ladder.pretraining.muon import muon_and_adamw
from ladder.pretraining.word_states import state_of_nothing, states_of_words

ORDER = "translation"
"""Chooses the order of the prompts. It is hashed, so another word would give another ladder."""


def warm_up(config: Config, ladder: Ladder, encoded: Path) -> None:
    """Train the connectors of a fresh `ladder` in place, on prompts of the sets in `encoded`."""
    chosen = config.connector_warmup
    names = named(ladder, config.model)
    groups = chosen.groups or [1] * len(names)
    words = Words.from_pretrained(config.foundations.generator, names, groups)
    stage = replace(
        config.stages.t2i,
        steps=-(-chosen.prompts // chosen.batch),
        batch=chosen.batch,
        accumulate=1,
        warmup=0,
        mixture=chosen.mixture,
    )
    prepare = PrepareWarmup(ladder)
    data = LadderData(encoded, ORDER, stage, config.condition_dropout, config.seed, prepare)
    asked = (batch.prompts for batch in data.train_dataloader())
    lesson = Lesson.of(ladder, words, asked, stage.steps)
    teach(ladder, lesson, chosen, config.seed)


def named(ladder: Ladder, model: Model) -> list[str]:
    """The words that the first queries of a fresh `ladder` began as."""
    tokenizer = ladder.understanding.prompter.tokenizer
    tokens = ladder.understanding.prompter.tokens(f" {model.query_text}")
    return [tokenizer.decode(token) for token in tokens[: model.queries]]


@dataclass(frozen=True)
class WarmupPrompts:
    """Prompts, and which of them ask for nothing."""

    prompts: Prompts
    nothing: list[bool]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> WarmupPrompts:
        return WarmupPrompts(self.prompts.to(device, non_blocking), self.nothing)

    def pin_memory(self) -> WarmupPrompts:
        return WarmupPrompts(self.prompts.pin_memory(), self.nothing)


@dataclass(frozen=True)
class PrepareWarmup:
    """Prepares prompts for a ladder, and notes which have neither a text nor a picture (a black one
    stands for one that was dropped)."""

    ladder: Ladder

    def __call__(
        self, texts: Sequence[str], images: Sequence[Sequence[Image.Image]]
    ) -> WarmupPrompts:
        nothing = [
            not text and all(image.getbbox() is None for image in shown)
            for text, shown in zip(texts, images, strict=True)
        ]
        return WarmupPrompts(self.ladder.understanding.prepare(texts, images), nothing)


@dataclass(frozen=True)
class Words:
    """The text encoder of a generator, which knows words by their states; `names` are those that
    queries begin as, `groups` how many of them behind one another belong together."""

    encoder: Gemma2Model
    tokenizer: PreTrainedTokenizerBase
    names: list[str]
    groups: Sequence[int]

    @classmethod
    def from_pretrained(cls, source: str, names: list[str], groups: Sequence[int]) -> Words:
        """With that of the pipeline in a folder, or on the hub (`id` or `id@revision`).

        Raises ValueError where there is none, and for one that isn't Gemma2, Sana's.
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
                "connector_warmup (steps above 0) needs a text encoder and a tokenizer beside the "
                f"generator, got none in {source}"
            ) from error
        if not isinstance(encoder, Gemma2Model):
            raise ValueError(
                "connector_warmup (steps above 0) needs a Gemma2 beside the generator, got a "
                f"{type(encoder).__name__} in {source}"
            )
        return cls(encoder.eval(), tokenizer, names, groups)

    @torch.no_grad()
    def states(self, answers: list[list[str]], nothing: list[bool]) -> Float[Tensor, "P Q C"]:
        """What the queries shall say that have such words for answers."""
        start = state_of_nothing(self.encoder, self.tokenizer)
        states = start.repeat(len(answers), len(answers[0]), 1)
        words = [row[: len(self.names)] for row in answers]
        states[:, : len(self.names)] = states_of_words(
            self.encoder, self.tokenizer, words, self.names, self.groups
        )
        states[nothing] = start
        return states


@dataclass(frozen=True)
class Lesson:
    """What the rungs hold for many prompts, in half precision, and what is to be said of it.

    A prompt takes 2 N Q D bytes of the CPU's memory.
    """

    states: Float[Tensor, "N P Q D"]
    targets: Float[Tensor, "P Q C"]

    @classmethod
    def of(
        cls, ladder: Ladder, words: Words, asked: Iterable[WarmupPrompts], batches: int
    ) -> Lesson:
        """Let the MLLM read all prompts that are `asked`, in so many batches."""
        states, targets = [], []
        for batch in tqdm(asked, "prompts for warm-up", batches, unit="batch", mininterval=1.0):
            held, answers = answered(ladder, batch.to(ladder.device).prompts)
            states.append(held.half().cpu())
            targets.append(words.states(answers, batch.nothing).half())
        return cls(torch.cat(states, 1), torch.cat(targets))


@torch.no_grad()
def answered(ladder: Ladder, prompts: Prompts) -> tuple[Float[Tensor, "N P Q D"], list[list[str]]]:
    """What the rungs hold before the connectors, and the MLLM's word at each query."""
    understanding, taps = ladder.understanding, ladder.taps
    layers = (*taps.layers, NORM)
    both = Taps("list", layers, len(layers), taps.depth)
    *read, last = understanding.rungs(prompts, ladder.queries, both)
    ids = understanding.mllm.lm_head(last).argmax(-1)
    decode = understanding.prompter.tokenizer.decode
    answers = [[decode(token) for token in row] for row in ids.tolist()]
    return ladder.mixture(torch.stack(read).to(ladder.queries.dtype)), answers


def teach(ladder: Ladder, lesson: Lesson, chosen: ConnectorWarmup, seed: int) -> list[float]:
    """Train the connectors on random batches of the lesson; returns the mean squared errors.

    By Muon on their matrices and AdamW on the rest, at rates that fall to 0: by AdamW alone, 300
    steps ended at an error of .105 instead of .076 (experiments/LOG.md).
    """
    connector = ladder.connector
    scale_to(ladder, lesson.targets)
    optimizer = muon_and_adamw(connector.named_parameters(), chosen.muon_lr, chosen.lr)
    draw = torch.Generator().manual_seed(seed)
    progress = trange(chosen.steps, desc="connector warm-up", unit="step", mininterval=1.0)
    losses: list[float] = []
    for step in progress:
        for group, peak in zip(optimizer.groups, optimizer.peaks, strict=True):
            group["lr"] = peak * (1 - step / chosen.steps)
        rows = torch.randint(len(lesson.targets), (chosen.batch,), generator=draw)
        said = connector(lesson.states[:, rows].to(ladder.queries))
        loss = F.mse_loss(said, lesson.targets[rows].to(said).expand_as(said))
        optimizer.step_on(loss)
        losses.append(loss.item())
        progress.set_postfix(loss=f"{losses[-1]:.4f}", refresh=False)
    connector.zero_grad(set_to_none=True)
    return losses


@torch.no_grad()
def scale_to(ladder: Ladder, target: Float[Tensor, "P Q C"]) -> None:
    """Let the connectors, whose last part is a norm, begin at the scale of what they shall say."""
    for norm in ladder.connector.modules():
        if isinstance(norm, nn.RMSNorm):
            norm.weight.fill_(target.float().square().mean().sqrt())
