"""Words as a generator's text encoder knows them, each with those that it belongs to.

The fields of a template have names, and one word fills each in. Within a text the encoder's state
of a word holds the words before it, and what reads such states looks for a colour at the shape
behind it. A connector sees one token, whose state in the MLLM holds what the word belongs to (of a
shape its colour), but not the whole text. So here each word stands behind the words of its own
group, and these behind the names of the fields before them, whatever fills those in.

Letters: B templates, Q fields, C caption channels, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain, pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import Gemma2Model, PreTrainedTokenizerBase


def states_of_words(
    encoder: Gemma2Model,
    tokenizer: PreTrainedTokenizerBase,
    templates: Sequence[Sequence[str]],
    names: Sequence[str],
    groups: Sequence[int],
) -> Float[Tensor, "B Q C"]:
    """The state of the last token of each word behind its group's words before it, and behind the
    `names` of the fields before the group.

    Words and names bring their own spaces; a word that has no token has the state of the one before
    it. `groups` are the numbers of fields that belong together, in their order. All distinct groups
    are read in one row: the names once, and then the words of each group, which attend to the names
    before them and to each other. Raises ValueError where there are more fields than in all groups.
    """
    if len(names) > sum(groups):
        raise ValueError(f"groups must hold all {len(names)} fields, got {[*groups]}")
    start = _start(tokenizer)
    named = [_tokens(tokenizer, name) for name in names]
    before = [*accumulate(map(len, named), initial=len(start))]
    cuts = [*pairwise(min(cut, len(names)) for cut in accumulate(groups, initial=0))]
    distinct: dict[tuple[int, tuple[str, ...]], int] = {}
    rows = [
        [distinct.setdefault((cut[0], tuple(template[slice(*cut)])), len(distinct)) for cut in cuts]
        for template in templates
    ]
    ids = [*start, *chain.from_iterable(named)]
    positions = [*range(len(ids))]
    spans, ends = [(0, 0, len(ids))], []
    for field, words in distinct:
        shared, first = before[field], len(ids)
        tokens = [_tokens(tokenizer, word) for word in words]
        lengths = accumulate(map(len, tokens))
        ends.append([first + length - 1 if length else shared - 1 for length in lengths])
        ids += chain.from_iterable(tokens)
        positions += range(shared, shared + len(ids) - first)
        spans.append((shared, first, len(ids)))
    last = [[*chain.from_iterable(ends[i] for i in row)] for row in rows]
    mask = _mask(spans, len(ids)).to(encoder.device)
    bias = torch.zeros(mask.shape, dtype=encoder.dtype, device=mask.device)
    bias = bias.masked_fill(~mask, torch.finfo(encoder.dtype).min)[None, None]
    states = encoder(
        torch.tensor([ids], device=encoder.device),
        attention_mask={"full_attention": bias, "sliding_attention": bias},
        position_ids=torch.tensor([positions], device=encoder.device),
        use_cache=False,
    ).last_hidden_state[0]
    return states[torch.tensor(last, device=encoder.device)]


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
