"""`ladder observe`: pictures in a benchmark's folders to observations that `ladder score` reads.

Every item's answers are appended to a file of rows, beside the observations, as soon as they are
there, with who gave them and what became of each; a run that was stopped goes on where it was. A
folder that lacks pictures is refused, or marked: the missing ones stay in the observations, without
answers. An answer that failed is missing too, and is asked for again on demand.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import xxhash
from tqdm import tqdm

from ladder.config.files import write_text
from ladder.evaluation.json_files import dumps, read_json_lines
from ladder.evaluation.vlm_judges import (
    FAILURES,
    Answer,
    Judge,
    JudgeQuestion,
    held_to_rule,
    identity,
)
from ladder.evaluation.vlm_judges.layouts import Item, Layout

TOGETHER = 128
"""Questions that are put to the judge at once, or those of one item if they are more."""
MANY = 64
"""Requests that are refused for one reason, after which the rest aren't sent."""
SAME = ("judge", "temperature", "prompt_hash", "settings_hash")
"""What must not change between rows of a file."""
Row = dict[str, Any]


def check(layout: Layout, partial: bool) -> list[Item]:
    """The items whose pictures are there.

    Raises ValueError where some are not, unless `partial`, and where none is.
    """
    if not layout.items:
        raise ValueError(f"{layout.benchmark} must ask about a picture, got no item in its files")
    there = [item for item in layout.items if all(file.is_file() for file in item.files)]
    if there and (partial or len(there) == len(layout.items)):
        return there
    lacking = [file for item in layout.items for file in item.files if not file.is_file()]
    where = f" ({lacking[0]} is not there)" if lacking else ""
    raise ValueError(
        f"{len(there)} of {len(layout.items)} items of {layout.benchmark} have their pictures"
        f"{where}{': --partial goes on without the rest' if there else ''}"
    )


def observe(
    layout: Layout,
    judge: Judge,
    output: Path,
    partial: bool = False,
    retry: bool = False,
    model: str | None = None,
) -> dict[str, int]:
    """Ask about all items and write `output`.

    `retry` asks those questions again that failed before; `model` is who drew, if it is known.
    Returns how many items were asked, stored and missing, and how many answers failed, by kind.

    Raises ValueError as `check` does, and for stored rows by another judge; ConnectionError where
    the judge answers nothing at all. What was answered until then is kept.
    """
    there = check(layout, partial)
    rows = stored_rows(output, layout, judge)
    new = pending(there, rows, retry)
    bar = tqdm(total=len(new), desc="observe", unit="item", disable=None)
    with rows_file(output).open("a", encoding="utf-8") as file, bar:
        for part in groups(new):
            found = asked(layout, judge, part, rows)
            stop_if_out_of_reach(rows.values(), found)
            for row in found:
                file.write(dumps(row) + "\n")
                rows[row["key"]] = row
            file.flush()
            bar.update(len(part))
    answered = kept_to_one_version(there, rows)
    seen = [(item, answered.get(item.key, [])) for item in layout.items]
    said = about(layout, judge, answered) | ({"model": model} if model else {})
    write_text(output, layout.write(seen, said))
    done = {"asked": len(new), "stored": len(there) - len(new)}
    return done | {"missing": len(layout.items) - len(there)} | failures_of(answered.values())


def pending(items: Sequence[Item], rows: Mapping[str, Row], retry: bool = False) -> list[Item]:
    """The items without a row about these very pictures and questions, or, to `retry`, with one
    that holds a failure."""
    found = []
    for item in items:
        row = rows.get(item.key)
        known = row is not None and row["asked"] == fingerprint(item)
        if not known or (retry and any(one["status"] != "answered" for one in row["answers"])):
            found.append(item)
    return found


def questions_of(items: Iterable[Item], rows: Mapping[str, Row]) -> Iterator[JudgeQuestion]:
    """The questions that `observe` will ask about those items: of a stored row the failed ones."""
    for item in items:
        yield from (question for question, old in with_stored(item, rows) if old is None)


def with_stored(
    item: Item, rows: Mapping[str, Row]
) -> list[tuple[JudgeQuestion, dict[str, Any] | None]]:
    """The questions, each with the stored answer to it, if there is a good one."""
    row = rows.get(item.key)
    if row is None or row["asked"] != fingerprint(item):
        return [(question, None) for question in item.questions]
    return [
        (question, old if old["status"] == "answered" else None)
        for question, old in zip(item.questions, row["answers"], strict=True)
    ]


def groups(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Items in their order, as many as have TOGETHER questions."""
    part: list[Item] = []
    for item in items:
        part.append(item)
        if sum(len(one.questions) for one in part) >= TOGETHER:
            yield part
            part = []
    if part:
        yield part


def asked(
    layout: Layout, judge: Judge, items: Sequence[Item], rows: Mapping[str, Row]
) -> list[Row]:
    """The rows of items, whose questions are put to the judge together."""
    answers = iter(judge.answer([*questions_of(items, rows)]))
    found = []
    for item in items:
        said = []
        for question, old in with_stored(item, rows):
            if old is None:
                answer = held_to_rule(question, next(answers))
                version = answer.version or judge.version
                old = answer.as_row() | {"version": version}
            said.append(old)
        row = {"key": item.key, "asked": fingerprint(item)}
        found.append(row | identity(judge, layout.template) | {"answers": said})
    return found


def stop_if_out_of_reach(rows: Iterable[Row], found: Sequence[Row]) -> None:
    """Raises ConnectionError if all that was asked so far, now too, failed on the way, or if many
    requests are refused for one and the same reason, such as an option that the server lacks."""
    now, ever = ([one for row in group for one in row["answers"]] for group in (found, rows))
    kinds = {one["status"] for one in (*now, *ever)}
    reasons = {one.get("reason") for one in now}
    alike = kinds == {"refused"} and len(now) >= MANY and len(reasons) == 1
    if now and (kinds == {"unreachable"} or alike):
        raise ConnectionError(f"the judge answers nothing: {now[-1].get('reason', '')}")


def kept_to_one_version(items: Sequence[Item], rows: Mapping[str, Row]) -> dict[str, list[Answer]]:
    """The answers by item. One score is of one judge: what another model answered counts as a
    failure to reach the one that was asked. The judge is who gave most answers."""
    stored = {item.key: [Answer(**one) for one in rows[item.key]["answers"]] for item in items}
    versions = Counter(one.version for group in stored.values() for one in group if not one.failed)
    most = max(versions, key=versions.get) if versions else ""

    def kept(answer: Answer) -> Answer:
        if answer.failed or answer.version == most:
            return answer
        reason = f"answered by {answer.version}, most others by {most}"
        return replace(answer, status="unreachable", reason=reason)

    return {key: [kept(answer) for answer in group] for key, group in stored.items()}


def failures_of(answered: Iterable[Sequence[Answer]]) -> dict[str, int]:
    """How many answers failed, by kind."""
    counts = Counter(one.status for group in answered for one in group)
    return {kind: counts[kind] for kind in FAILURES if counts[kind]}


def fingerprint(item: Item) -> str:
    """A hash of the files and texts of an item."""
    total = xxhash.xxh3_128(json.dumps([question.text for question in item.questions]).encode())
    for question in item.questions:
        for picture in question.pictures:
            total.update(picture.digest.encode())
    return total.hexdigest()


def rows_file(output: Path) -> Path:
    """Where the rows of `output` are collected."""
    return output.with_name(f"{output.name}.rows")


def stored_rows(output: Path, layout: Layout, judge: Judge) -> dict[str, Row]:
    """The rows that are there, by key.

    Raises ValueError for rows by another judge.
    """
    path = rows_file(output)
    who = identity(judge, layout.template)

    def same(row: Row) -> None:
        theirs, ours = ({name: one.get(name) for name in SAME} for one in (row, who))
        if theirs != ours:
            raise ValueError(f"{path} holds rows by {theirs}, not by {ours}: take another --output")

    return {row["key"]: row for row in read_rows(path, ("key", "asked", "answers"), same)}


def read_rows(path: Path, needed: Sequence[str], check: Callable[[Row], None]) -> list[Row]:
    """The rows of a file that is appended to. A line that a killed run left unfinished is cut off.

    `check` raises for a row that doesn't belong there. Raises ValueError, naming file and line, for
    one that is no JSON or lacks a key that is needed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        return []
    whole, _, rest = path.read_bytes().rpartition(b"\n")
    if rest:
        with path.open("rb+") as file:
            file.truncate(len(whole) + 1 if whole else 0)
    rows = read_json_lines(path)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not {*needed} <= {*row}:
            raise ValueError(f"{path}, row {number} must have {', '.join(needed)}")
        check(row)
    return rows


def about(layout: Layout, judge: Judge, answered: Mapping[str, Sequence[Answer]]) -> dict[str, Any]:
    """What is said of all observations: the label of the score, who judged, what is missing."""
    versions = Counter(
        one.version for group in answered.values() for one in group if not one.failed
    )
    version = next(iter(versions), judge.version)
    lacking, failures = len(layout.items) - len(answered), failures_of(answered.values())
    said = {"benchmark": f"{layout.benchmark}-{judge.name}"} | identity(judge, layout.template)
    said |= {"judge_version": version, "settings": dict(judge.settings)}
    said |= {"partial": bool(lacking or failures), "failures": failures}
    return said | ({"lacking": lacking} if lacking else {})
