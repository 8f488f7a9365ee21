"""Which conversations each training of the MLLM draws, and how often."""

from __future__ import annotations

from dataclasses import dataclass, field

from ladder.world import questions


@dataclass(frozen=True)
class ConversationMix:
    """What a training draws its conversations from."""

    rows: dict[str, float]
    """Share of rows about changing a picture, about a picture, and about a caption."""
    edits: dict[str, int]
    """How often each kind of edit is drawn: those that change several cells need more practice."""
    questions: dict[str, int]
    """How often each kind of question is drawn."""
    reasoning: dict[str, float] = field(default_factory=dict)
    """Share of the captions that are each kind of reasoning prompt, beside those that come among
    the others.
    """
    blank: bool = False
    """Fields of which nothing is said are left open: what a short caption doesn't tell, and what is
    asked for where a picture tells all. Otherwise those are imagined, these not asked.
    """


EDIT_KINDS = {
    "recolor": 2, "replace": 1, "remove": 3, "add": 1, "move": 4, "background": 1, "swap": 4,
}  # fmt: skip
BASE = ConversationMix(
    rows={"edits": 0.5, "questions": 0.2, "captions": 0.3},
    edits=EDIT_KINDS,
    questions=dict.fromkeys(questions.KINDS, 1),
)
FOUND = ConversationMix(
    rows={"edits": 0.38, "questions": 0.42, "captions": 0.2},
    edits=EDIT_KINDS,
    questions=BASE.questions | {"exists": 2, "color": 2, "shape": 2, "where": 2},
)
"""More of what is found by what it is: that is learned later than what is found by its place."""
TUNED = ConversationMix(
    rows={"edits": 0.48, "questions": 0.27, "captions": 0.25},
    edits=EDIT_KINDS | {"recolor": 4, "replace": 5, "move": 5, "swap": 8},
    questions=BASE.questions | {"count": 2, "count_shape": 5, "count_color": 3, "what_at": 3},
    reasoning={"reference": 0.1, "color_fact": 0.05, "arithmetic": 0.05},
    blank=True,
)
"""More of what is still wrong after that, and templates that say where they say nothing."""
