"""From texts and pictures to the tokens that the MLLM reads.

A prompt is the MLLM's own chat template around the user's text. What a user types stays text: the
template is split at its special tokens first and the text put in afterwards, through a tokenizer
that knows no special tokens, so `<|im_end|>` or `<|image_pad|>` in a caption are ordinary
characters. Nothing here needs the MLLM's weights, so that data workers can prepare batches.

Letters: B batch, T tokens (left padded), P patches of all pictures, F values of a patch,
I pictures, V visual tokens of a picture.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import takewhile
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    Qwen2VLImageProcessorPil,
)

HOLE = "\ue000"
"""Stands for the user's text while the template is rendered."""


@dataclass(frozen=True)
class Framing:
    """What is said around the user's text."""

    system: str
    opening: str
    """What the assistant's turn starts with."""
    text_tokens: int | None
    """The user's text is cut to this many tokens; None keeps it whole."""


LADDER = Framing(
    system="You will be given an image or its caption. Please describe the content of the image "
    "in detail in your own words.",
    opening="<|vision_start|>",
    text_tokens=256,
)
"""The prompt of the paper (section "Method"); the queries follow it."""
QUESTION = Framing(system="You are a helpful assistant.", opening="", text_tokens=None)
"""Plain conversation, with Qwen's own system text."""


@dataclass(frozen=True)
class Prompts:
    """A batch of prompts, left padded. It can be pickled."""

    input_ids: Int[Tensor, "B T"]
    attention_mask: Int[Tensor, "B T"]
    """1 for a token, 0 for padding."""
    position_ids: Int[Tensor, "3 B T"]
    """Temporal, row and column positions (mrope); 0 where padded."""
    pixel_values: Float[Tensor, "P F"] | None
    """Patches of all pictures, in the order of the prompts; None without pictures."""
    image_grid_thw: Int[Tensor, "I 3"] | None
    """Patches of every picture in time, height and width."""
    pictures: tuple[int, ...]
    """Of each of the B prompts, how many."""
    shared: int = 0
    """Tokens that all prompts begin with, without any picture: the turn of the system."""

    def __len__(self) -> int:
        return len(self.input_ids)

    def single(self, row: int) -> Prompts:
        """The prompt in one row, by itself and without padding."""
        own = self.attention_mask[row].bool()
        grids = pixels = None
        if self.pictures[row]:
            first = sum(self.pictures[:row])
            grids = self.image_grid_thw[first : first + self.pictures[row]]
            begin = int(self.image_grid_thw[:first].prod(1).sum())
            pixels = self.pixel_values[begin : begin + int(grids.prod(1).sum())]
        ids, mask = self.input_ids[row, own][None], self.attention_mask[row, own][None]
        positions = self.position_ids[:, row, own][:, None]
        return Prompts(ids, mask, positions, pixels, grids, self.pictures[row : row + 1])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Prompts:
        """The same prompts on another device."""
        return self._each(lambda value: value.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Prompts:
        """The same prompts in memory that a GPU reads by itself."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Prompts:
        """The same prompts with each tensor changed."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        changed = {n: change(value) for n, value in values.items() if isinstance(value, Tensor)}
        return replace(self, **changed)


class Prompter:
    """Builds `Prompts` with the tokenizer, chat template and picture size of an MLLM."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        image_processor: Qwen2VLImageProcessorPil | None,
        image_token: int | None,
    ) -> None:
        """Of an MLLM that reads text only, processor and token are None."""
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.image_token = image_token
        self._special = {token.content: id for id, token in tokenizer.added_tokens_decoder.items()}
        self._plain = _without_special_tokens(tokenizer)
        self._templates: dict[tuple[Framing, int], list[int | str]] = {}

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> Prompter:
        """Read tokenizer, chat template and picture size of the MLLM in `folder`.

        The PIL image processor is named outright: which backend transformers picks by itself
        depends on what else is installed, and their pixels differ.
        """
        image_token = getattr(AutoConfig.from_pretrained(folder), "image_token_id", None)
        processor = None
        if image_token is not None:
            processor = Qwen2VLImageProcessorPil.from_pretrained(folder)
        return cls(AutoTokenizer.from_pretrained(folder), processor, image_token)

    def see_by(self, tokens: int) -> None:
        """From now on every picture becomes about so many visual tokens, whatever its size.

        Its aspect ratio stays, so that both sides are rounded to whole tokens. Raises ValueError if
        the MLLM reads text only.
        """
        processor = self.image_processor
        if processor is None:
            raise ValueError(f"this MLLM reads text only, got {tokens} tokens for a picture")
        pixels = tokens * (processor.patch_size * processor.merge_size) ** 2
        processor.size = replace(processor.size, shortest_edge=pixels, longest_edge=pixels)

    def prepare(
        self,
        texts: Sequence[str],
        images: Sequence[Sequence[Image.Image]],
        framing: Framing = LADDER,
    ) -> Prompts:
        """Prompts for B texts with any number of pictures each, which come before the text.

        Pictures are resized by the image processor's own rule. Raises ValueError if there aren't
        as many lists of pictures as texts, for a picture over 200 times as long as wide, and for
        any picture if the MLLM reads text only.
        """
        if len(texts) != len(images):
            raise ValueError(
                f"every text needs its list of pictures (it may be empty), got {len(texts)} texts "
                f"and {len(images)} lists"
            )
        pictures = [picture for group in images for picture in group]
        if pictures and self.image_processor is None:
            raise ValueError(f"this MLLM reads text only, got {len(pictures)} pictures")
        pixels = self.image_processor(pictures, return_tensors="pt") if pictures else {}
        grids = pixels.get("image_grid_thw")
        upcoming = iter([] if grids is None else grids.tolist())
        rows = [
            self._row(text, [next(upcoming) for _ in group], framing)
            for text, group in zip(texts, images, strict=True)
        ]
        ids, mask, positions = _left_padded(rows, self.tokenizer.pad_token_id)
        counts, shared = tuple(map(len, images)), self._shared(rows)
        return Prompts(ids, mask, positions, pixels.get("pixel_values"), grids, counts, shared)

    def tokens(self, text: str) -> list[int]:
        """A user's text as ordinary tokens, none of them special."""
        return self._plain.encode(text).ids

    def _row(self, text: str, grids: list[list[int]], framing: Framing) -> _Row:
        if framing.text_tokens is not None:
            text = self._cut(text, framing.text_tokens)
        upcoming = iter(grids)
        ids: list[int] = []
        positions = []
        start = 0
        for piece in self._template(framing, len(grids)):
            if piece == self.image_token:
                place = self._grid_positions(next(upcoming))
                ids += [piece] * place.shape[1]
            else:
                new = [piece] if isinstance(piece, int) else self.tokens(piece.replace(HOLE, text))
                place = np.arange(len(new))[None].repeat(3, 0)
                ids += new
            positions.append(start + place)
            start += place.max(initial=-1) + 1
        if (left := len([*upcoming])) > 0:
            raise ValueError(
                f"the chat template of the MLLM must show every picture by token "
                f"{self.image_token}, got {left} of {len(grids)} pictures that it doesn't show"
            )
        return _Row(ids, np.concatenate(positions, axis=1))

    def _shared(self, rows: list[_Row]) -> int:
        """How many tokens all of several rows begin with; at least one of each stays its own."""
        if len(rows) == 1:
            return 0
        columns = zip(*(row.ids[:-1] for row in rows), strict=False)
        common = takewhile(lambda ids: {*ids} == {ids[0]} and ids[0] != self.image_token, columns)
        return sum(1 for _ in common)

    def _cut(self, text: str, tokens: int) -> str:
        """The longest beginning of whole characters that has at most `tokens` tokens."""
        encoding = self._plain.encode(text)
        return text[: encoding.offsets[tokens][0]] if len(encoding) > tokens else text

    def _template(self, framing: Framing, images: int) -> list[int | str]:
        """The chat as the ids of its special tokens and the text between them."""
        key = (framing, images)
        if key not in self._templates:
            content = [{"type": "image"}] * images + [{"type": "text", "text": HOLE}]
            if self.image_processor is None:
                content = HOLE  # templates of models without eyes know no list of parts
            chat = [
                {"role": "system", "content": framing.system},
                {"role": "user", "content": content},
            ]
            rendered = self.tokenizer.apply_chat_template(
                chat, tokenize=False, add_generation_prompt=True
            )
            if rendered.count(HOLE) != 1:
                raise ValueError(
                    "the chat template of the MLLM must show the user's text once, got "
                    f"{rendered.count(HOLE)} times"
                )
            longest_first = sorted(self._special, key=len, reverse=True)
            special = "|".join(re.escape(token) for token in longest_first)
            pieces = re.split(f"({special})", rendered + framing.opening)
            self._templates[key] = [self._special.get(piece, piece) for piece in pieces if piece]
        return self._templates[key]

    def _grid_positions(self, grid: list[int]) -> Int[np.ndarray, "3 V"]:
        """Positions of a picture's merged patches, counted from 0."""
        time, height, width = grid
        merge = self.image_processor.merge_size
        return np.indices((time, height // merge, width // merge)).reshape(3, -1)


@dataclass(frozen=True)
class _Row:
    ids: list[int]
    positions: Int[np.ndarray, "3 T"]


def _left_padded(
    rows: list[_Row], padding: int
) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"], Int[Tensor, "3 B T"]]:
    length = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), length), padding)
    mask = torch.zeros_like(ids)
    positions = torch.zeros(3, len(rows), length, dtype=torch.long)
    for index, row in enumerate(rows):
        start = length - len(row.ids)
        ids[index, start:] = torch.tensor(row.ids)
        mask[index, start:] = 1
        positions[:, index, start:] = torch.from_numpy(row.positions)
    return ids, mask, positions


def _without_special_tokens(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    bare = {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
    return Tokenizer.from_str(json.dumps(state | bare))
