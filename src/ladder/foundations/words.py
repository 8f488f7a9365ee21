"""Words as a generator's text encoder knows them, each in its place but without its neighbours.

The fields of a form have names, and one word fills each in. Within a text the encoder's state of a
word holds the words before it too, and what reads such states learns to look for a colour at the
shape behind it. A connector, which sees one token, can't put it there. So here each word stands
behind the names of the fields before it, whatever fills those in.

Letters: B forms, Q fields, C caption channels, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import Gemma2Model, PreTrainedTokenizerBase


def states_of_words(
    encoder: Gemma2Model,
    tokenizer: PreTrainedTokenizerBase,
    forms: Sequence[Sequence[str]],
    names: Sequence[str],
) -> Float[Tensor, "B Q C"]:
    """The state of the last token of each word behind the `names` of the fields before it.

    Words and names bring their own spaces; a word that has no token has the state of the one
    before it. All distinct words of all fields are read in one row: the names once, and then the
    words, each of which attends to the names before its field and to itself.
    """
    start = _start(tokenizer)
    named = [_tokens(tokenizer, name) for name in names]
    before = [*accumulate(map(len, named), initial=len(start))]
    places: dict[tuple[int, str], int] = {}
    rows = [[places.setdefault(place, len(places)) for place in enumerate(form)] for form in forms]
    ids = [*start, *chain.from_iterable(named)]
    positions = [*range(len(ids))]
    spans, last = [(0, 0, len(ids))], []
    for field, word in places:
        tokens, first = _tokens(tokenizer, word), len(ids)
        ids += tokens
        positions += range(before[field], before[field] + len(tokens))
        spans.append((before[field], first, len(ids)))
        last.append(len(ids) - 1 if tokens else before[field] - 1)
    mask = _mask(spans, len(ids)).to(encoder.device)
    bias = torch.zeros(mask.shape, dtype=encoder.dtype, device=mask.device)
    bias = bias.masked_fill(~mask, torch.finfo(encoder.dtype).min)[None, None]
    states = encoder(
        torch.tensor([ids], device=encoder.device),
        attention_mask={"full_attention": bias, "sliding_attention": bias},
        position_ids=torch.tensor([positions], device=encoder.device),
        use_cache=False,
    ).last_hidden_state[0]
    return states[torch.tensor(last, device=encoder.device)[torch.tensor(rows)]]


def state_of_nothing(
    encoder: Gemma2Model, tokenizer: PreTrainedTokenizerBase
) -> Float[Tensor, " C"]:
    """The state of the token that an empty text begins with; it is that of every text's first.

    Raises ValueError where an empty text has no token.
    """
    start = torch.tensor([_start(tokenizer)], device=encoder.device)
    return encoder(start).last_hidden_state[0, 0]


def _start(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    start = tokenizer("").input_ids
    if not start:
        raise ValueError("the tokenizer must begin a text with a token of its own, got none")
    return start


def _tokens(tokenizer: PreTrainedTokenizerBase, word: str) -> list[int]:
    return tokenizer(word, add_special_tokens=False).input_ids


def _mask(spans: Sequence[tuple[int, int, int]], tokens: int) -> Bool[Tensor, "T T"]:
    """Who sees whom: the tokens from `first` to `end` see those before them in this span, and the
    first `shared` ones of the row, for each (shared, first, end)."""
    mask = torch.zeros(tokens, tokens, dtype=torch.bool)
    for shared, first, end in spans:
        mask[first:end, :shared] = True
        mask[first:end, first:end] = torch.ones(end - first, end - first).tril().bool()
    return mask
