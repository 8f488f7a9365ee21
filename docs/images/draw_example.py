"""Draw docs/images/example.png, the first picture of the README, with the shipped ladder.

    .venv/bin/python docs/images/draw_example.py

It shows one prompt of each kind with seed 0: what is typed stands above the picture that comes out.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import torch
from PIL import Image

from ladder.inference.open import open_ladder

FOLDER = Path(__file__).parent
GENERATE = "a red star left of a blue circle"
REASON = "a picture of a heart in the color of a tangerine"
EDIT = "paint the star yellow"
ASK = "what color is the circle?"


def main() -> None:
    """Draw, edit and ask, and lay the outcomes side by side."""
    pipeline = open_ladder(None)
    pipeline.set_progress_bar_config(disable=True)

    def draw(prompt: str, image: Image.Image | None = None) -> Image.Image:
        seed = torch.Generator().manual_seed(0)
        return pipeline(prompt, image=image, generator=seed).images[0]

    first = draw(GENERATE)
    answer = pipeline.ladder.understanding.ask(first, ASK)
    panels = [
        ("generate", GENERATE, first),
        ("generate, with reasoning", REASON, draw(REASON)),
        ("edit the first", EDIT, draw(EDIT, first)),
        ("ask about the first", f"{ASK} {answer}", first),
    ]
    figure, axes = plt.subplots(1, len(panels), figsize=(10, 3))
    for axis, (verb, words, picture) in zip(axes, panels, strict=True):
        axis.imshow(picture, interpolation="lanczos")
        axis.set_title(verb, fontsize=11, fontweight="bold")
        axis.set_xlabel(words, fontsize=8.5)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_color("0.7")
    figure.tight_layout()
    figure.savefig(FOLDER / "example.png", dpi=144, metadata={"Software": None})


if __name__ == "__main__":
    main()
