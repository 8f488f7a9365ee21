"""`ladder observe geneval`: pictures in GenEval's folders to detections that `ladder score` reads.

The layout is the official one: IMAGES/<prompt, five digits>/samples/<four digits>.png. A row a
picture is appended as soon as it is there, and a run that was stopped goes on where it was.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import xxhash
from PIL import Image
from tqdm import tqdm

from ladder.config.files import read_json
from ladder.data.images import read_picture
from ladder.evaluation.json_files import dumps, read_json_lines
from ladder.evaluation.scorers.score_file import PICTURES
from ladder.evaluation.vlm_judges import Witness, identity
from ladder.evaluation.vlm_judges.observe import read_rows


@runtime_checkable
class Detector(Witness, Protocol):
    """Finds objects; `mask2former_clip.Mask2FormerClip` is one."""

    classes: frozenset[str]
    """What it can find."""

    def observe(self, picture: Image.Image, colored: set[str]) -> dict[str, list[dict[str, Any]]]:
        """Detections by class: box, score, and the colour for the classes `colored`."""
        ...


def observe_geneval(
    images: Path,
    prompts: Path,
    detector: Detector,
    output: Path,
    partial: bool = False,
    model: str | None = None,
) -> dict[str, int]:
    """Look at all pictures and write `output`; returns how many were seen, stored and missing.

    `model` is who drew, if it is known.

    Raises ValueError where a folder lacks pictures, unless `partial`, or holds another prompt, and
    for a class that the detector doesn't know.
    """
    rows = read_json_lines(prompts)
    wanted = {clause["class"] for row in rows for clause in row["include"]}
    if unknown := wanted - detector.classes:
        raise ValueError(f"the detector must know every class, not {', '.join(sorted(unknown))}")
    there = [(index, path) for index in range(len(rows)) for path in samples(images, index)]
    whole = [i for i in range(len(rows)) if len(samples(images, i)) >= PICTURES]
    if len(whole) < len(rows) and not (there and partial):
        raise ValueError(
            f"{len(whole)} of {len(rows)} folders of {images} have {PICTURES} pictures in samples/"
            + ("; --partial goes on without the rest" if there else "")
        )
    for index in {index for index, _ in there}:
        check_prompt(folder(images, index) / "metadata.jsonl", rows[index])
    seen = stored(output, detector)
    new = [(i, path) for i, path in there if fingerprint(path) not in seen]
    with output.open("a", encoding="utf-8") as file:
        for index, path in tqdm(new, desc="observe", unit="picture", disable=None):
            colored = {clause["class"] for clause in rows[index]["include"] if "color" in clause}
            found = detector.observe(read_picture(path), colored)
            row = {"prompt_index": index, "detections": found, "picture": fingerprint(path)}
            row |= {"benchmark": "geneval-hf", "partial": len(whole) < len(rows)}
            row |= {"model": model} if model else {}
            file.write(dumps(row | identity(detector)) + "\n")
            file.flush()
    return {"seen": len(new), "stored": len(there) - len(new),
            "missing": PICTURES * len(rows) - len(there)}  # fmt: skip


def folder(images: Path, index: int) -> Path:
    return images / f"{index:05}"


def samples(images: Path, index: int) -> list[Path]:
    """The pictures of a prompt."""
    found = (folder(images, index) / "samples").glob("*.png")
    return sorted(path for path in found if re.fullmatch(r"\d+", path.stem))


def check_prompt(path: Path, row: dict[str, Any]) -> None:
    """Raises ValueError if the folder was drawn for another prompt than `row`'s."""
    if path.is_file() and (found := read_json(path)) != row:
        raise ValueError(f"{path} must hold the prompt {row['prompt']!r}, got {found}")


def stored(output: Path, detector: Detector) -> set[str]:
    """The pictures that `output` has rows of.

    Raises ValueError for rows by another detector.
    """

    def same(row: dict[str, Any]) -> None:
        if row["judge_version"] != detector.version:
            raise ValueError(
                f"{output} holds rows by {row['judge_version']}, not by {detector.version}"
            )

    return {row["picture"] for row in read_rows(output, ("picture", "judge_version"), same)}


def fingerprint(path: Path) -> str:
    """Which picture it is, in which folder, with which bytes."""
    content = xxhash.xxh3_64_hexdigest(path.read_bytes())
    return f"{path.parent.parent.name}/{path.name} {content}"
