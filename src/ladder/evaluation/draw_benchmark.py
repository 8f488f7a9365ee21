"""`ladder draw`: a benchmark's pictures by a ladder, in the layout that `ladder observe` reads.

Noise depends on the seed, the prompt and its place alone, so that any number of processes, stopped
and started as they like, draw the same pictures. A picture that is there isn't drawn again; a
folder that was begun with another ladder or other settings is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from ladder.config.files import read_json, replacing, write_text
from ladder.data.images import read_picture
from ladder.evaluation.generate import noise
from ladder.evaluation.json_files import dumps
from ladder.evaluation.published import Drawing
from ladder.evaluation.vlm_judges.pictures import QUARTERS
from ladder.inference.pipeline import LadderPipeline

NOTE = "drawn.json"
"""In the folder of pictures: with which ladder and settings they are drawn."""


@dataclass(frozen=True)
class DrawSettings:
    """What pictures depend on besides the ladder and the prompts."""

    seed: int = 0
    steps: int = 20
    guidance: float = 3.0
    image_guidance: float = 1.5


@dataclass(frozen=True)
class Shard:
    """One of `count` processes that share the work."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"a shard is I/N with 0 <= I < N, got {self.index}/{self.count}")

    @classmethod
    def of(cls, text: str | None) -> Shard:
        """`I/N`, or by default that of torchrun or Slurm. Raises ValueError for another text."""
        if text is None:
            for rank, world in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")):
                if rank in os.environ and world in os.environ:
                    return cls(int(os.environ[rank]), int(os.environ[world]))
            return cls()
        index, slash, count = text.partition("/")
        if not (slash and index.isdecimal() and count.isdecimal()):
            raise ValueError(f"a shard is I/N, such as 0/4, got {text}")
        return cls(int(index), int(count))


def draw_benchmark(
    pipeline: LadderPipeline,
    ladder: str,
    drawings: Sequence[Drawing],
    out: Path,
    settings: DrawSettings,
    shard: Shard | None = None,
    batch: int = 8,
) -> dict[str, int]:
    """Draw what isn't there yet; returns how many pictures were drawn, and how many were there.

    `ladder` says which one draws; it stands in the note. Raises ValueError for a folder that was
    begun otherwise, and for an original that can't be used.
    """
    check_note(out / NOTE, {"ladder": ladder} | asdict(settings))
    shard = shard or Shard()
    own = [one for one in drawings if one.item % shard.count == shard.index]
    new = [one for one in own if not (out / one.path).is_file()]
    pipeline.set_progress_bar_config(disable=True)
    with tqdm(total=len(new), desc="draw", unit="picture", disable=None) as bar:
        for part in batches(new, batch):
            for one, picture in zip(part, drawn(pipeline, part, out, settings), strict=True):
                for path, content in one.beside.items():
                    if isinstance(content, str):
                        write_text(out / path, content, shared=True)
                    else:
                        save(content(), out / path)
                save(picture, out / one.path)  # last: where it is, all is there
            bar.update(len(part))
    return {"drawn": len(new), "there before": len(own) - len(new)}


def check_note(path: Path, note: dict[str, Any]) -> None:
    """Write down how a folder is drawn, or compare it with what is written there."""
    if path.is_file():
        if (found := read_json(path)) != note:
            raise ValueError(f"{path.parent} is drawn with {found}, not with {note}")
    else:
        write_text(path, dumps(note, indent=1) + "\n", shared=True)


def batches(drawings: Sequence[Drawing], size: int) -> Iterator[list[Drawing]]:
    """Parts that don't wait for pictures of themselves: turns of an edit come one by one."""
    part: list[Drawing] = []
    for one in sorted(drawings, key=turn):
        if part and (len(part) == size or turn(part[-1]) != turn(one)):
            yield part
            part = []
        part.append(one)
    if part:
        yield part


def turn(drawing: Drawing) -> int:
    """Of an edit that goes on from the one before; 0 for all others."""
    return int(drawing.path.stem.rpartition("_")[2]) if drawing.after else 0


def drawn(
    pipeline: LadderPipeline, part: Sequence[Drawing], out: Path, settings: DrawSettings
) -> list[Image.Image]:
    """The pictures of a part; four for a grid, put together."""
    texts, sources, generators = [], [], []
    for one in part:
        count = QUARTERS if one.grid else one.noise + 1
        places = range(QUARTERS) if one.grid else [one.noise]
        source = source_of(one, out)
        own = noise(one.text, one.item, count, settings.seed)
        texts += [one.text] * len(places)
        sources += [source] * len(places)
        generators += [own[place] for place in places]
    # Edits of other shapes can't be drawn together.
    sizes = [pipeline.size_for([source] if source else []) for source in sources]
    found: dict[int, Image.Image] = {}
    for size in dict.fromkeys(sizes):
        places = [place for place, own in enumerate(sizes) if own == size]
        images = pipeline(
            [texts[place] for place in places],
            image=[sources[place] for place in places],
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance,
            image_guidance_scale=settings.image_guidance,
            generator=[generators[place] for place in places],
        ).images
        found |= zip(places, images, strict=True)
    pictures = (found[place] for place in range(len(found)))
    return [
        grid_of([next(pictures) for _ in range(QUARTERS)]) if one.grid else next(pictures)
        for one in part
    ]


def source_of(drawing: Drawing, out: Path) -> Image.Image | None:
    """The picture that is edited."""
    if drawing.after:
        return read_picture(out / drawing.after)
    if isinstance(drawing.source, Path):
        return read_picture(drawing.source)
    return drawing.source() if drawing.source else None


def grid_of(pictures: Sequence[Image.Image]) -> Image.Image:
    """Four pictures of one size, row by row."""
    a, b, c, d = (np.asarray(picture) for picture in pictures)
    return Image.fromarray(np.vstack([np.hstack([a, b]), np.hstack([c, d])]))


def save(picture: Image.Image, path: Path) -> None:
    """Write a PNG whole, so that a file that is there is a picture."""
    with replacing(path, shared=True) as part:
        picture.save(part, format="PNG")
