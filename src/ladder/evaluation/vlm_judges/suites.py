"""The newer suites: the folders in which they want pictures, and what is asked about each.

`source` is the folder that `ladder fetch benchmark NAME` fills.

gedit              IMAGES/fullset/<kind>/<language>/<key>.png beside <key>_SRCIMG.png
wise, wise-verified
                   IMAGES/<prompt_id>.png
geneval2           IMAGES/<row, five digits>.png (the official script takes a list of files)
longtext, longtext-zh
                   IMAGES/<prompt_id, four digits>_<1 to 4>.png
rise               IMAGES/images/<category>/<index>.png
imgedit-uge        IMAGES/<key>.png beside a folder of originals
imgedit-multiturn  IMAGES/<key>_<turn>.png beside a folder of originals
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ladder.config.files import read_json
from ladder.evaluation.json_files import dumps, read_json_lines
from ladder.evaluation.scorers import gedit as gedit_scorer
from ladder.evaluation.scorers import geneval2 as geneval2_scorer
from ladder.evaluation.scorers import rise as rise_scorer
from ladder.evaluation.scorers import uge as uge_scorer
from ladder.evaluation.scorers import wise as wise_scorer
from ladder.evaluation.vlm_judges import JudgeQuestion
from ladder.evaluation.vlm_judges.layouts import EDIT, Item, Layout, write_items
from ladder.evaluation.vlm_judges.pictures import JudgePicture
from ladder.evaluation.vlm_judges.published_prompts import (
    attribute_text_in,
    filled,
    message_texts_in,
    strings_in,
)

VIESCORE = "GEdit-Bench/viescore/vie_prompts.py"
CONTEXT, RULE, SEMANTICS, QUALITY = (
    "_context_no_delimit",
    "_prompts_0shot_two_image_edit_rule",
    "_prompts_0shot_tie_rule_SC",
    "_prompts_0shot_rule_PQ",
)
GEDIT_COLUMNS = ("key", "task_type", "instruction", "instruction_language", "Intersection_exist")
ONE_WORD = "{question} Answer in one word."
LONGTEXT = {"en": "textbench/text_prompts.jsonl", "zh": "textbench/text_prompts_zh.jsonl"}
"""Prompts by language."""
LONGTEXT_PICTURES = 4
"""Of each prompt."""
LOGICAL = rise_scorer.LOGICAL
RISE_PROMPTS = (
    "prompt_consist", "prompt_reasoning", "prompt_reasoning_w_input", "prompt_generation",
    "prompt_spatial_ref", "prompt_spatial_ref_img", "prompt_spatial_ref_w_input",
    "prompt_spatial_qual", "prompt_spatial_cons", "prompt_logical_cons_ans",
    "prompt_logical_cons", "prompt_logical_txt", "prompt_logical_img",
    "prompt_logical_img_wo_q",
)  # fmt: skip


def gedit_rows(source: Path) -> Iterator[dict[str, Any]]:
    """The edits in the parquet files of the data set, without pictures.

    Raises FileNotFoundError where there are none.
    """
    files = sorted(source.rglob("*.parquet"))
    if not files:
        raise FileNotFoundError(2, "no parquet file of GEdit-Bench here", str(source))
    for file in files:
        yield from pq.read_table(file, columns=[*GEDIT_COLUMNS]).to_pylist()


def gedit(images: Path, source: Path, language: str = "en") -> Layout:
    """GEdit-Bench. The edited picture is brought to the size of its source, as there."""
    texts = strings_in(source / VIESCORE, (CONTEXT, RULE, SEMANTICS, QUALITY))
    semantics = "\n".join(texts[name] for name in (CONTEXT, RULE, SEMANTICS))
    quality = "\n".join(texts[name] for name in (CONTEXT, QUALITY))
    items = []
    for row in gedit_rows(source):
        if row["instruction_language"] != language:
            continue
        folder = images / "fullset" / row["task_type"] / language
        files = folder / f"{row['key']}_SRCIMG.png", folder / f"{row['key']}.png"
        before, after = JudgePicture(files[0]), JudgePicture(files[1], like=files[0])
        asked = (
            JudgeQuestion(
                (before, after),
                semantics.replace("<instruction>", row["instruction"]),
                gedit_scorer.fixed_numbers,
            ),
            JudgeQuestion((after,), quality, gedit_scorer.fixed_numbers),
        )
        about = {"kind": row["task_type"], "language": language,
                 "intersection": bool(row["Intersection_exist"])}  # fmt: skip
        items.append(Item(f"{row['task_type']}/{language}/{row['key']}", files, asked, about))
    template = semantics + quality
    return Layout("gedit", items, write_items, template=template, max_tokens=1400)


def wise_rows(source: Path, verified: bool) -> list[dict[str, Any]]:
    """The prompts in the order of their numbers."""
    pattern = "data_verified/*_verified.json" if verified else "WISE_legacy/data/*.json"
    files = [path for path in sorted(source.glob(pattern)) if "rewrite" not in path.name]
    if not files:
        raise FileNotFoundError(2, f"no {pattern} of WISE here", str(source))
    rows = (row for file in files for row in read_json(file))
    return sorted(rows, key=lambda row: row["prompt_id"])


def wise(images: Path, source: Path, verified: bool = False) -> Layout:
    """WISE, as in its paper, or `verified`, as in its repository now."""
    code = source / ("vllm_eval.py" if verified else "WISE_legacy/gpt_eval.py")
    system, user = message_texts_in(code, "build_evaluation_messages")
    read = wise_scorer.fixed_binary if verified else wise_scorer.fixed_wiscore
    items = []
    for row in wise_rows(source, verified):
        file = images / f"{row['prompt_id']}.png"
        text = filled(user, {name: row[name] for name in ("Prompt", "Explanation")})
        asked = JudgeQuestion((JudgePicture(file),), text, read, system=system)
        about = {"prompt_id": row["prompt_id"]}
        items.append(Item(str(row["prompt_id"]), (file,), (asked,), about))
    name = "wise-verified" if verified else "wise"
    return Layout(name, items, write_items, template=system + user, max_tokens=2000)


def geneval2(images: Path, source: Path) -> Layout:
    """GenEval 2: each question to be answered in one word, with its probability."""
    items = []
    for index, row in enumerate(read_json_lines(source / "geneval2_data.jsonl")):
        file = images / f"{index:05}.png"
        picture = JudgePicture(file)
        asked = tuple(
            JudgeQuestion(
                (picture,),
                question,
                partial(geneval2_scorer.fits, question=question),
                probabilities=True,
            )
            for question, _ in row["vqa_list"]
        )
        about = {name: row[name] for name in ("prompt", "atom_count", "vqa_list", "skills")}
        items.append(Item(f"{index:05}", (file,), asked, about))
    return Layout("geneval2", items, write_items, ONE_WORD, max_tokens=8)


def longtext_rows(source: Path, language: str) -> list[dict[str, Any]]:
    """The prompts, with the texts that they want."""
    return read_json_lines(source / LONGTEXT[language])


def longtext(images: Path, source: Path, language: str = "en") -> Layout:
    """LongText-Bench: the judge copies what it reads in a picture."""
    text = attribute_text_in(source / "textbench/evaluate_text_reward.py", "qwen_prompt")
    items = []
    for row in longtext_rows(source, language):
        about = {"prompt_id": row["prompt_id"], "wanted": row["text"], "language": language}
        for number in range(1, 1 + LONGTEXT_PICTURES):
            key = f"{row['prompt_id']:04}_{number}"
            file = images / f"{key}.png"
            asked = JudgeQuestion((JudgePicture(file),), text, verbatim=True)
            items.append(Item(key, (file,), (asked,), about))
    name = "longtext" if language == "en" else f"longtext-{language}"
    return Layout(name, items, write_items, template=text, max_tokens=1024)


def rise(images: Path, source: Path) -> Layout:
    """RISEBench: 64 edits are fetched; `data_total.json` of the 360 is read as well."""
    texts = strings_in(source / "utils.py", RISE_PROMPTS)
    items = []
    for row in read_json(source / "data/data_total.json"):
        file = images / "images" / row["category"] / f"{row['index']}.png"
        asked = rise_questions(row, texts, file, source / "data")
        files = {file, *(p.source for q in asked.values() for p in q.pictures)}
        about = {"category": row["category"], "asked": [*asked]}
        items.append(Item(row["index"], tuple(sorted(files)), tuple(asked.values()), about))
    template = dumps(texts)
    return Layout("rise", items, write_items, template=template, max_tokens=4096)


def rise_questions(
    row: Mapping[str, Any], texts: Mapping[str, str], file: Path, data: Path
) -> dict[str, JudgeQuestion]:
    """What is asked of an edit: consistency (unless it is free), reasoning, plausibility.

    Where a reference picture is given, it stands in the place of the original throughout, for
    consistency too, as in the published script.
    """
    logical, spatial = row["category"] == LOGICAL, row["category"] == "spatial_reasoning"
    text, picture = row.get("reference_txt"), row.get("reference_img")
    by_picture = bool(picture) and (spatial or (logical and not text))
    beside = by_picture or (not logical and bool(row.get("reasoning_img")))
    result, original = (
        JudgePicture(file),
        JudgePicture(data / (picture if by_picture else row["image"])),
    )
    if logical:
        consistency = "prompt_logical_cons_ans" if text else "prompt_logical_cons"
        alone = "prompt_logical_img_wo_q" if "reasoning_wo_ins" in row else "prompt_logical_img"
        reasoning = "prompt_logical_txt" if text else alone
    elif spatial:
        consistency = "prompt_spatial_cons"
        described = "prompt_spatial_ref_w_input" if beside else "prompt_spatial_ref"
        reasoning = "prompt_spatial_ref_img" if by_picture else described
    else:
        consistency = "prompt_consist"
        reasoning = "prompt_reasoning_w_input" if beside else "prompt_reasoning"
    values = {"instruct": row["instruction"], "reference": text or row.get("reference") or ""}
    read = partial(rise_scorer.fixed_number, highest=1 if logical else rise_scorer.HIGHEST)

    def question(name: str, *pictures: JudgePicture) -> JudgeQuestion:
        return JudgeQuestion(pictures, filled(texts[name], values), read)

    asked = {}
    if not row.get("consistency_free"):
        asked["consistency"] = question(consistency, original, result)
    asked["reasoning"] = question(reasoning, *((original, result) if beside else (result,)))
    if not logical:
        quality = "prompt_spatial_qual" if spatial else "prompt_generation"
        asked["plausibility"] = question(quality, result)
    return asked


def uge(images: Path, source: Path, originals: Path) -> Layout:
    """ImgEdit's UGE suite."""
    template = strings_in(source / "Benchmark/UGE/UGE_bench.py", ("prompt",))["prompt"]
    items = []
    for key, edit in read_json(source / "Benchmark/UGE/UGE_edit.json").items():
        files = originals / edit["id"], images / f"{key}.png"
        items.append(Item(key, files, (uge_question(template, edit["prompt"], *files),), {}))
    return Layout("imgedit-uge", items, write_items, template=template)


def multiturn(images: Path, source: Path, originals: Path, edits: Path) -> Layout:
    """ImgEdit's multi-turn suite: the result of each turn is compared with that of the one before.

    `edits` is the suite's own JSON file, from the archive of originals. People judge it in the
    paper; the question is UGE's.
    """
    template = strings_in(source / "Benchmark/UGE/UGE_bench.py", ("prompt",))["prompt"]
    items = []
    for key, edit in read_json(edits).items():
        turns = [edit[name] for name in sorted(edit) if name.startswith("turn")]
        files = [originals / edit["id"]]
        files += [images / f"{key}_{turn}.png" for turn in range(1, len(turns) + 1)]
        asked = tuple(
            uge_question(template, text, before, after)
            for text, before, after in zip(turns, files, files[1:], strict=False)
        )
        items.append(Item(key, tuple(files), asked, {"turns": len(turns)}))
    return Layout("imgedit-multiturn", items, write_items, template=template)


def uge_question(template: str, instruction: str, *files: Path) -> JudgeQuestion:
    pictures = tuple(JudgePicture(file) for file in files)
    return JudgeQuestion(pictures, template.replace(EDIT, instruction), uge_scorer.fixed)


LAYOUTS: dict[str, Callable[..., Layout]] = {
    "gedit": gedit,
    "wise": wise,
    "wise-verified": partial(wise, verified=True),
    "geneval2": geneval2,
    "longtext": longtext,
    "longtext-zh": partial(longtext, language="zh"),
    "rise": rise,
    "imgedit-uge": uge,
    "imgedit-multiturn": multiturn,
}
"""By the names of the suites."""
