"""The folders in which published benchmarks want pictures, with what is asked about each.

dpg      IMAGES/<item_id>.png, four pictures as a 2 x 2 grid; the questions are the benchmark's CSV
tiif     IMAGES/<dimension>/<model>/{short,long}_description/<row>.png; the questions are a folder
         of `*_eval_prompts.jsonl`, or one such file
imgedit  IMAGES/<key>.png beside a folder of originals; the edits are `basic_edit.json`, and a file
         of prompts says by the type of an edit what the judge is told

DPG's and TIIF's questions are put one at a time. (TIIF's own script puts all those of a picture
into one request, and asks again for ever if it gets another number of answers.) The newer suites
are in `suites`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ladder.config.files import read_json
from ladder.evaluation.json_files import dumps, read_csv, read_json_lines
from ladder.evaluation.scorers import imgedit as imgedit_scorer
from ladder.evaluation.scorers.judge_text import yes_or_no
from ladder.evaluation.vlm_judges import Answer, JudgeQuestion
from ladder.evaluation.vlm_judges.pictures import QUARTERS, JudgePicture, quarters

YES_OR_NO = "{question} Answer yes or no."
EDIT = "<edit_prompt>"
"""Where ImgEdit's prompts take the instruction."""
LENGTHS = ("short", "long")


@dataclass(frozen=True)
class Item:
    """One picture of a benchmark, or one grid, and its questions."""

    key: str
    files: tuple[Path, ...]
    """All must be there."""
    questions: tuple[JudgeQuestion, ...]
    about: Mapping[str, Any]
    """What the observations say of it besides the answers."""


Answered = Sequence[tuple[Item, Sequence[Answer]]]
"""The items with what was answered; nothing about one whose pictures are missing."""


@dataclass(frozen=True)
class Layout:
    """A benchmark's items in a folder, and how what is seen in them is written."""

    benchmark: str
    items: Sequence[Item]
    write: Callable[[Answered, dict[str, Any]], str]
    """The file that `ladder score` reads, from the answers and what is said of all."""
    prompt: str = "{question}"
    """What is said around a question."""
    template: str = ""
    """What the benchmark itself brings of the judge's prompt."""
    max_tokens: int = 512
    """Of an answer, unless the user says otherwise."""


def write_items(answered: Answered, about: dict[str, Any]) -> str:
    """An object with a list of items; every answer with its status. The newer suites' form."""
    items = [
        {"key": item.key} | dict(item.about) | {"answers": [answer.as_row() for answer in answers]}
        for item, answers in answered
    ]
    return dumps(about | {"items": items}, indent=1) + "\n"


def dpg(images: Path, questions: Path) -> Layout:
    """DPG-Bench. Raises ValueError for questions without the columns that are read."""
    asked: dict[str, dict[str, str]] = {}
    for row in read_csv(questions):
        for column in ("item_id", "proposition_id", "question_natural_language"):
            if row.get(column) is None:
                raise ValueError(f"{questions} needs a column {column}, got {', '.join(row)}")
        texts = asked.setdefault(row["item_id"], {})
        texts[row["proposition_id"]] = row["question_natural_language"]
    items = []
    for name, texts in asked.items():
        file = images / f"{name}.png"
        put = tuple(
            JudgeQuestion((picture,), text, yes_or_no)
            for picture in quarters(file)
            for text in texts.values()
        )
        items.append(Item(name, (file,), put, {"numbers": (*texts,)}))
    return Layout("dpg", items, write_dpg, YES_OR_NO)


def write_dpg(answered: Answered, about: dict[str, Any]) -> str:
    """A picture of which an answer is missing is missing itself: its graph can't be followed."""
    prompts = []
    for item, answers in answered:
        numbers = item.about["numbers"]
        pictures = [answers[i : i + len(numbers)] for i in range(0, len(answers), len(numbers))]
        whole = [group for group in pictures if not any(answer.failed for answer in group)]
        seen = [
            {number: yes_or_no(one.text) for number, one in zip(numbers, group, strict=True)}
            for group in whole
        ]
        # An item without pictures is left out: the scorer counts it as missing by the table.
        if seen:
            prompts.append({"item_id": item.key, "answers": seen})
    return dumps(about | {"pictures": QUARTERS, "prompts": prompts}) + "\n"


def tiif(images: Path, questions: Path, model: str) -> Layout:
    """TIIF-Bench; `model` is the name of the folder of the model that drew the pictures.

    Raises ValueError for a row without type, questions or answers.
    """
    files = sorted(questions.glob("*.jsonl")) if questions.is_dir() else [questions]
    rows: dict[str, list[dict[str, Any]]] = {}
    for path, row in [(file, row) for file in files for row in read_json_lines(file)]:
        missing = {"type", "yn_question_list", "yn_answer_list"} - {*row}
        if missing:
            needed = ", ".join(sorted(missing))
            raise ValueError(f"{path}: a row needs {needed}, got {json.dumps(row)}")
        rows.setdefault(row["type"], []).append(row)
    items = []
    for length in LENGTHS:
        for attribute, group in rows.items():
            folder = images / attribute / model / f"{length}_description"
            for index, row in enumerate(group):
                about = {"attribute": attribute, "length": length, "row": index,
                         "expected": row["yn_answer_list"], "model": model}  # fmt: skip
                file = folder / f"{index}.png"
                picture = JudgePicture(file)
                put = tuple(
                    JudgeQuestion((picture,), text.strip(), yes_or_no)
                    for text in row["yn_question_list"]
                )
                items.append(Item(f"{attribute}/{length}/{index}", (file,), put, about))
    return Layout("tiif", items, write_tiif, YES_OR_NO)


def write_tiif(answered: Answered, about: dict[str, Any]) -> str:
    """An answer that is missing, or failed, is written as null, in its place."""
    records = []
    for item, answers in answered:
        said = [None if one.failed else yes_or_no(one.text) for one in answers]
        records.append(dict(item.about) | {"answered": said or [None] * len(item.questions)})
    model = {"model": records[0]["model"]} if records else {}
    return dumps(about | model | {"records": records}) + "\n"


def imgedit(images: Path, questions: Path, prompts: Path, originals: Path) -> Layout:
    """ImgEdit-Bench. Raises ValueError for a type of edit without a prompt."""
    templates = read_json(prompts)
    items = []
    for key, edit in read_json(questions).items():
        kind = edit["edit_type"]
        if kind not in templates:
            raise ValueError(f"{prompts} needs a prompt for {kind}, got {', '.join(templates)}")
        text = templates[kind].replace(EDIT, edit["prompt"])
        files = originals / edit["id"], images / f"{key}.png"
        pictures = tuple(JudgePicture(file) for file in files)
        put = JudgeQuestion(pictures, text, imgedit_scorer.fixed)
        items.append(Item(key, files, (put,), {"type": kind}))
    template = json.dumps(templates, sort_keys=True)
    return Layout("imgedit", items, write_imgedit, template=template)


def write_imgedit(answered: Answered, about: dict[str, Any]) -> str:
    """A list as the scorer reads it; who judged, and what failed, is said on every item."""
    items = []
    for item, answers in answered:
        row = answers[0].as_row() if answers else {"text": ""}
        items.append(
            {"name": item.key, "judge_text": row.pop("text"), "type": item.about["type"]}
            | about
            | row
        )
    return dumps(items, indent=1) + "\n"
