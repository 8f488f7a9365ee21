"""The newer suites: readings that equal the published ones on texts, sums that equal them on
made-up marks, examples by hand, and what is mended.

The values of `official` were given by the published functions (of the commits that `ladder fetch`
pins), run on the very same texts and marks.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ladder.evaluation.scorers import gedit, geneval2, imgedit, longtext, rise, uge, wise
from ladder.evaluation.scorers.score_file import score

D = gedit.DELIMITER


def answered(*texts: str) -> list[dict[str, Any]]:
    return [{"text": text, "status": "answered"} for text in texts]


def observed(folder: Path, items: list[dict[str, Any]], **about: Any) -> Path:
    path = folder / "observations.json"
    path.write_text(json.dumps({"judge": "toy", **about, "items": items}))
    return path


# ---- GEdit-Bench ----


@pytest.mark.parametrize(
    ("text", "official", "fixed"),
    [
        ('{"score": [8, 9], "reasoning": "ok"}', [8, 9], [8, 9]),
        (f'{D}\n{{"score" : [5, 10],\n"reasoning": "x"}}\n{D}', [5, 10], [5, 10]),
        ("[7, 3]", [7, 3], [7, 3]), ("[7,3]", [7, 3], [7, 3]),
        ("4", [4], None), ("11", None, None), ("-1", None, None), ("no", None, None),
        ('```json\n{"score": [6, 6], "reasoning": "a"}\n```', [6, 6], [6, 6]),
        ('{"score": 7, "reasoning": "x"}', [7], None),
        ('Sure: {"score": [0, 10], "reasoning": "{x}"} done', [0, 10], [0, 10]),
        ('{"score": [8, 9], "reasoning": "a "quoted" b"}', None, None),
        ("{score: [8, 9]}", None, None), ("[1, 2, 3]", None, None), ("[10]", None, None),
        ("", None, None), ("{}", None, None), ('{"reasoning": "none"}', None, None),
        ("scores [8, 9] here", [8, 9], [8, 9]), (f"{D}[8, 9]{D}", None, None),
        ('{"score": [20, 3], "reasoning": ""}', [20, 3], None),
        ('<think>{"score": [1, 1]}</think>{"score": [8, 9]}', None, [8, 9]),
        ('{"score": [NaN, 3]}', None, None),
    ],
)  # fmt: skip
def test_viescore_is_read_as_published(text: str, official: list | None, fixed: list | None):
    assert gedit.official_numbers(text) == official
    assert gedit.fixed_numbers(text) == fixed


def gedit_item(key: str, kind: str, texts: list[str], **about: Any) -> dict[str, Any]:
    return {"key": key, "kind": kind, "language": "en", "intersection": True} | about | {
        "answers": answered(*texts)
    }  # fmt: skip


def test_gedit_is_the_mean_of_kinds(tmp_path: Path):
    """By hand: SC min(9, 4) = 4 and PQ min(9, 9) = 9 give 6; 1 and 1 give 1; one is refused."""
    items = [
        gedit_item("a", "ps_human", ['{"score": [9, 4]}', '{"score": [9, 9]}']),
        gedit_item("b", "ps_human", ['{"score": [1, 1]}', '{"score": [1, 9]}']),
        gedit_item("c", "text_change", ['{"score": [4, 4]}'] * 2, intersection=False),
        gedit_item("d", "text_change", ["[3, 3]"] * 2, language="cn"),
        gedit_item("e", "text_change", []),
    ]
    items.append(gedit_item("f", "text_change", ["", ""]))
    items[-1]["answers"][0] = {"text": "", "status": "filtered", "reason": "status 400"}
    found = score("gedit", observed(tmp_path, items))
    english = found["fixed"]["en"]
    assert english["kinds"]["ps_human"] == {"G_SC": 2.5, "G_PQ": 5.0, "G_O": 3.5}
    assert (english["G_SC"], english["G_PQ"], english["G_O"]) == (3.25, 4.5, 3.75)
    assert english["intersection"]["G_O"] == 3.5
    assert found["fixed"]["cn"]["G_O"] == 3.0
    assert found["official"] == found["fixed"]
    assert (found["missing"], found["failures"], found["partial"]) == (["e"], {"filtered": 1}, True)
    assert (found["overall"]["mean"], found["overall"]["n"]) == (3.75, 3)


# ---- WISE ----


@pytest.mark.parametrize(
    ("text", "official", "fixed"),
    [
        ("Consistency: 2\nRealism: 1\nAesthetic Quality: 0", 0.8, 0.8),
        ("**Consistency**: 2\n**Realism:** 1\nAesthetic Quality 2", None, 0.9),
        ("2\n1\n0", 0.8, 0.8), ("Consistency: 2", None, None), ("1\n2", None, None),
        ("consistency:2, realism: 2, aesthetic quality: 1", 0.95, None),
        ("Consistency: 1\nConsistency: 2\nRealism: 0\nAesthetic Quality: 2", 0.8, None),
        ("Consistency: 3\nRealism: 0\nAesthetic Quality: 2", 1.15, None),
        ("<think>Realism: 0</think>Consistency: 2\nRealism: 2\nAesthetic Quality: 2", 1.0, 1.0),
        ("", None, None),
    ],
)  # fmt: skip
def test_wise_is_read_as_published(text: str, official: float | None, fixed: float | None):
    assert wise.official_wiscore(text) == pytest.approx(official)
    assert wise.fixed_wiscore(text) == pytest.approx(fixed)


@pytest.mark.parametrize(
    ("text", "official", "fixed"),
    [("Score: 1", 1, 1), ("**Score**: 0", 0, 0), ("1", 1, 1), ("0\n", 0, 0),
     ("Score: 2", None, None), ("Score: 10", None, None),
     ("The Score: 1 then Score: 0", 1, None), ("1\n1", None, None), ("Score: 0\nScore: 1", 0, None),
     ("<think>Score: 0</think>\nScore: 1", 0, 1), ("", None, None)],
)  # fmt: skip
def test_wise_verified_is_read_as_published(text: str, official: int | None, fixed: int | None):
    assert wise.official_binary(text) == official
    assert wise.fixed_binary(text) == fixed


@pytest.mark.parametrize("name", ["wise", "wise-verified"])
def test_wise_weighs_categories(name: str, tmp_path: Path):
    categories = wise.LEGACY if name == "wise" else wise.VERIFIED
    assert math.isclose(sum(one.weight for one in categories.values()), 1)
    assert [one.first for one in categories.values()][1:] == [
        one.last + 1 for one in categories.values()
    ][:-1]
    best, worst = ("2\n2\n2", "0\n0\n0") if name == "wise" else ("Score: 1", "Score: 0")
    items = [
        {"key": str(n), "prompt_id": n, "answers": answered(best if n <= 400 else worst)}
        for n in range(1, 1001)
    ]
    found = score(name, observed(tmp_path, items), complete=True)
    assert found["official"]["overall"] == found["fixed"]["overall"] == pytest.approx(0.4)
    assert found["fixed"]["culture"] == pytest.approx(1.0)
    assert found["fixed"]["time"] == 0.0
    items[0]["answers"][0]["status"] = "refused"
    found = score(name, observed(tmp_path, items))
    assert found["official"]["overall"] is None, "the published script gives none either"
    assert found["fixed"]["overall"] == pytest.approx(0.4)
    assert found["failures"] == {"refused": 1}


# ---- GenEval 2 ----


def test_geneval2_is_the_geometric_mean_of_atoms(tmp_path: Path):
    """By hand: atoms .8 and .2 have a geometric mean of .4 and mean of .5; 1 and 0 of 0 and .5."""
    vqa = [["How many stars are in the image?", "two"], ["Are the stars red?", "Yes"]]
    about = {"atom_count": 3, "vqa_list": vqa, "skills": ["count", "attribute"]}
    sure = [{"text": "two", "probabilities": {"two": 0.5, "2": 0.25, " Two": 0.05, "three": 0.2}},
            {"text": "No", "probabilities": {"No": 0.8, "Yes": 0.1, "yes": 0.1}}]  # fmt: skip
    wrong = [
        {"text": "2", "probabilities": {"2": 1.0}},
        {"text": "no", "probabilities": {"no": 1.0}},
    ]
    items = [{"key": "0", **about, "answers": sure}, {"key": "1", **about, "answers": wrong}]
    found = score("geneval2", observed(tmp_path, items))
    for mode in ("official", "fixed"):
        assert found[mode]["soft_tifa_gm"] == pytest.approx(20.0)
        assert found[mode]["soft_tifa_am"] == pytest.approx(50.0)
        assert found[mode]["skills"]["count"] == pytest.approx(90.0)
        assert found[mode]["atomicity"]["3"] == pytest.approx(20.0)
    assert (found["method"], "unverified" in found["note"]) == ("soft_tifa", True)
    for item in items:
        for answer in item["answers"]:
            del answer["probabilities"]
    found = score("geneval2", observed(tmp_path, items))
    assert (found["method"], found["fixed"]["soft_tifa_am"]) == ("tifa", 50.0)


def test_spellings_of_an_answer():
    assert geneval2.spellings("How many?", "four") == {"four", "Four", "4", " four", " Four", " 4"}
    assert geneval2.spellings("Is it?", "Yes") == {"Yes", "yes", " Yes", " yes"}
    said = {"text": "YES", "probabilities": {"YES": 0.75}}
    assert geneval2.atom("Is it?", "Yes", said, exact=True) == 0
    assert geneval2.atom("Is it?", "Yes", said, exact=False) == 0.75


@pytest.mark.parametrize(
    ("text", "number", "yes"),
    [("Two.", "two", None), ("12", "12", None), ("\uff12", "2", None), ("None", "none", None),
     ("Yes", None, "yes"), ("**no**", None, "no"), ("two stars", None, None), ("many", None, None),
     ("Sorry", None, None), ("", None, None), ("1" * 5000, None, None)],
)  # fmt: skip
def test_a_word_fits_what_is_asked(text: str, number: str | None, yes: str | None):
    """One that declines is malformed, though it is one word, and isn't a wrong answer."""
    assert geneval2.fits(text, "How many stars are in the image?") == number
    assert geneval2.fits(text, "Are the stars red?") == yes


@pytest.mark.parametrize(
    ("text", "fixed"),
    [("Score: 4 out of 5", 4), ("Score: 4 out of 10", None), ("Score: 8/10", None),
     ("Score: 3-4", None), ("Score: 3 or 4", None), ("Score: -3", None), ("Score: 3,5", None),
     ("Score: 4%", None), ("Score: 4\u00bd", None), ("Score: 4\u00b2", None),
     ("Score\uff1a\uff14", 4), ("Score: 2, since one is missing", 2), ("score = 4", 4),
     ("Score: 2. No, Score: 3-4", None), ("**Score**: __4__", 4), ("Score: 5 (of 5)", 5)],
)  # fmt: skip
def test_a_mark_is_one_number_on_its_scale(text: str, fixed: int | None):
    """No part of a number, of a range or of a share, and not out of another number."""
    assert uge.fixed(text) == fixed
    assert rise.fixed_number(re.sub("(?i)score", "Final Score", text)) == fixed


@pytest.mark.parametrize("mark", ["-1", "2/10", ".2", "20%", "1.5", "1-2", "2 of 3"])
def test_a_mark_of_wise_is_one_number_on_its_scale(mark: str):
    rest = "\nRealism: 2/2\nAesthetic Quality: 2 out of 2"
    assert wise.fixed_wiscore(f"Consistency: 2{rest}") == pytest.approx(1.0)
    assert wise.fixed_wiscore(f"Consistency: {mark}{rest}") is None
    assert wise.fixed_binary(f"Score: {mark}") is None


@pytest.mark.parametrize("numbers", ["[true, false]", '["4", "5"]', "[1e999, 5]", "[null, 1]",
                                     f"[{'9' * 400}, 5]"])  # fmt: skip
def test_a_mark_of_viescore_is_a_number(numbers: str):
    assert gedit.fixed_numbers(f'```json\n{{"score": {numbers}}}\n```') is None
    assert gedit.fixed_numbers('```json\n{"score": [4, 5]}\n```') == [4, 5]


# ---- LongText-Bench ----


@pytest.mark.parametrize(
    ("wanted", "text", "english", "chinese"),
    [
        (["Fresh BREWS, every day", "Every"], "every every\nFRESH brew", (3, 5), (15, 23)),
        (["a b"], "No text recognized.", (0, 2), (0, 2)),
        (["don't stop"], "dont \u2019stop\u201d", (2, 2), (8, 8)),
        (["\u4e2d\u6587 12"], "\u6587\u4e2d 1,2", (1, 2), (4, 4)),
        (["caf\u00e9 \u00d1and\u00fa"], "CAF\u00c9 and\u00fa", (2, 2), (3, 7)),
    ],
)  # fmt: skip
def test_copied_text_is_counted_as_published(
    wanted: list[str], text: str, english: tuple[int, int], chinese: tuple[int, int]
):
    """Words and characters that were read, of those that are wanted. On 10,000 made-up texts the
    published functions gave the same numbers."""
    for language, counts in (("en", english), ("zh", chinese)):
        found = longtext.official({"wanted": wanted, "language": language}, [text])
        assert (found.read, found.wanted) == counts


def test_longtext_is_the_share_of_all_words(tmp_path: Path):
    """By hand: 1 of 2, 4 of 4 and 0 of 4 are 5 of 10; a refusal is missing, not 0 of 2."""
    wanted = {"0_1": ["two words"], "1_1": ["a b c d"], "2_1": ["e f g h"], "2_2": ["i j"]}
    texts = ["Words!", "<think>x</think>d c b a", "addCriterion", ""]
    items = [
        {"key": key, "prompt_id": int(key[0]), "wanted": text, "language": "en",
         "answers": answered(said)}
        for (key, text), said in zip(wanted.items(), texts, strict=True)
    ]  # fmt: skip
    items[3]["answers"][0]["status"] = "refused"
    found = score("longtext", observed(tmp_path, items))
    assert found["fixed"]["text_score"] == found["overall"]["mean"] == 0.5
    assert found["official"]["text_score"] == 0.4, "a draft is part of the text there"
    assert (found["overall"]["n"], found["failures"]) == (3, {"refused": 1})
    assert found["overall"]["low"] < 0.5 < found["overall"]["high"]
    items[0]["wanted"] = ["?!"]
    with pytest.raises(ValueError, match=r"must want a text, got \['\?!'\] of 0_1"):
        score("longtext", observed(tmp_path, items))


# ---- RISEBench ----


@pytest.mark.parametrize(
    ("text", "official", "fixed"),
    [
        ("**Final Score:** **4**", [4], 4), ("Final Score: 4/5", [4], 4),
        ("**Final Score**: **1**", [1], 1), ("final score 3", [3], 3),
        ("**Final Score:** **1-5** so Final Score: 2", [1], 2), ("none", None, None),
        ("Final Scores: 3, 4", [3, 4], None), ("**Final Score:** 5\n\n2 more", [5, 2], 5),
        ("Final Score: X then Final Score: 4", [4], 4), ("Final Score:\n**3**", [3], 3),
        ("Final Score: 10", [10], None), ("", None, None),
        ("<think>Final Score: 1</think>Final Score: 5", [1], 5),
    ],
)  # fmt: skip
def test_rise_is_read_as_published(text: str, official: list | None, fixed: int | None):
    assert rise.official_numbers(text) == official
    assert rise.fixed_number(text) == fixed


def rise_item(key: str, category: str, marks: dict[str, int]) -> dict[str, Any]:
    texts = [f"Final Score: {mark}" for mark in marks.values()]
    return {"key": key, "category": category, "asked": [*marks], "answers": answered(*texts)}


def test_rise_by_hand(tmp_path: Path):
    """5, 5, 5 is right; reasoning 1 halves .3 x 5 + .5 x 1 + .2 x 5 = 3 to 1.5; 1 of 1 counts 5."""
    items = [
        rise_item("a", "causal_reasoning", {"consistency": 5, "reasoning": 5, "plausibility": 5}),
        rise_item("b", "causal_reasoning", {"consistency": 5, "reasoning": 1, "plausibility": 5}),
        rise_item("c", "logical_reasoning", {"consistency": 0, "reasoning": 1}),
    ]
    found = score("rise", observed(tmp_path, items))
    assert found["official"] == found["fixed"]
    causal, logical = (found["fixed"][f"{kind}_reasoning"] for kind in ("causal", "logical"))
    assert (causal["score"], causal["accuracy"]) == (3.25, 50.0)
    assert (logical["score"], logical["accuracy"]) == (pytest.approx(3.8), 0.0)
    assert found["overall"]["mean"] == pytest.approx(100 / 3)


def test_rise_is_summed_up_as_published(tmp_path: Path):
    """200 items of made-up marks: some without consistency, some texts that can't be read."""
    rng = np.random.default_rng(0)
    items = []
    for number in range(200):
        category = rise.CATEGORIES[number % 4]
        logical = category == rise.LOGICAL
        free = number % 13 == 0 and not logical
        asked = ["reasoning"] if free else ["consistency", "reasoning"]
        asked += [] if logical else ["plausibility"]
        marks = {name: int(rng.integers(0, 2) if logical else rng.integers(1, 6)) for name in asked}
        item = rise_item(str(number), category, marks)
        if number % 17 == 0:
            item["answers"] = [{"text": "?", "status": "malformed"} for _ in asked]
        items.append(item)
    found = score("rise", observed(tmp_path, items))
    official = found["official"]
    assert official["overall"]["score"] == pytest.approx(3.046808510638298)
    assert official["overall"]["accuracy"] == pytest.approx(6.5)
    expected = {
        "temporal": (3.2468085106382976, 2.0),
        "causal": (3.2042553191489365, 0.0),
        "spatial": (3.0255319148936173, 0.0),
        "logical": (2.7106382978723405, 24.0),
    }
    for kind, (value, accuracy) in expected.items():
        one = official[f"{kind}_reasoning"]
        assert (one["score"], one["accuracy"]) == pytest.approx((value, accuracy))
    assert official["reasoning"]["score"] == pytest.approx(3.1702127659574466)
    assert official["consistency"]["score"] == pytest.approx(3.0395480225988702)
    assert found["fixed"]["overall"]["accuracy"] > 6.5, "what can't be read isn't wrong there"


# ---- ImgEdit's suites ----


@pytest.mark.parametrize(
    ("text", "official", "fixed"),
    [("Score: 3", 3.0, 3.0), ("Brief reasoning: fine. Score: 3 (Acceptable)", None, 3.0),
     ("Brief reasoning: ok\nScore: 4", 4.0, 4.0), ("Score: 4.", None, 4.0), ("Score: 9", 9.0, None),
     ("**Score:** 2/5", None, 2.0), ("", None, None), ("no", None, None)],
)  # fmt: skip
def test_uge_is_read_as_published(text: str, official: float | None, fixed: float | None):
    assert imgedit.official(text) == official
    assert uge.fixed(text) == fixed


def test_uge_is_the_mean_of_its_items(tmp_path: Path):
    items = [{"key": str(n), "answers": answered(text)}
             for n, text in enumerate(("Score: 5", "Well done. Score: 2 (Fair)", "?"))]  # fmt: skip
    found = score("imgedit-uge", observed(tmp_path, items))
    assert found["official"]["overall"] == 5.0
    assert found["fixed"]["overall"] == 3.5
    assert found["failures"] == {"malformed": 1}
    found = score("imgedit-multiturn", observed(tmp_path, items))
    assert (found["official"], "people judge" in found["note"]) == (None, True)


# ---- a score is of one judge, and of answers ----


def test_a_score_is_of_one_judge(tmp_path: Path):
    rows = [{"name": str(n), "type": "add", "judge_text": "A: 4\nB: 4\nC: 4", "judge": judge}
            for n, judge in enumerate(("one", "other"))]  # fmt: skip
    path = tmp_path / "items.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(ValueError, match=r"a score is of one judge, got answers by .*one.* and by"):
        score("imgedit", path)


def test_text_is_split_at_line_feeds_alone_and_marks_of_byte_order_are_read(tmp_path: Path):
    """U+2028, U+0085 and form feeds are text; editors on Windows begin files with a mark."""
    odd = "a\u2028b\u0085c\x0cd"
    row = {"tag": "single_object", "include": [{"class": odd, "count": 1}], "prompt": odd}
    (tmp_path / "prompts.jsonl").write_text("\ufeff" + json.dumps(row, ensure_ascii=False) + "\n")
    seen = {"prompt_index": 0, "detections": {odd: [{"box": [0, 0, 9, 9], "score": 0.9}]}}
    line = json.dumps(seen, ensure_ascii=False) + "\n"
    (tmp_path / "seen.jsonl").write_text("\ufeff" + line * 4)
    found = score("geneval", tmp_path / "seen.jsonl", tmp_path / "prompts.jsonl", complete=True)
    assert found["fixed"]["overall"] == 1.0
    table = "\ufeffitem_id,proposition_id,dependency,tuple,question\n"
    table += f'a,1,0,entity (x),"{odd}"\na,2,"1, 1",entity (x),"two\nlines"\n'
    (tmp_path / "table.csv").write_text(table)
    answers = [{"1": "yes", "2": "yes"}] * 4
    (tmp_path / "dpg.json").write_text(
        json.dumps({"prompts": [{"item_id": "a", "answers": answers}]})
    )
    found = score("dpg", tmp_path / "dpg.json", tmp_path / "table.csv", complete=True)
    assert found["fixed"]["dpg"] == 100.0
    (tmp_path / "latin.csv").write_bytes("é".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.csv must be UTF-8 text"):
        score("dpg", tmp_path / "dpg.json", tmp_path / "latin.csv")


def test_no_answers_are_no_number(tmp_path: Path):
    run = {"judge": "j", "model": "m", "records": []}
    (tmp_path / "run.jsonl").write_text(json.dumps(run) + "\n")
    found = score("tiif", tmp_path / "run.jsonl")
    assert found["runs"][0]["yes_rate"] is None
    json.dumps(found, allow_nan=False)
    record = {"attribute": "text", "length": "short", "row": 0, "expected": ["yes", "no"]}
    run["records"] = [record | {"answered": [None, "no"]}]
    (tmp_path / "run.jsonl").write_text(json.dumps(run) + "\n")
    found = score("tiif", tmp_path / "run.jsonl")["runs"][0]
    for mode in ("official", "fixed"):
        assert found[mode]["Advanced_Text Generation - Text Generation"] == [1.0, None]
    assert found["overall"]["short"]["mean"] == 1.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Brief reasoning: in 16:9, left: 2, at 10:10\nPrompt Compliance: 5\n"
         "Visual Naturalness: 4\nPhysical & Detail Integrity: 3", 4.0),
        ("Left: 2\nPrompt Compliance: 5\nVisual Naturalness: 4\nPhysical Consistency: 3", 4.0),
        ("Prompt Compliance: 5 lamps were asked\nVisual Naturalness: 2\n"
         "Physical Consistency: 2\nOther: N/A", None),
        ("A: 4\nB: 4\nC: 4\nOverall: 4", 4.0), ("A: 4\nB: 4\nC: 4\n**Overall Score:** 12/15", 4.0),
        ("<think>A: 1\nB: 1\nC: 1</think>A: 5\nB: 5\nC: 5", 5.0), ("<think>A: 1\nB: 1\nC: 1", None),
        ("- **A**: 4\n2. **B**: 4\n* C: 4 (good)", 4.0), ("A: 4-5\nB: 4\nC: 4", None),
        ("A: 5 out of 5\nB: 4 - fine\nC: 3", 4.0), ("A: 4,5\nB: 4\nC: 4", None),
        ("A: 4\nA: 4\nA: 4", None), ("ratio 16:9", None), ("2\n3\n4", None),
    ],
)  # fmt: skip
def test_only_lines_of_criteria_count(text: str, expected: float | None):
    assert imgedit.fixed(text) == expected


TABLE = 'item_id,proposition_id,dependency,tuple\na,1,0,entity (x)\na,2,"1, 1",entity (x)\n'
PROMPT = {"tag": "colors", "include": [{"class": "cow", "count": 1}], "prompt": "a cow"}
SEEN = {"prompt_index": 0, "detections": {}, "picture": "00000/0000.png"}
RECORD = {"attribute": "text", "length": "short", "row": 0, "expected": ["yes"], "answered": ["no"]}
MARKED = {"name": "a", "judge_text": "A: 4\nB: 4\nC: 4"}
ODD_FILES: dict[str, tuple[str, Any, str]] = {
    "an item twice": ("imgedit-uge", {"items": [{"key": "a", "answers": []}] * 2}, "a twice"),
    "a status that there isn't": (
        "imgedit-uge", {"items": [{"key": "a", "answers": [{"text": "", "status": "lost"}]}]},
        "status 'lost'",
    ),
    "a kind that there isn't": (
        "gedit", {"items": [{"key": "a", "kind": "x", "answers": []}]}, "kind 'x'"
    ),
    "a prompt that there isn't": (
        "wise", {"items": [{"key": "a", "prompt_id": 1001, "answers": []}]}, "prompt 1001"
    ),
    "a category that there isn't": (
        "rise", {"items": [{"key": "a", "category": "x", "answers": []}]}, "category 'x'"
    ),
    "a skill that there isn't": (
        "geneval2", {"items": [{"key": "a", "skills": ["x"], "answers": []}]}, "skill 'x'"
    ),
    "a DPG prompt twice": (
        "dpg", {"prompts": [{"item_id": "a", "answers": [{"1": "yes", "2": "no"}]}] * 2}, "a twice"
    ),
    "another DPG prompt": ("dpg", {"prompts": [{"item_id": "z", "answers": [{}]}]}, "prompt 'z'"),
    "a picture twice": ("geneval", [SEEN, SEEN], "twice"),
    "a prompt from the end": ("geneval", [SEEN | {"prompt_index": -1}], "prompt -1"),
    "two detectors": ("geneval", [SEEN, SEEN | {"picture": "b", "judge": "x"}], "of one judge"),
    "a number that is none": (
        "geneval", [SEEN | {"detections": {"cow": [{"box": [0] * 4, "score": math.nan}]}}],
        "NaN is no number",
    ),
    "a record twice": ("tiif", [{"judge": "j", "model": "m", "records": [RECORD] * 2}], "twice"),
    "another attribute": (
        "tiif", [{"judge": "j", "model": "m", "records": [RECORD | {"attribute": "x"}]}],
        "attribute 'x'",
    ),
    "more answers than questions": (
        "tiif", [{"judge": "j", "model": "m", "records": [RECORD | {"answered": ["no"] * 2}]}],
        "got 2 to 1",
    ),
    "no line": ("tiif", [], "must have a line, got none"),
    "an edit twice": ("imgedit", [[MARKED, MARKED]], "a twice"),
    "no edit": ("imgedit", [[]], "must have an item, got none"),
}  # fmt: skip
"""Benchmark, lines of the file, and what is said."""


@pytest.mark.parametrize("name", ODD_FILES)
def test_what_would_count_twice_or_not_at_all_is_refused(name: str, tmp_path: Path):
    """And the file is named that is at fault."""
    benchmark, content, said = ODD_FILES[name]
    lines = content if isinstance(content, list) else [content]
    path, asked = tmp_path / "seen", tmp_path / "asked"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    asked.write_text(json.dumps(PROMPT) if benchmark == "geneval" else TABLE)
    with pytest.raises(ValueError, match=rf"seen.*{said}"):
        score(benchmark, path, asked)


@pytest.mark.parametrize(
    ("table", "said"),
    [(TABLE.replace('"1, 1"', "x"), "whole numbers, got"), ("", "must have a row"),
     (TABLE + f"b,1,0,{'x' * 200_000}\n", "must be CSV"),
     (TABLE.replace("tuple", "t"), "column tuple"), ("\0" * 9, "must have a row")],
)  # fmt: skip
def test_a_table_at_fault_is_named(table: str, said: str, tmp_path: Path):
    path, asked = tmp_path / "seen", tmp_path / "asked"
    path.write_text('{"prompts": []}')
    asked.write_text(table)
    with pytest.raises(ValueError, match=rf"asked.*{said}"):
        score("dpg", path, asked)
    asked.write_text("\ufeff" + TABLE.replace("\n", "\r\n"))
    assert score("dpg", path, asked)["missing"] == ["a"]
