"""A table of attention in HTML, dark where a block looks, and names for what it looks at.

Letters: N blocks, Q queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import torch
from jaxtyping import Float
from torch.nn import functional as F

from ladder.models.ladder import Ladder


def attention_table(
    attention: Float[np.ndarray, "N Q"], rungs: Sequence[str], queries: Sequence[str], title: str
) -> str:
    """One row a block, one column a query; each cell has its share as a number, too."""
    highest = attention.max()
    head = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in queries)
    rows = "".join(
        f'<tr><th scope="row">{escape(rung)}</th>{_cells(shares, highest)}</tr>'
        for rung, shares in zip(rungs, attention, strict=True)
    )
    return (
        f'<div class="attention" role="region" aria-label="Attention" tabindex="0"><table>'
        f"<caption>{escape(title)}, in percent of what a block sees</caption>"
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


@torch.no_grad()
def query_words(ladder: Ladder) -> list[str]:
    """For each query its number and the token whose embedding it is most like."""
    understanding = ladder.understanding
    embeddings = understanding.mllm.get_input_embeddings().weight.float()
    nearest = (F.normalize(ladder.queries.float()) @ F.normalize(embeddings).T).argmax(1)
    tokenizer = understanding.prompter.tokenizer
    words = (tokenizer.decode([token]).strip() for token in nearest.tolist())
    return [f"{number} {word}" for number, word in enumerate(words, start=1)]


def _cells(shares: Float[np.ndarray, " Q"], highest: float) -> str:
    """Cells with their percents, dark by the root of their share of the highest one: often one
    query gets most of the attention, and the others would be all alike."""
    return "".join(
        f'<td style="--share:{(share / highest) ** 0.5:.2f}">{100 * share:.0f}</td>'
        for share in shares
    )
