"""Published benchmarks: parity with recorded official outputs; what is mended in `fixed`."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

from ladder.evaluation.scorers import dpg, imgedit, tiif
from ladder.evaluation.scorers.score_file import score

# ---- parity ----


def test_geneval_is_that_of_the_official_scorer(golden: Path):
    found = score(
        "geneval",
        golden / "benchmarks/geneval_recorded.jsonl.gz",
        golden.parent / "prompts/geneval_metadata.jsonl",
        per_item=True,
    )
    assert found["official"] == pytest.approx(
        json.loads((golden / "benchmarks/geneval_expected.json").read_text()), abs=1e-12
    )
    assert (found["images"], found["partial"], len(found["items"])) == (2212, False, 2212)


def test_dpg_is_that_of_the_official_scorer(golden: Path):
    path = golden / "benchmarks/dpg_recorded.json.gz"
    recorded = json.loads(gzip.decompress(path.read_bytes()))
    table = golden / "benchmarks/dpg_recorded.csv"
    found = score("dpg", path, table, complete=True, per_item=True)
    for name in ("dpg", "l1", "l2"):
        assert found["official"][name] == pytest.approx(recorded["official"][name], abs=1e-10)
    scores = {item["item_id"]: item["official"] for item in found["items"]}
    for prompt in recorded["prompts"]:
        assert scores[prompt["item_id"]] == pytest.approx(prompt["official_score"], abs=1e-12)


def test_tiif_is_that_of_the_official_scorer(golden: Path):
    path = golden / "benchmarks/tiif_recorded.jsonl.gz"
    recorded = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    found = score("tiif", path)
    for run, one in zip(found["runs"], recorded, strict=True):
        for group, expected in one["official_summary"].items():
            theirs = [None if value != value else value for value in expected]
            assert run["official"][group] == theirs, (one["model"], group)
            # Every recorded answer is there and plain, so they differ by rounding only.
            assert run["fixed"][group] == pytest.approx(theirs, abs=1.1e-4)


def test_imgedit_texts_are_read_as_the_official_parser_does(golden: Path):
    recorded = json.loads((golden / "benchmarks/imgedit_parser.json").read_text())
    assert {one["name"]: imgedit.official(one["judge_text"]) for one in recorded} == {
        one["name"]: one["official_average"] for one in recorded
    }
    found = score("imgedit", golden / "benchmarks/imgedit_parser.json", per_item=True)
    fixed = {item["name"]: item["fixed"] for item in found["items"]}
    for name in ("canonical", "dot", "slash", "no_space", "bold", "one_line"):
        assert fixed[name] == 3.0, name
    assert fixed["cap_ignored"] == 1.0
    assert [fixed[name] for name in ("refusal", "empty", "out_of_range")] == [None] * 3
    assert found["fixed"]["invalid"] == 3


# ---- what is mended ----


def questions(*rows: tuple[int, str, str], item: str = "a") -> list[dict[str, str]]:
    return [
        {"item_id": item, "proposition_id": str(n), "dependency": parents, "tuple": f"{kind} (x)"}
        for n, parents, kind in rows
    ]


def both(rows: list[dict[str, str]], *pictures: dict[str, str]) -> tuple[dict | None, dict]:
    table = dpg.read_questions(rows)
    return dpg.official(table, {"a": pictures}), dpg.fixed(table, {"a": pictures})


DUMMY = questions((1, "0", "global"), item="dummy")


def test_zeros_pass_on_from_ancestors_in_any_order():
    rows = DUMMY + questions((1, "2", "entity"), (2, "3", "entity"), (3, "0", "entity"),
                             (4, "3, 2", "entity"))  # fmt: skip
    official, fixed = both(rows, {"1": "yes", "2": "yes", "3": "no", "4": "yes"})
    assert official["dpg"] == 25.0, "question 1 was judged before its parent was zeroed"
    assert fixed["dpg"] == 0.0


def test_categories_are_of_all_pictures_and_zeroed():
    rows = DUMMY + questions((1, "0", "entity - whole"), (2, "1, 1", "attribute - color"))
    official, fixed = both(rows, {"1": "yes", "2": "yes"}, {"1": "no", "2": "yes"})
    assert official["l2"] == {"attribute - color": 100.0, "entity - whole": 0.0}
    assert fixed["l2"] == {"attribute - color": 50.0, "entity - whole": 50.0}
    assert official["dpg"] == fixed["dpg"] == 50.0


def test_the_first_row_counts_and_a_plain_table_can_be_read():
    rows = questions((1, "0", "entity"), (2, "1", "entity"))
    official, fixed = both(rows, {"1": "no", "2": "yes"})
    assert official is None
    assert fixed["dpg"] == 0.0
    rows = questions((1, "0", "entity"), (2, "0", "entity"), (3, "2, 2", "entity"))
    official, fixed = both(rows, {"1": "no", "2": "yes", "3": "yes"})
    assert official["dpg"] == 100.0
    assert fixed["dpg"] == pytest.approx(200 / 3)


def test_a_broken_graph_is_dropped_there_and_an_error_here():
    rows = DUMMY + questions((1, "7, 7", "entity"))
    table = dpg.read_questions(rows)
    assert dpg.official(table, {"a": [{"1": "yes"}]})["dropped"] == ["a"]
    with pytest.raises(ValueError, match="a: question or answer 7 is not there"):
        dpg.fixed(table, {"a": [{"1": "yes"}]})
    circle = dpg.read_questions(DUMMY + questions((1, "2, 2", "entity"), (2, "1", "entity")))
    with pytest.raises(ValueError, match="in a circle"):
        dpg.fixed(circle, {"a": [{"1": "yes", "2": "yes"}]})


def test_a_yes_with_a_full_stop_is_a_yes_and_a_missing_answer_is_none():
    record = {"attribute": "text", "length": "short", "row": 0}
    records = [record | {"expected": ["yes", "no", "yes"], "answered": ["Yes.", "no"]}]
    name = "Advanced_Text Generation - Text Generation"
    assert tiif.official(records)[name] == [0.5, None]
    assert tiif.fixed(records)[name] == [pytest.approx(2 / 3), None]
    assert tiif.unanswered(records) == 1
    assert tiif.yes_rate(records) == 0.5
    assert "style (long)" in tiif.missing(records)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A: 4/10\nB: 3\nC: 2", None),
        ("A: 4\nB: 3", None),
        ("A: 4\nB: 3\nC: 2\nD: 1", None),
        ("A: 0\nB: 0\nC: 0", None),
        ("**A**: 5, B : 3 / 5; C: 4.", 4.0),
        ("A: 2\nB: 5\nC: 1", 1.67),
    ],
)
def test_what_a_judge_may_write(text: str, expected: float | None):
    assert imgedit.fixed(text) == expected


def test_edits_are_averaged_by_type():
    texts = {"add": "A: 5\nB: 5\nC: 5", "remove": "A: 1\nB: 1\nC: 1"}
    items = [{"name": str(i), "type": kind, "judge_text": texts[kind]}
             for i, kind in enumerate(["add", "add", "add", "remove"])]  # fmt: skip
    items.append({"name": "4", "type": "add", "judge_text": "no"})
    found = imgedit.summary(items, imgedit.fixed)
    assert found == {"types": {"add": 5.0, "remove": 1.0}, "macro": 3.0, "micro": 4.0,
                     "invalid": 1, "items": 5}  # fmt: skip


# ---- what is refused ----


def geneval_files(folder: Path, pictures: int) -> tuple[Path, Path]:
    include = [{"class": "star", "count": 1}]
    row = {"tag": "single_object", "include": include, "prompt": "a star"}
    (folder / "prompts.jsonl").write_text(json.dumps(row))
    star = {"star": [{"box": [0, 0, 9, 9], "score": 0.9}]}
    lines = [json.dumps({"prompt_index": 0, "detections": star})] * pictures
    (folder / "seen.jsonl").write_text("\n".join(lines))
    return folder / "seen.jsonl", folder / "prompts.jsonl"


def test_a_run_that_lacks_pictures_is_refused_or_marked(tmp_path: Path):
    files = geneval_files(tmp_path, 3)
    with pytest.raises(ValueError, match="must be complete, 1 are missing: prompt 0"):
        score("geneval", *files, complete=True)
    found = score("geneval", *files)
    assert (found["partial"], found["missing"]) == (True, ["prompt 0"])
    whole = score("geneval", *geneval_files(tmp_path, 4))
    assert (whole["partial"], whole["official"]["overall"]) == (False, 1.0)


def test_files_of_another_form_are_named(tmp_path: Path):
    files = geneval_files(tmp_path, 4)
    with pytest.raises(ValueError, match=r"--prompts FILE is needed"):
        score("geneval", files[0])
    with pytest.raises(ValueError, match=r"seen\.jsonl is not in the form of tiif: KeyError"):
        score("tiif", files[0])
    (tmp_path / "table.csv").write_text("item_id,proposition_id,dependency,tuple\na,1,0,b (c)")
    with pytest.raises(ValueError, match=r"not in the form of dpg: JSONDecodeError"):
        score("dpg", files[0], tmp_path / "table.csv")
    rows = csv.DictReader(["item_id,proposition_id,dependency", "a,1,0"])
    with pytest.raises(ValueError, match="need a column tuple, got item_id, proposition_id"):
        dpg.read_questions(rows)
