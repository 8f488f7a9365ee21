"""The folders in which published benchmarks want pictures, with what is asked about each.

dpg      IMAGES/<item_id>.png, four pictures as a 2 x 2 grid; the questions are the benchmark's CSV
tiif     IMAGES/<dimension>/<model>/{short,long}_description/<row>.png; the questions are a folder
         of `*_eval_prompts.jsonl`, or one such file
imgedit  IMAGES/<key>.png beside a folder of originals; the edits are `basic_edit.json`, and a file
         of prompts says by the type of an edit what the judge is told

DPG's and TIIF's questions are put one at a time. (TIIF's own script puts all those of a picture
into one request, and asks again for ever if it gets another number of answers.)
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ladder.evaluation.vlm_judges import plain

YES_OR_NO = "{question} Answer yes or no."
EDIT = "<edit_prompt>"
"""Where ImgEdit's prompts take the instruction."""
LENGTHS = ("short", "long")
Pictures = tuple[Image.Image, ...]


@dataclass(frozen=True)
class Item:
    """One picture of a benchmark, or one grid, and its questions."""

    key: str
    files: tuple[Path, ...]
    """All must be there."""
    texts: tuple[str, ...]
    about: Mapping[str, Any]
    """What the observations say of it besides the answers."""


@dataclass(frozen=True)
class Layout:
    """A benchmark's items in a folder, and how what is seen in them is written."""

    benchmark: str
    items: Sequence[Item]
    views: Callable[[Pictures], Sequence[Pictures]]
    """What of an item's files is looked at together, for each question."""
    write: Callable[[Sequence[tuple[Item, list[str]]], dict[str, Any]], str]
    """The file that `ladder score` reads, from answers (view by view) and what is said of all."""
    prompt: str = "{question}"
    """What is said around a question."""
    template: str = ""
    """What the benchmark itself brings of the judge's prompt."""


def dpg(images: Path, questions: Path) -> Layout:
    """DPG-Bench. Raises ValueError for questions without the columns that are read."""
    asked: dict[str, dict[str, str]] = {}
    for row in csv.DictReader(questions.read_text().splitlines(keepends=True)):
        for column in ("item_id", "proposition_id", "question_natural_language"):
            if row.get(column) is None:
                raise ValueError(f"{questions} needs a column {column}, got {', '.join(row)}")
        texts = asked.setdefault(row["item_id"], {})
        texts[row["proposition_id"]] = row["question_natural_language"]
    items = [
        Item(name, (images / f"{name}.png",), tuple(texts.values()), {"numbers": (*texts,)})
        for name, texts in asked.items()
    ]
    return Layout("dpg", items, quarters, write_dpg, YES_OR_NO)


def quarters(pictures: Pictures) -> list[Pictures]:
    """The four pictures of a grid; raises ValueError for one that has no two equal halves."""
    (grid,) = pictures
    if grid.width % 2 or grid.height % 2:
        raise ValueError(f"a 2 x 2 grid has even sides, got {grid.width} x {grid.height}")
    width, height = grid.width // 2, grid.height // 2
    corners = [(x, y) for y in (0, height) for x in (0, width)]
    return [(grid.crop((x, y, x + width, y + height)),) for x, y in corners]


def write_dpg(answered: Sequence[tuple[Item, list[str]]], about: dict[str, Any]) -> str:
    prompts = []
    # An item without answers is left out: the scorer counts it as missing by the table.
    for item, answers in ((item, answers) for item, answers in answered if answers):
        numbers = item.about["numbers"]
        said = [plain(answer) for answer in answers]
        pictures = [said[i : i + len(numbers)] for i in range(0, len(said), len(numbers))]
        seen = [dict(zip(numbers, picture, strict=True)) for picture in pictures]
        prompts.append({"item_id": item.key, "answers": seen})
    return json.dumps(about | {"prompts": prompts}) + "\n"


def tiif(images: Path, questions: Path, model: str) -> Layout:
    """TIIF-Bench; `model` is the name of the folder of the model that drew the pictures."""
    files = sorted(questions.glob("*.jsonl")) if questions.is_dir() else [questions]
    rows: dict[str, list[dict[str, Any]]] = {}
    for line in (line for file in files for line in file.read_text().splitlines()):
        row = json.loads(line)
        missing = {"type", "yn_question_list", "yn_answer_list"} - {*row}
        if missing:
            raise ValueError(f"{questions}: a row needs {', '.join(sorted(missing))}, got {line}")
        rows.setdefault(row["type"], []).append(row)
    items = []
    for length in LENGTHS:
        for attribute, group in rows.items():
            folder = images / attribute / model / f"{length}_description"
            for index, row in enumerate(group):
                about = {"attribute": attribute, "length": length, "row": index,
                         "expected": row["yn_answer_list"], "model": model}  # fmt: skip
                key = f"{attribute}/{length}/{index}"
                texts = tuple(text.strip() for text in row["yn_question_list"])
                items.append(Item(key, (folder / f"{index}.png",), texts, about))
    return Layout("tiif", items, together, write_tiif, YES_OR_NO)


def together(pictures: Pictures) -> list[Pictures]:
    return [pictures]


def write_tiif(answered: Sequence[tuple[Item, list[str]]], about: dict[str, Any]) -> str:
    records = [
        dict(item.about) | {"answered": [plain(answer) for answer in answers]}
        for item, answers in answered
    ]
    model = records[0]["model"] if records else None
    return json.dumps(about | {"model": model, "records": records}) + "\n"


def imgedit(images: Path, questions: Path, prompts: Path, originals: Path) -> Layout:
    """ImgEdit-Bench. Raises ValueError for a type of edit without a prompt."""
    templates = json.loads(prompts.read_text())
    items = []
    for key, edit in json.loads(questions.read_text()).items():
        kind = edit["edit_type"]
        if kind not in templates:
            raise ValueError(f"{prompts} needs a prompt for {kind}, got {', '.join(templates)}")
        text = templates[kind].replace(EDIT, edit["prompt"])
        files = originals / edit["id"], images / f"{key}.png"
        items.append(Item(key, files, (text,), {"type": kind}))
    template = json.dumps(templates, sort_keys=True)
    return Layout("imgedit", items, together, write_imgedit, template=template)


def write_imgedit(answered: Sequence[tuple[Item, list[str]]], about: dict[str, Any]) -> str:
    """A list as the scorer reads it; who judged is said on every item."""
    items = [
        {"name": item.key, "judge_text": "".join(answers), "type": item.about["type"]} | about
        for item, answers in answered
    ]
    return json.dumps(items, indent=1) + "\n"
