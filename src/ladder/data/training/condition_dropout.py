"""What a sample is conditioned on at one step: classifier-free guidance needs some conditions gone.

One uniform draw decides over text and picture together, so that each of the three branches of dual
guidance is trained at its own rate. It is drawn anew at every step: a sample without its caption
today has it tomorrow. The rates and the layout of the draw are those of the published code.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from ladder.config.load import ConditionDropout


@dataclass(frozen=True)
class Conditions:
    """What the MLLM is shown."""

    caption: str
    """Empty where it was dropped."""
    images: tuple[Image.Image, ...]
    """The source pictures; black ones of the same sizes where they were dropped."""


def drop(
    caption: str, images: tuple[Image.Image, ...], dropout: ConditionDropout, draw: float
) -> Conditions:
    """The conditions of a sample for a uniform `draw` from [0, 1).

    Without images the text is dropped below `t2i_text`. With images the unit interval is laid out
    as text dropped, both dropped, images dropped, nothing dropped.
    """
    if not images:
        return Conditions("" if draw < dropout.t2i_text else caption, ())
    both = dropout.edit_text + dropout.edit_both
    text_dropped = draw < both
    images_dropped = dropout.edit_text <= draw < both + dropout.edit_image
    if images_dropped:
        images = tuple(Image.new("RGB", image.size) for image in images)
    return Conditions("" if text_dropped else caption, images)
