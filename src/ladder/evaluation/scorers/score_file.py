"""`ladder score`: stored observations of a published benchmark to its scores, from the shell.

Nothing is drawn or judged here: what a detector or a judge saw is in a file, and the rest are pure
functions. Every score comes as `official` (fault for fault as the published scorer) and as `fixed`,
and the fixed overall score with its interval over prompts. A run that lacks pictures or answers is
marked as partial, with what is missing and how answers failed, or refused.

geneval  a line a picture: prompt_index, detections {class: [{box, score, color}]}; `--prompts` is
         GenEval's own metadata, a line a prompt
dpg      {"prompts": [{item_id, answers: [{question: answer} for each picture]}]}; `--questions` is
         the benchmark's CSV
tiif     a line for each judge and model: {judge, model, records: [{attribute, length, row,
         expected, answered}]}; a failed answer is null
imgedit  [{name, judge_text, type, status}]; type and status may be missing
others   {"items": [{key, .., answers: [{text, status}]}]}, see `items`
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ladder.evaluation.confidence import mean_of_groups
from ladder.evaluation.json_files import lines_of, loads, read_csv, read_json_lines
from ladder.evaluation.scorers import (
    dpg,
    gedit,
    geneval,
    geneval2,
    imgedit,
    longtext,
    rise,
    tiif,
    uge,
    wise,
)
from ladder.evaluation.scorers.items import ANSWERED, require_known, require_once, status_of

UNREADABLE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    RecursionError,
    TypeError,
    gzip.BadGzipFile,
    json.JSONDecodeError,
    zlib.error,
)
"""What reading a file of another form raises."""
LARGEST = 2**30
"""Bytes of a text that is unpacked."""
PICTURES = 4
"""That GenEval and DPG-Bench ask for each prompt."""
RESAMPLES, SEED = 2000, 0
"""Of the interval of an overall score."""
JUDGE = ("judge", "judge_version", "temperature", "prompt_hash", "settings_hash")
"""What the answers of one score have in common."""
SAID = ("judge", "judge_version", "prompt_hash", "settings", "model", "pictures_by")
"""What a score repeats of its observations."""


def score(
    benchmark: str,
    observations: Path,
    reference: Path | None = None,
    complete: bool = False,
    per_item: bool = False,
) -> dict[str, Any]:
    """The scores of a file of observations; `reference` holds the prompts or the questions.

    `complete` refuses a run that lacks something, `per_item` adds the verdict on each item. Raises
    ValueError for a run that is refused, a file of another form, or one with several judges.
    """
    asked = REFERENCES[benchmark](reference) if benchmark in REFERENCES else None
    try:
        found = SCORERS[benchmark](read(observations), asked, per_item)
    except UNREADABLE as error:
        what = f"{type(error).__name__}: {error}"
        raise ValueError(f"{observations} is not in the form of {benchmark}: {what}") from error
    except ValueError as error:
        raise ValueError(f"{observations}: {error}") from error
    missing, failures = found["missing"], found.setdefault("failures", {})
    if missing and complete:
        some = ", ".join(missing[:3]) + (", .." if len(missing) > 3 else "")
        raise ValueError(
            f"a run of {benchmark} must be complete, {len(missing)} are missing: {some}"
        )
    if failures and complete:
        kinds = ", ".join(f"{number} {kind}" for kind, number in failures.items())
        raise ValueError(
            f"a run of {benchmark} must be complete, answers failed: {kinds}; "
            "`ladder observe --retry failed` asks again"
        )
    groups = {name: values for name, values in found.pop("groups", {}).items() if values}
    if groups:
        found["overall"] = asdict(mean_of_groups(groups, RESAMPLES, SEED))
    return {"benchmark": benchmark, "partial": bool(missing or failures)} | found


def read(path: Path) -> str:
    """A text file, gzipped or plain, without a byte order mark.

    Raises ValueError for one of more than LARGEST bytes, and for bytes that are no UTF-8.
    """
    with path.open("rb") as plain, gzip.open(path) as packed:
        file = packed if plain.peek(2)[:2] == b"\x1f\x8b" else plain
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"{path} must hold at most {LARGEST} bytes of text")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be UTF-8 text, got {error}") from error


def said_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Who judged. Raises ValueError where rows are by several judges: they make no one score."""
    first: Mapping[str, Any] | None = None
    for row in rows:
        first = row if first is None else first
        theirs, ours = ({name: one.get(name) for name in JUDGE} for one in (row, first))
        if theirs != ours:
            raise ValueError(f"a score is of one judge, got answers by {ours} and by {theirs}")
    return {name: first[name] for name in SAID if first and name in first}


def prompts_of(path: Path | None) -> list[dict[str, Any]]:
    """GenEval's prompts. Raises ValueError, naming the file, for rows of another form."""
    path = needed(path, "--prompts")
    rows = read_json_lines(path)
    for row in rows:
        if not (isinstance(row, dict) and isinstance(row.get("tag"), str)):
            raise ValueError(f"{path} must have rows with a tag, got {str(row)[:200]}")
    return rows


def of_geneval(text: str, rows: list[dict[str, Any]], per_item: bool) -> dict[str, Any]:
    """GenEval has no faults but that it never checks what is missing: both modes are equal."""
    lines = [loads(line) for line in lines_of(text)]
    require_known((item["prompt_index"] for item in lines), range(len(rows)), "prompt")
    # Files of others don't say which picture it is.
    places = [(item["prompt_index"], item.get("picture", item.get("image"))) for item in lines]
    require_once(place for place in places if place[1] is not None)
    verdicts, seen = [], Counter()
    for item in lines:
        found = {
            name: [geneval.Detected(tuple(d["box"]), d["score"], d.get("color")) for d in group]
            for name, group in item["detections"].items()
        }
        verdicts.append((item["prompt_index"], geneval.judge(rows[item["prompt_index"]], found)))
        seen[item["prompt_index"]] += 1
    if not verdicts:
        raise ValueError("observations of geneval must have a line, got none")
    right: dict[str, list[bool]] = defaultdict(list)
    by_prompt: dict[int, list[bool]] = defaultdict(list)
    for index, verdict in verdicts:
        right[rows[index]["tag"]].append(verdict.correct)
        by_prompt[index].append(verdict.correct)
    groups: dict[str, list[float]] = defaultdict(list)
    for index, values in by_prompt.items():
        groups[rows[index]["tag"]].append(float(np.mean(values)))
    means = {tag: float(np.mean(group)) for tag, group in right.items()}
    means["overall"] = float(np.mean([*means.values()]))
    any_right = {index for index, verdict in verdicts if verdict.correct}
    lacking = [f"prompt {i}" for i in range(len(rows)) if seen[i] < PICTURES]
    result = said_of(lines) | {
        "official": means, "fixed": means, "missing": lacking, "images": len(verdicts),
        "prompts_with_a_right_image": len(any_right) / len(seen), "groups": groups,
    }  # fmt: skip
    items = [{"prompt_index": i, "correct": v.correct, "reason": v.reason} for i, v in verdicts]
    return result | ({"items": items} if per_item else {})


def questions_of(path: Path | None) -> dpg.QuestionTable:
    """DPG-Bench's questions. Raises ValueError, naming the file, for another table."""
    path = needed(path, "--questions")
    rows = read_csv(path)
    try:
        return dpg.read_questions(rows)
    except (AttributeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def of_dpg(text: str, table: dpg.QuestionTable, per_item: bool) -> dict[str, Any]:
    observed = loads(text)
    require_once(item["item_id"] for item in observed["prompts"])
    require_known((item["item_id"] for item in observed["prompts"]), table.prompts, "prompt")
    # A prompt without a picture is one that is missing.
    answers = {item["item_id"]: item["answers"] for item in observed["prompts"] if item["answers"]}
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
    percent = [100 * value for value in fixed["prompts"].values()]
    result = said_of([observed]) | {
        "official": shown[0], "fixed": shown[1], "missing": lacking,
        "failures": observed.get("failures", {}), "groups": {"all": percent},
    }  # fmt: skip
    return result | ({"items": items} if per_item else {})


def of_tiif(text: str, _: None, per_item: bool) -> dict[str, Any]:
    runs, lacking, failures = [], [], Counter()
    if not text.strip():
        raise ValueError("observations of tiif must have a line, got none")
    for line in lines_of(text):
        run = loads(line)
        records = run["records"]
        name = f"{run['judge']} on {run['model']}"
        attributes = {one for names in tiif.GROUPS.values() for one in names}
        require_known((one["attribute"] for one in records), attributes, "attribute")
        require_known((one["length"] for one in records), tiif.LENGTHS, "length")
        require_once((one["attribute"], one["length"], one.get("row")) for one in records)
        lacking += [f"{name}: {one}" for one in tiif.missing(records)]
        if unanswered := tiif.unanswered(records):
            lacking.append(f"{name}: {unanswered} answers")
        failures.update(run.get("failures", {}))
        scores = said_of([run]) | {
            "official": tiif.official(records), "fixed": tiif.fixed(records),
            "yes_rate": tiif.yes_rate(records),
        }  # fmt: skip
        overall = {
            length: tiif.overall_interval(records, length, RESAMPLES, SEED)
            for length in tiif.LENGTHS
        }
        scores["overall"] = {name: asdict(one) for name, one in overall.items() if one}
        runs.append(scores | ({"items": records} if per_item else {}))
    return {"runs": runs, "missing": lacking, "failures": dict(failures)}


def of_imgedit(text: str, _: None, per_item: bool) -> dict[str, Any]:
    items = loads(text)
    if not items:
        raise ValueError("observations of imgedit must have an item, got none")
    require_once(item["name"] for item in items)
    modes = {"official": imgedit.official, "fixed": imgedit.fixed}
    result = {mode: imgedit.summary(items, parse) for mode, parse in modes.items()}
    scores = [
        {"name": item["name"]} | {mode: parse(item["judge_text"]) for mode, parse in modes.items()}
        for item in items
    ]
    # `ladder observe --partial` marks what it left out; an empty answer alone is the judge's.
    lacking = [
        item["name"] for item in items
        if item.get("partial") and not item["judge_text"] and "status" not in item
    ]  # fmt: skip
    failures = Counter(status_of(item) for item in items if status_of(item) not in ANSWERED)
    malformed = result["fixed"]["invalid"] - len(lacking)
    failures.update({"malformed": malformed} if malformed else {})
    types: dict[str, list[float]] = defaultdict(list)
    for item, one in zip(items, scores, strict=True):
        if one["fixed"] is not None and status_of(item) in ANSWERED:
            types[item.get("type", "all")].append(one["fixed"])
    result |= said_of(items) | {"missing": lacking, "failures": dict(failures), "groups": types}
    return result | ({"items": scores} if per_item else {})


def with_judge(scorer: Callable[[str, Any, bool], dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """A scorer of the newer suites, with what the file says of its judge."""

    def scored(text: str, _: None, per_item: bool) -> dict[str, Any]:
        return said_of([loads(text)]) | scorer(text, None, per_item)

    return scored


def needed(path: Path | None, option: str) -> Path:
    """`path`, or ValueError, naming the option, if it isn't given."""
    if path is None:
        raise ValueError(f"{option} FILE is needed")
    return path


REFERENCES: dict[str, Callable[[Path | None], Any]] = {"geneval": prompts_of, "dpg": questions_of}
"""How the reference of a benchmark is read, if it has one."""
SCORERS: dict[str, Callable[[str, Any, bool], dict[str, Any]]] = {
    "geneval": of_geneval,
    "dpg": of_dpg,
    "tiif": of_tiif,
    "imgedit": of_imgedit,
    "imgedit-uge": with_judge(uge.score),
    "imgedit-multiturn": with_judge(uge.score_multiturn),
    "gedit": with_judge(gedit.score),
    "wise": with_judge(wise.score),
    "wise-verified": with_judge(wise.score_verified),
    "geneval2": with_judge(geneval2.score),
    "longtext": with_judge(longtext.score),
    "longtext-zh": with_judge(longtext.score),
    "rise": with_judge(rise.score),
}
"""By the names of the benchmarks."""
