"""What to say to the ladder: examples, the vocabulary of its world, and words that it lacks.

The examples are worded as the captions, instructions and questions of training are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ladder.inference.pipeline import LadderPipeline
from ladder.world.language import NUMBERS, PLACES, RELATIONS
from ladder.world.scenes import BACKGROUNDS, COLORS, SHAPES, SIZES

EXAMPLES = {
    "generate": (
        "a red star to the left of a blue circle",
        "three purple hearts",
        "a photo of a green square above a yellow triangle",
        "a white cross and a black circle",
        "an orange star at the left, a pink heart at the right, on a mint background",
        "a star in the color of the sky",
    ),
    "edit": (
        "make the star green",
        "remove the circle",
        "replace the circle with a heart",
        "move the star to the bottom left",
        "add a small black cross at the top right",
        "make the background mint",
    ),
    "ask": (
        "what color is the star?",
        "where is the circle?",
        "how many objects are there?",
        "is there a blue circle?",
        "what is the background?",
        "what is at the center?",
    ),
}


def vocabulary() -> str:
    """What the toy world knows, in Markdown."""
    kinds = {
        "Shapes": SHAPES,
        "Colors": COLORS,
        "Sizes": SIZES,
        "Numbers": NUMBERS[1:6],
        "Places": (f"at the {ways[0]}" for ways in PLACES),
        "Relations": RELATIONS,
        "Backgrounds": (f"on a {name} background" for name in BACKGROUNDS),
    }
    lines = [f"- **{kind}:** {', '.join(words)}" for kind, words in kinds.items()]
    return "\n".join(
        [
            "The ladder that comes with the repository was trained on a toy world of coloured "
            "shapes, on a grid of three rows and three columns. It knows nothing else.",
            "",
            *lines,
            f"- **Edits:** {_quoted(EXAMPLES['edit'])}",
            f"- **Questions:** {_quoted(EXAMPLES['ask'])}",
        ]
    )


def notes(pipeline: LadderPipeline, text: str) -> list[str]:
    """What a user should know of a text: which of its words the MLLM has no token for."""
    tokens = pipeline.ladder.understanding.prompter.tokens
    words = dict.fromkeys(re.findall(r"[^\W\d_]+", text))
    # A word has another token at the beginning of a text than behind a space.
    pieces = [word for word in words if min(len(tokens(word)), len(tokens(f" {word}"))) > 1]
    if not pieces:
        return []
    return [f"The language model has no word of its own for: {', '.join(pieces)}."]


def _quoted(texts: Iterable[str]) -> str:
    return ", ".join(f"“{text}”" for text in texts)
