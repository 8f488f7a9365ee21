"""Every benchmark from its files to a table: drawn, asked and scored, a few prompts each.

The files are made up in the forms of the published ones; where a copy of those is at hand, the
layouts are built of it too.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.evaluation.vlm_judges.server import JudgeServer, said, serving
from tests.tiny import tiny_picture

from ladder.cli import main
from ladder.evaluation.draw_benchmark import NOTE, Shard
from ladder.evaluation.published import DRAWINGS, BenchmarkFiles, drawings
from ladder.evaluation.scorers.rise import LOGICAL
from ladder.evaluation.scorers.score_file import SCORERS, score
from ladder.evaluation.vlm_judges.suites import RISE_PROMPTS, VIESCORE

WISE_CODE = """
def build_evaluation_messages(prompt_data, image):
    return [
        {"role": "system", "content": [{"type": "text", "text": "You judge."}]},
        {"role": "user", "content": [
            {"type": "text", "text": f"Mark PROMPT {prompt_data['Prompt']} for \\
{prompt_data['Explanation']}"},
        ]},
    ]
"""
THREE_MARKS = "Prompt Compliance: 4\nVisual Naturalness: 3\nPhysical Consistency: 2"
REPLIES = {
    "yes or no": "Yes", "one word": "Two", "Mark VIE": '{"score": [6, 6]}',
    "Mark RISE": "Final Score: 4", "Mark LOGIC": "Final Score: 1",
    "Mark PROMPT": "Consistency: 2\nRealism: 1\nAesthetic Quality: 0",
    "Copy the TEXT.": "Two, three!", "Mark UGE": "Fine. Score: 3 (ok)", "Mark EDIT": THREE_MARKS,
}  # fmt: skip
"""What the judge says, by a piece of what it is asked."""


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, list[str]]:
    """The options that name the files of each benchmark; every benchmark has two items."""
    source, originals = tmp_path / "source", tmp_path / "originals"
    (originals).mkdir()
    for name in ("a.png", "b.png"):
        tiny_picture(len(name)).save(originals / name)
    home = ["--source", str(source)]
    with_originals = [*home, "--originals", str(originals)]
    clause = {
        "tag": "single_object",
        "include": [{"class": "star", "count": 1}],
        "prompt": "a star",
    }
    write(source / "prompts/evaluation_metadata.jsonl", f"{json.dumps(clause)}\n" * 2)
    write(
        source / "dpg_bench/dpg_bench.csv",
        "item_id,text,proposition_id,dependency,tuple,question_natural_language\n"
        + "".join(f'{n},a star,1,0,entity (x),A star?\n{n},a star,2,"1, 1",entity (x),Red?\n'
                  for n in "ab"),
    )  # fmt: skip
    asked = {"type": "style", "yn_question_list": ["Red?"], "yn_answer_list": ["yes"]}
    text = {"type": "style", "short_description": "a star", "long_description": "a red star"}
    write(source / "data/testmini_eval_prompts/style.jsonl", f"{json.dumps(asked)}\n" * 2)
    write(source / "data/testmini_prompts/style.jsonl", f"{json.dumps(text)}\n" * 2)
    edits = {
        name: {"id": f"{name}.png", "prompt": "make it red", "edit_type": "add"} for name in "ab"
    }
    write(source / "Benchmark/Basic/basic_edit.json", edits)
    write(source / "Benchmark/Basic/prompts.json", {"add": "Mark EDIT <edit_prompt>"})
    write(source / "Benchmark/UGE/UGE_edit.json", edits)
    write(source / "Benchmark/UGE/UGE_bench.py", 'prompt = "Mark UGE <edit_prompt>"\n')
    turns = {
        name: {"id": f"{name}.png", "turn1": "make it red", "turn2": "now blue"} for name in "ab"
    }
    write(tmp_path / "turns.json", turns)
    names = ("_context_no_delimit", "_prompts_0shot_two_image_edit_rule",
             "_prompts_0shot_tie_rule_SC", "_prompts_0shot_rule_PQ")  # fmt: skip
    write(source / VIESCORE, "".join(f'{name} = "Mark VIE <instruction>"\n' for name in names))
    picture = io.BytesIO()
    tiny_picture(0).save(picture, format="PNG")
    row = {"key": "k", "task_type": "ps_human", "instruction": "make it red",
           "instruction_language": "en", "Intersection_exist": True,
           "input_image": {"bytes": picture.getvalue(), "path": None}}  # fmt: skip
    rows = [row | {"key": "k0"}, row | {"key": "k1"}, row | {"instruction_language": "cn"}]
    (source / "data").mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), source / "data/train.parquet")
    for folder, code in (("WISE_legacy", "WISE_legacy/gpt_eval.py"), ("", "vllm_eval.py")):
        write(source / code, WISE_CODE)
        data = "WISE_legacy/data/culture.json" if folder else "data_verified/culture_verified.json"
        prompt = {"Prompt": "a {star}", "Explanation": "a star"}
        write(source / data, [prompt | {"prompt_id": n} for n in (1, 2)])
    vqa = {"prompt": "two stars", "atom_count": 3, "skills": ["count"],
           "vqa_list": [["How many stars are in the image?", "two"]]}  # fmt: skip
    write(source / "geneval2_data.jsonl", f"{json.dumps(vqa)}\n" * 2)
    code = """class Reader:
    def __init__(self):
        self.qwen_prompt = ("Copy the" " TEXT.")
"""
    write(source / "textbench/evaluate_text_reward.py", code)
    for name in ("text_prompts.jsonl", "text_prompts_zh.jsonl"):
        rows = [{"prompt_id": n, "prompt": "a sign", "text": ["TWO", "words"]} for n in (0, 7)]
        write(source / "textbench" / name, "".join(json.dumps(row) + "\n" for row in rows))
    prompts = {name: "Mark LOGIC" if "logical" in name else "Mark RISE {instruct}"
               for name in RISE_PROMPTS}  # fmt: skip
    write(source / "utils.py", "".join(f'{name} = "{text}"\n' for name, text in prompts.items()))
    rise = [{"index": "t1", "category": "temporal_reasoning", "reference": "old"},
            {"index": "l1", "category": LOGICAL, "reference_img": "a.png"}]  # fmt: skip
    rise = [row | {"instruction": "make it old", "image": "a.png"} for row in rise]
    write(source / "data/data_total.json", rise)
    tiny_picture(0).save(source / "data/a.png")
    return {
        "geneval": home, "dpg": home, "tiif": [*home, "--name", "ours"], "imgedit": with_originals,
        "imgedit-uge": with_originals,
        "imgedit-multiturn": [*with_originals, "--questions", str(tmp_path / "turns.json")],
        "gedit": home, "wise": home, "wise-verified": home, "geneval2": home, "longtext": home,
        "longtext-zh": home, "rise": home,
    }  # fmt: skip


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    def reply(handler, body):
        asked = body["messages"][-1]["content"][0]["text"]
        text = next(text for piece, text in REPLIES.items() if piece in asked)
        logprobs = {"content": [{"token": text, "logprob": 0.0}]} if "logprobs" in body else None
        said(text, logprobs=logprobs)(handler, body)

    monkeypatch.setenv("LADDER_CACHE", str(tmp_path / "cache"))
    with serving() as state:
        state.forever = reply
        yield state


QUICK = ["--steps", "1", "--guidance", "1", "--image-guidance", "1"]
EXPECTED = {
    "dpg": 100.0, "tiif": 1.0, "imgedit": 3.0, "imgedit-uge": 3.0, "imgedit-multiturn": 3.0,
    "gedit": 6.0, "wise": 0.8, "geneval2": 100.0, "longtext": 0.5, "longtext-zh": 0.5, "rise": 50.0,
}  # fmt: skip
"""The overall score under those replies. RISE: 4 of 5 isn't right, 1 of 1 is. LongText: one of two
words; T, w, o and r of the characters TWOwords."""
REQUESTS = {"dpg": 16, "tiif": 4, "imgedit-multiturn": 4, "gedit": 4, "rise": 3, "longtext": 8,
            "longtext-zh": 8}  # fmt: skip
"""Different questions about two items, where they aren't two."""


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_every_benchmark_is_drawn_asked_and_scored(
    name: str, files: dict, server: JudgeServer, tmp_path: Path, capsys: pytest.CaptureFixture
):
    out = tmp_path / "out"
    words = ["benchmark", name, "--out", str(out), *files[name], *QUICK, "--judge", "endpoint"]
    words += ["--judge-model", "toy", "--url", server.url]
    assert main.main(words) == 0
    assert "nothing was sent: --yes sends it" in capsys.readouterr().out
    assert main.main([*words, "--yes"]) == 0
    shown = capsys.readouterr().out
    assert "0 pictures drawn" in shown, "the second run goes on with the pictures of the first"
    assert "| ours" in shown
    assert len(server.bodies) == REQUESTS.get(name, 2)
    found = json.loads((out / "score.json").read_text())
    overall = found["runs"][0]["overall"]["short"] if name == "tiif" else found["overall"]
    assert overall["mean"] == pytest.approx(EXPECTED[name])
    assert main.main([*words, "--yes"]) == 0
    assert len(server.bodies) == REQUESTS.get(name, 2), "nothing is asked twice"


@pytest.mark.slow
def test_geneval_is_drawn_detected_and_scored(
    files: dict,
    tiny_detector: Path,
    tiny_clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
):
    """By a detector of random weights, which knows cows: nothing is right, all is there."""
    clause = {"tag": "counting", "include": [{"class": "cow", "count": 99}], "prompt": "a star"}
    prompts, out = tmp_path / "cows.jsonl", tmp_path / "out"
    write(prompts, f"{json.dumps(clause)}\n" * 2)
    words = ["benchmark", "geneval", "--out", str(out), *files["geneval"], *QUICK]
    words += ["--questions", str(prompts), "--judge", "mask2former+clip"]
    words += ["--judge-model", str(tiny_detector), "--clip", str(tiny_clip)]
    assert main.main(words) == 0
    shown = capsys.readouterr().out
    assert "8 pictures drawn" in shown
    assert "8 pictures seen" in shown
    assert "0.000 [0.000, 0.000]" in shown
    found = json.loads((out / "score.json").read_text())
    assert (found["images"], found["partial"], found["missing"]) == (8, False, [])
    assert main.main([*words, "--limit", "1"]) == 0
    assert "0 pictures drawn" in capsys.readouterr().out


def test_pictures_lie_where_the_benchmarks_want_them(files: dict, tmp_path: Path):
    wanted = {
        "geneval": "00001/samples/0003.png", "dpg": "b.png",
        "tiif": "style/ours/long_description/1.png", "imgedit": "b.png", "imgedit-uge": "b.png",
        "imgedit-multiturn": "b_2.png", "gedit": "fullset/ps_human/en/k1.png", "wise": "2.png",
        "wise-verified": "2.png", "geneval2": "00001.png", "longtext": "0007_4.png",
        "longtext-zh": "0007_4.png",
        "rise": f"images/{LOGICAL}/l1.png",
    }  # fmt: skip
    assert {*wanted} == {*DRAWINGS} == {*SCORERS} == {*files}
    for name, last in wanted.items():
        found = drawings(files_of(name, files[name]))
        assert str(found[-1].path) == last
        assert len({one.path for one in found}) == len(found)


def files_of(name: str, words: list[str]) -> BenchmarkFiles:
    given = dict(zip(words[::2], words[1::2], strict=True))
    paths = {
        key: Path(given[f"--{key}"]) for key in ("questions", "originals") if f"--{key}" in given
    }
    return BenchmarkFiles(name, Path(given["--source"]), model=given.get("--name"), **paths)


@pytest.mark.slow
def test_shards_draw_the_same_pictures_as_one_process(files: dict, tmp_path: Path):
    """Stopped runs go on, other settings are refused, and a grid is four pictures of one prompt."""
    words = ["draw", "dpg", *files["dpg"], *QUICK]
    assert main.main([*words, "--out", str(tmp_path / "one")]) == 0
    for part in ("0/2", "1/2"):
        assert main.main([*words, "--out", str(tmp_path / "two"), "--shard", part]) == 0
    both = [{path.name: path.read_bytes() for path in (tmp_path / name).glob("*.png")}
            for name in ("one", "two")]  # fmt: skip
    assert {*both[0]} == {"a.png", "b.png"}
    assert both[0] == both[1]
    grid = Image.open(tmp_path / "one/a.png")
    assert len({grid.crop((x, y, x + 96, y + 96)).tobytes() for x in (0, 96) for y in (0, 96)}) == 4
    assert both[0]["a.png"] != both[0]["b.png"], "equal prompts in other places have other noise"
    assert main.main([*words, "--out", str(tmp_path / "one"), "--seed", "1"]) == 2
    assert (tmp_path / "one" / NOTE).is_file()


def test_a_shard_is_named_or_found(monkeypatch: pytest.MonkeyPatch):
    assert Shard.of("1/4") == Shard(1, 4)
    assert Shard.of(None) == Shard(0, 1)
    monkeypatch.setenv("SLURM_PROCID", "2")
    monkeypatch.setenv("SLURM_NTASKS", "3")
    assert Shard.of(None) == Shard(2, 3)
    for text in ("4/4", "1", "a/b", "-1/2"):
        with pytest.raises(ValueError, match="a shard is I/N"):
            Shard.of(text)


def test_what_is_missing_is_named(files: dict, tmp_path: Path, capsys: pytest.CaptureFixture):
    none = ["--source", str(tmp_path / "none")]
    out = ["--out", str(tmp_path / "out")]
    assert main.main(["draw", "dpg", *none, *out]) == 2
    assert "`ladder fetch benchmark dpg` brings it" in capsys.readouterr().err
    assert main.main(["draw", "imgedit", *files["imgedit"][:2], *out]) == 2
    assert "imgedit needs --originals FOLDER" in capsys.readouterr().err
    assert main.main(["draw", "tiif", *files["tiif"][:2], *out]) == 2
    assert "tiif needs --name NAME" in capsys.readouterr().err


# ---- the table ----


def result(path: Path, benchmark: str, observations: Path, reference: Path | None = None) -> Path:
    write(path, {"model": path.stem} | score(benchmark, observations, reference))
    return path


def test_models_stand_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture):
    """A row is a model under one judge; the published rows are those of the same benchmarks."""
    paths = []
    for model, judge, marks in (("a", "one", (5, 3)), ("a", "two", (1, 1)), ("b", "one", (2, 2))):
        texts = [f"A: {mark}\nB: {mark}\nC: {mark}" for mark in marks]
        items = [{"name": str(n), "type": "add", "judge": judge, "judge_text": text}
                 for n, text in enumerate(texts)]  # fmt: skip
        write(tmp_path / "items.json", items)
        paths.append(result(tmp_path / judge / f"{model}.json", "imgedit", tmp_path / "items.json"))
    words = ["table", *map(str, paths)]
    assert main.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["model", "judge", "scores", "imgedit"]
    assert cells[2][:3] == ["a", "one", "ours"]
    assert cells[2][3] == "4.00 [3.00, 5.00]"
    assert cells[3] == ["a", "two", "ours", "1.00 [1.00, 1.00]"]
    assert cells[5] == ["TBAC-UniImage-3B", "the benchmark's own", "published", "3.25"]
    assert len(cells) == 6
    assert main.main([*words, "--format", "latex"]) == 0
    assert r"\begin{tabular}" in capsys.readouterr().out
    assert main.main([*words, "--format", "csv"]) == 0
    first = capsys.readouterr().out.splitlines()[:2]
    assert first[0].startswith("model,judge,origin,benchmark,mean,low,high")
    assert first[1] == "a,one,ours,imgedit,4.0,3.0,5.0,2,False"
    write(tmp_path / "other.json", {"benchmark": "none"})
    assert main.main(["table", str(tmp_path / "other.json")]) == 2
    assert "must be printed by `ladder score`" in capsys.readouterr().err


def printed(path: Path, **changes: Any) -> Path:
    found = {"model": "m", "benchmark": "dpg", "partial": False, "judge": "one",
             "overall": {"mean": 80.0, "low": 79.0, "high": 81.5, "n": 1065}}  # fmt: skip
    write(path, found | changes)
    return path


def test_names_are_escaped(tmp_path: Path, capsys: pytest.CaptureFixture):
    """A bar ends a cell of Markdown, a line break ends a row; LaTeX has more of the kind."""
    odd = printed(tmp_path / "odd.json", model="a|b\nc_d & 5% #1 {x}", partial=True)
    assert main.main(["table", str(odd)]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[2].startswith(r"| a\|b c_d & 5% #1 {x} ")
    assert "80.00* [79.00, 81.50]" in rows[2]
    assert len({len(row.replace(r"\|", "..")) for row in rows}) == 1
    assert main.main(["table", str(odd), "--format", "latex"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("a|b"))
    assert row.startswith(r"a|b c\_d \& 5\% \#1 \{x\} & one & ours & 80.00* [79.00, 81.50] \\")
    assert main.main(["table", str(odd), "--format", "csv"]) == 0
    rows = [*csv.DictReader(io.StringIO(capsys.readouterr().out))]
    assert (rows[0]["model"], rows[0]["prompts"]) == ("a|b\nc_d & 5% #1 {x}", "1065")
    assert {row["origin"] for row in rows[1:]} == {"published"}


def test_a_cell_is_one_score(tmp_path: Path, capsys: pytest.CaptureFixture):
    """Versions of one judge are two judges."""
    first = printed(tmp_path / "a.json")
    other = printed(tmp_path / "b.json", judge_version="one-2026")
    assert main.main(["table", str(first), str(other)]) == 0
    assert "one (one-2026)" in capsys.readouterr().out
    assert main.main(["table", str(first), str(printed(tmp_path / "c.json"))]) == 2
    assert "got two of m on dpg by one" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes",
    [{"overall": {"mean": 1}}, {"overall": None}, {"overall": {"mean": "x", "low": 0, "high": 1}},
     {"benchmark": ["dpg"]}, {"runs": 5}],
)  # fmt: skip
def test_a_file_of_another_form_is_named(
    changes: dict, tmp_path: Path, capsys: pytest.CaptureFixture
):
    assert main.main(["table", str(printed(tmp_path / "odd.json", **changes))]) == 2
    assert "odd.json must be printed by `ladder score`" in capsys.readouterr().err
