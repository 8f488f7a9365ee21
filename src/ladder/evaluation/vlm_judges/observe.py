"""`ladder observe`: pictures in a benchmark's folders to observations that `ladder score` reads.

Every item's answers are appended to a file of rows, beside the observations, as soon as they are
there, with who gave them; a run that was stopped goes on where it was. A folder that lacks pictures
is refused, or marked: the missing ones stay in the observations, without answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import xxhash
from tqdm import tqdm

from ladder.data.images import read_picture
from ladder.evaluation.vlm_judges import Judge, Question, identity
from ladder.evaluation.vlm_judges.layouts import Item, Layout

TOGETHER = 8
"""Items whose questions are put to the judge at once."""
SAME = ("judge", "temperature", "prompt_hash")
"""What must not change between rows of a file. Versions may: an endpoint's model moves on."""


def check(layout: Layout, partial: bool) -> list[Item]:
    """The items whose pictures are there.

    Raises ValueError where some are not, unless `partial`, and where none is.
    """
    there = [item for item in layout.items if all(file.is_file() for file in item.files)]
    if len(there) == len(layout.items) or (there and partial):
        return there
    lacking = [file for item in layout.items for file in item.files if not file.is_file()]
    raise ValueError(
        f"{len(there)} of {len(layout.items)} items of {layout.benchmark} have their pictures "
        f"({lacking[0]} is not there){': --partial goes on without the rest' if there else ''}"
    )


def observe(layout: Layout, judge: Judge, output: Path, partial: bool = False) -> dict[str, int]:
    """Ask about all items and write `output`; returns how many were asked, stored and missing.

    Raises ValueError as `check` does, and for stored rows by another judge.
    """
    there = check(layout, partial)
    rows = stored_rows(output, layout, judge)
    new = pending(there, rows)
    with rows_file(output).open("a") as file:
        for first in tqdm(range(0, len(new), TOGETHER), desc="observe", unit="batch"):
            part = new[first : first + TOGETHER]
            questions = [[*questions_of(layout, item)] for item in part]
            answers = iter(judge.answer([one for group in questions for one in group]))
            who = identity(judge, layout.template)
            for item, group in zip(part, questions, strict=True):
                row = {"key": item.key, "asked": fingerprint(item)} | who
                row |= {"answers": [next(answers) for _ in group]}
                file.write(json.dumps(row) + "\n")
                rows[item.key] = row
            file.flush()
    seen = {item.key for item in there}
    answered = [
        (item, rows[item.key]["answers"] if item.key in seen else []) for item in layout.items
    ]
    part = output.with_name(f".{output.name}.part")
    part.write_text(layout.write(answered, about(layout, judge, there, rows)))
    part.replace(output)
    lacking = len(layout.items) - len(there)
    return {"asked": len(new), "stored": len(there) - len(new), "missing": lacking}


def pending(items: Sequence[Item], rows: dict[str, dict[str, Any]]) -> list[Item]:
    """The items without a row about these very pictures and questions."""
    return [item for item in items if rows.get(item.key, {}).get("asked") != fingerprint(item)]


def questions_of(layout: Layout, item: Item) -> Iterator[Question]:
    """What is asked about an item, view by view. Raises ValueError for an unusable picture."""
    pictures = tuple(read_picture(file) for file in item.files)
    for view in layout.views(pictures):
        yield from (Question(view, text) for text in item.texts)


def fingerprint(item: Item) -> str:
    """A hash of the files and texts of an item."""
    total = xxhash.xxh3_128(json.dumps(item.texts).encode())
    for file in item.files:
        total.update(file.read_bytes())
    return total.hexdigest()


def rows_file(output: Path) -> Path:
    """Where the rows of `output` are collected."""
    return output.with_name(f"{output.name}.rows")


def stored_rows(output: Path, layout: Layout, judge: Judge) -> dict[str, dict[str, Any]]:
    """The rows that are there, by key. A line that a killed run left unfinished is cut off.

    Raises ValueError for rows by another judge.
    """
    path = rows_file(output)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        return {}
    whole, _, rest = path.read_text().rpartition("\n")
    if rest:
        path.write_text(f"{whole}\n" if whole else "")
    rows = [json.loads(line) for line in whole.splitlines()]
    who = identity(judge, layout.template)
    for row in rows:
        if any(row[name] != who[name] for name in SAME):
            theirs, ours = ({name: one[name] for name in SAME} for one in (row, who))
            raise ValueError(f"{path} holds rows by {theirs}, not by {ours}: take another --output")
    return {row["key"]: row for row in rows}


def about(
    layout: Layout, judge: Judge, there: Sequence[Item], rows: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """What is said of all observations: the label of the score, who judged, what is missing."""
    versions = sorted({rows[item.key]["judge_version"] for item in there})
    lacking = len(layout.items) - len(there)
    who = identity(judge, layout.template) | {"judge_version": "+".join(versions)}
    said = {"benchmark": f"{layout.benchmark}-{judge.name}"} | who
    return said | ({"partial": True, "lacking": lacking} if lacking else {"partial": False})
