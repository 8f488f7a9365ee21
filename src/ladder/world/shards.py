"""Writes the toy world's raw sets, in the formats of the paper's data.

Text-to-image sets are webdataset tars (`png` + `txt`, and `json` with further true captions);
edit sets are a JSON list beside tars of images, as ShareGPT-4o-Image is laid out. As in the wild, a
few samples are broken on purpose: curation has to find them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import webdataset
from PIL import Image
from tqdm import tqdm

from ladder.config.files import replacing, write_text
from ladder.config.load import World
from ladder.world.edits import draw_edit
from ladder.world.render import render
from ladder.world.sampling import SCENE_KINDS, draw_caption, draw_kind
from ladder.world.scenes import Scene

HARD = ("position", "counting", "color_attr", "thought", "dense")
"""The only tags of captions in the small third-stage set, but for scenes of one object."""
FAULTS = ("truncated", "blank", "duplicate")
"""What is done to a broken sample: half a picture, no words, the picture of the one before."""

Record = dict[str, bytes]


def write(world: World, folder: Path) -> None:
    """Write the four raw sets below `folder`; the same settings give the same bytes."""
    write_captioned(folder / "t2i", world, world.t2i_samples, seed=0)
    write_edits(folder / "ti2i", world, world.edit_samples, seed=1)
    write_captioned(folder / "finetune_t2i", world, world.curated_samples, seed=2, tags=HARD)
    write_edits(folder / "finetune_ti2i", world, world.curated_samples, seed=3)


def write_captioned(
    folder: Path, world: World, samples: int, seed: int, tags: tuple[str, ...] | None = None
) -> None:
    rng = np.random.default_rng([world.seed, seed])
    previous = b""

    def record(_: int) -> Record:
        nonlocal previous
        kind = str(rng.choice([*SCENE_KINDS], p=[*SCENE_KINDS.values()]))
        scene = draw_kind(rng, kind)
        texts: list[str] = []
        while len(texts) < world.captions:
            caption = draw_caption(rng, scene, kind)
            if tags is None or caption.tag in tags or kind == "one":
                texts.append(caption.text)
        more = {"captions": texts[1:], "truth": {"scene": scene.to_json()}}
        parts = {"png": png(scene), "txt": texts[0].encode(), "json": to_json(more)}
        if rng.random() < world.faults:
            parts = _broken(parts, str(rng.choice(FAULTS)), previous)
        previous = parts["png"]
        return parts

    _write_tars(folder, samples, world.shard_samples, record)


def write_edits(folder: Path, world: World, samples: int, seed: int) -> None:
    rng = np.random.default_rng([world.seed, seed])
    listed: list[dict] = []

    def record(index: int) -> Record:
        edit = draw_edit(rng, world.captions)
        truth = {
            "before": edit.before.to_json(), "after": edit.after.to_json(), "kind": edit.kind,
        }  # fmt: skip
        listed.append(
            {
                "input_prompt": edit.instructions[0],
                "input_image": [f"{index:07d}.before.png"],
                "output_image": f"{index:07d}.after.png",
                "captions": edit.instructions[1:],
                "truth": truth,
            }
        )
        return {"before.png": png(edit.before), "after.png": png(edit.after)}

    _write_tars(folder, samples, world.shard_samples, record)
    write_text(folder / "text_and_image_to_image.json", to_json(listed).decode())


def _write_tars(
    folder: Path, samples: int, shard_samples: int, record: Callable[[int], Record]
) -> None:
    progress = tqdm(range(samples), desc=f"world {folder.name}", mininterval=5)
    for shard, indices in enumerate(_chunks(progress, shard_samples)):
        path = folder / f"{shard:05d}.tar"
        with (
            replacing(path) as part,
            webdataset.TarWriter(str(part), mtime=0, encoder=False) as tar,
        ):
            for index in indices:
                tar.write({"__key__": f"{index:07d}", **record(index)})


def _chunks(items: Iterable[int], size: int) -> Iterator[list[int]]:
    chunk: list[int] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _broken(parts: Record, fault: str, previous: bytes) -> Record:
    if fault == "truncated":
        return parts | {"png": parts["png"][: len(parts["png"]) // 2]}
    if fault == "blank":
        return parts | {"txt": b" "}
    return parts | {"png": previous or parts["png"]}


def png(scene: Scene) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(render(scene)).save(buffer, "png")
    return buffer.getvalue()


def to_json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
