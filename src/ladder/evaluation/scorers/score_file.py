"""`ladder score`: stored observations of a published benchmark to its scores, from the shell.

Nothing is drawn or judged here: what a detector or a judge saw is in a file, and the rest are pure
functions. Every score comes as `official` (fault for fault as the published scorer) and as `fixed`.
A run that lacks pictures or questions is marked as partial, with what is missing, or refused.

geneval  a line a picture: prompt_index, detections {class: [{box, score, color}]}; `--prompts` is
         GenEval's own metadata, a line a prompt
dpg      {"prompts": [{item_id, answers: [{question: answer} for each picture]}]}; `--questions` is
         the benchmark's CSV
tiif     a line for each judge and model: {judge, model, records: [{attribute, length, row,
         expected, answered}]}
imgedit  [{name, judge_text, type}]; the type may be missing
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ladder.evaluation.scorers import dpg, geneval, imgedit, tiif

UNREADABLE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    RecursionError,
    TypeError,
    csv.Error,
    gzip.BadGzipFile,
    json.JSONDecodeError,
    zlib.error,
)
"""What reading a file of another form raises."""
LARGEST = 2**30
"""Bytes of a text that is unpacked."""
PICTURES = 4
"""That GenEval and DPG-Bench ask for each prompt."""


def score(
    benchmark: str,
    observations: Path,
    reference: Path | None = None,
    complete: bool = False,
    per_item: bool = False,
) -> dict[str, Any]:
    """The scores of a file of observations; `reference` holds the prompts or the questions.

    `complete` refuses a run that lacks something, `per_item` adds the verdict on each item. Raises
    ValueError for a run that is refused, or a file of another form.
    """
    try:
        found = SCORERS[benchmark](read(observations), reference, per_item)
    except UNREADABLE as error:
        what = f"{type(error).__name__}: {error}"
        raise ValueError(f"{observations} is not in the form of {benchmark}: {what}") from error
    if found["missing"] and complete:
        some = ", ".join(found["missing"][:3]) + (", .." if len(found["missing"]) > 3 else "")
        raise ValueError(
            f"a run of {benchmark} must be complete, {len(found['missing'])} are missing: {some}"
        )
    return {"benchmark": benchmark, "partial": bool(found["missing"])} | found


def read(path: Path) -> str:
    """A text file, gzipped or plain; raises ValueError for one of more than LARGEST bytes."""
    with path.open("rb") as plain, gzip.open(path) as packed:
        file = packed if plain.peek(2)[:2] == b"\x1f\x8b" else plain
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"{path} must hold at most {LARGEST} bytes of text")
    return content.decode()


def of_geneval(text: str, prompts: Path | None, per_item: bool) -> dict[str, Any]:
    """GenEval has no faults but that it never checks what is missing: both modes are equal."""
    rows = [json.loads(line) for line in read(needed(prompts, "--prompts")).splitlines()]
    verdicts, seen = [], Counter()
    for line in text.splitlines():
        item = json.loads(line)
        found = {
            name: [geneval.Detected(tuple(d["box"]), d["score"], d.get("color")) for d in group]
            for name, group in item["detections"].items()
        }
        verdicts.append((item["prompt_index"], geneval.judge(rows[item["prompt_index"]], found)))
        seen[item["prompt_index"]] += 1
    if not verdicts:
        raise ValueError("observations of geneval must have a line, got none")
    right: dict[str, list[bool]] = defaultdict(list)
    for index, verdict in verdicts:
        right[rows[index]["tag"]].append(verdict.correct)
    means = {tag: float(np.mean(group)) for tag, group in right.items()}
    means["overall"] = float(np.mean([*means.values()]))
    any_right = {index for index, verdict in verdicts if verdict.correct}
    lacking = [f"prompt {i}" for i in range(len(rows)) if seen[i] < PICTURES]
    result = {"official": means, "fixed": means, "missing": lacking, "images": len(verdicts),
              "prompts_with_a_right_image": len(any_right) / len(seen)}  # fmt: skip
    items = [{"prompt_index": i, "correct": v.correct, "reason": v.reason} for i, v in verdicts]
    return result | ({"items": items} if per_item else {})


def of_dpg(text: str, questions: Path | None, per_item: bool) -> dict[str, Any]:
    table = dpg.read_questions(csv.DictReader(io.StringIO(read(needed(questions, "--questions")))))
    records = json.loads(text)["prompts"]
    # A prompt without a picture is one that is missing.
    answers = {item["item_id"]: item["answers"] for item in records if item["answers"]}
    official, fixed = dpg.official(table, answers), dpg.fixed(table, answers)
    # Of a prompt whose only row the official scorer skips there can't be any record.
    wanted = [
        name for name, asked in table.prompts.items() if len(asked) > 1 or name != table.first
    ]
    lacking = [name for name in wanted if len(answers.get(name, ())) < PICTURES]
    items = [
        {"item_id": name, "official": official and official["prompts"].get(name), "fixed": value}
        for name, value in fixed["prompts"].items()
    ]
    shown = [
        mode and {k: v for k, v in mode.items() if k != "prompts"} for mode in (official, fixed)
    ]
    result = {"official": shown[0], "fixed": shown[1], "missing": lacking}
    return result | ({"items": items} if per_item else {})


def of_tiif(text: str, _: Path | None, per_item: bool) -> dict[str, Any]:
    runs, lacking = [], []
    for line in text.splitlines():
        run = json.loads(line)
        records = run["records"]
        name = f"{run['judge']} on {run['model']}"
        lacking += [f"{name}: {one}" for one in tiif.missing(records)]
        if unanswered := tiif.unanswered(records):
            lacking.append(f"{name}: {unanswered} answers")
        scores = {"judge": run["judge"], "model": run["model"], "official": tiif.official(records),
                  "fixed": tiif.fixed(records), "yes_rate": tiif.yes_rate(records)}  # fmt: skip
        runs.append(scores | ({"items": records} if per_item else {}))
    return {"runs": runs, "missing": lacking}


def of_imgedit(text: str, _: Path | None, per_item: bool) -> dict[str, Any]:
    items = json.loads(text)
    modes = {"official": imgedit.official, "fixed": imgedit.fixed}
    result = {mode: imgedit.summary(items, parse) for mode, parse in modes.items()}
    scores = [
        {"name": item["name"]} | {mode: parse(item["judge_text"]) for mode, parse in modes.items()}
        for item in items
    ]
    # `ladder observe --partial` marks what it left out; an empty answer alone is the judge's.
    lacking = [item["name"] for item in items if item.get("partial") and not item["judge_text"]]
    return result | {"missing": lacking} | ({"items": scores} if per_item else {})


def needed(path: Path | None, option: str) -> Path:
    """`path`, or ValueError, naming the option, if it isn't given."""
    if path is None:
        raise ValueError(f"{option} FILE is needed")
    return path


SCORERS: dict[str, Callable[[str, Path | None, bool], dict[str, Any]]] = {
    "geneval": of_geneval,
    "dpg": of_dpg,
    "tiif": of_tiif,
    "imgedit": of_imgedit,
}
"""By the names of the benchmarks."""
