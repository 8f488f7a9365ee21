"""From folders of pictures to scores: complete or refused, once asked and resumed."""

from __future__ import annotations

import csv
import errno
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ladder.cli import main
from ladder.evaluation.scorers.score_file import score
from ladder.evaluation.vlm_judges import Answer, JudgeQuestion
from ladder.evaluation.vlm_judges.layouts import Layout, dpg, imgedit, tiif
from ladder.evaluation.vlm_judges.observe import observe, rows_file
from ladder.evaluation.vlm_judges.pictures import JudgePicture, quarters

COLUMNS = ("item_id", "proposition_id", "dependency", "tuple", "question_natural_language")
REDS = {"all red": 4, "half": 2}
"""How many quarters of each DPG item's grid are red."""


class Eye:
    """Says yes to `is it red?` where the picture's first pixel is; counts what it is asked."""

    name, version, temperature, prompt = "eye", "1", 0.0, "{question}"
    settings: Mapping[str, Any] = {}

    def __init__(self, most: int = 10**6) -> None:
        self.asked: list[str] = []
        self.most = most

    def answer(self, questions: Sequence[JudgeQuestion]) -> list[Answer]:
        if len(self.asked) + len(questions) > self.most:
            raise ConnectionError("no more")
        self.asked += [question.text for question in questions]
        reds = [q.pictures[-1].open().getpixel((0, 0)) == (255, 0, 0) for q in questions]
        return [Answer("Yes." if red else "No, it isn't.") for red in reds]


@pytest.fixture
def dpg_files(tmp_path: Path) -> tuple[Path, Path]:
    """Grids of two prompts, and their questions."""
    images, table = tmp_path / "images", tmp_path / "table.csv"
    images.mkdir()
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for name in REDS:
            writer.writerow([name, 1, "0", "attribute - color (x)", "is it red?"])
            writer.writerow([name, 2, "1, 1", "attribute - color (x)", "is it\nvery red?"])
    for name, reds in REDS.items():
        grid = Image.new("RGB", (20, 20), "blue")
        for corner in [(0, 0), (10, 0), (0, 10), (10, 10)][:reds]:
            grid.paste("red", (*corner, corner[0] + 10, corner[1] + 10))
        grid.save(images / f"{name}.png")
    return images, table


def test_dpg_is_observed_and_scored(dpg_files: tuple[Path, Path], tmp_path: Path):
    eye, out = Eye(), tmp_path / "out.json"
    done = observe(dpg(*dpg_files), eye, out)
    assert done == {"asked": 2, "stored": 0, "missing": 0}
    assert len(eye.asked) == 2 * 4 * 2
    assert "is it\nvery red?" in eye.asked
    found = score("dpg", out, dpg_files[1], complete=True, per_item=True)
    scores = {item["item_id"]: item["fixed"] for item in found["items"]}
    assert scores == {"all red": 1.0, "half": 0.5}
    written = json.loads(out.read_text())
    assert (written["benchmark"], written["judge"], written["partial"]) == ("dpg-eye", "eye", False)
    row = json.loads(rows_file(out).read_text().splitlines()[0])
    assert {"judge", "judge_version", "temperature", "prompt_hash", "answers"} < {*row}


def test_a_run_goes_on_where_it_was(dpg_files: tuple[Path, Path], tmp_path: Path):
    layout, out = dpg(*dpg_files), tmp_path / "out.json"
    observe(layout, Eye(), out)
    whole = out.read_text()
    first, second = rows_file(out).read_text().splitlines(keepends=True)
    rows_file(out).write_text(first + second[:30])  # killed while it wrote the second row
    eye = Eye()
    assert observe(layout, eye, out) == {"asked": 1, "stored": 1, "missing": 0}
    assert (len(eye.asked), out.read_text()) == (8, whole)
    assert observe(layout, Eye(0), out) == {"asked": 0, "stored": 2, "missing": 0}
    Image.new("RGB", (20, 20), "blue").save(dpg_files[0] / "half.png")
    assert observe(layout, Eye(), out)["asked"] == 1, "another picture is another question"
    other = Eye()
    other.name = "other"
    with pytest.raises(ValueError, match="take another --output"):
        observe(layout, other, out)


@pytest.mark.parametrize(
    ("rows", "said"),
    [(b"\0\0\0\n", "line 1 must be JSON"), (b"[1]\n", "row 1 must have key, asked, answers"),
     (b'{"key": "a"}\n', "row 1 must have"), (b"\xff\n", "must be UTF-8"),
     (b'{"key": NaN}\n', "NaN is no number")],
)  # fmt: skip
def test_rows_in_pieces_are_named(
    rows: bytes, said: str, dpg_files: tuple[Path, Path], tmp_path: Path
):
    out = tmp_path / "out.json"
    rows_file(out).write_bytes(rows)
    with pytest.raises(ValueError, match=rf"out\.json\.rows.*{said}"):
        observe(dpg(*dpg_files), Eye(), out)
    # A piece without an end is what a killed run leaves: it is cut off.
    rows_file(out).write_bytes(rows.rstrip(b"\n"))
    assert observe(dpg(*dpg_files), Eye(), out)["asked"] == 2


def test_rows_of_other_pictures_and_repeated_rows_change_nothing(
    dpg_files: tuple[Path, Path], tmp_path: Path
):
    layout, out = dpg(*dpg_files), tmp_path / "out.json"
    observe(layout, Eye(), out)
    whole, rows = out.read_text(), rows_file(out).read_text()
    gone = json.dumps(json.loads(rows.splitlines()[0]) | {"key": "gone"}) + "\n"
    rows_file(out).write_text(gone + rows + rows)
    assert observe(layout, Eye(0), out)["stored"] == 2
    assert out.read_text() == whole


class Bureaucrat(Eye):
    """Refuses every request for the same reason."""

    def answer(self, questions: Sequence[JudgeQuestion]) -> list[Answer]:
        self.asked += [question.text for question in questions]
        reason = "status 400: Unsupported parameter: max_completion_tokens"
        return [Answer("", "refused", reason)] * len(questions)


def test_a_server_that_refuses_all_alike_is_not_asked_to_the_end(
    dpg_files: tuple[Path, Path], tmp_path: Path
):
    """An option that it lacks is no fault of a picture; few refusals, or many kinds, are."""
    one, out = dpg(*dpg_files), tmp_path / "out.json"
    many = replace(one, items=[replace(one.items[0], key=str(n)) for n in range(40)])
    judge = Bureaucrat()
    with pytest.raises(ConnectionError, match="answers nothing: status 400: Unsupported parameter"):
        observe(many, judge, out)
    assert len(judge.asked) <= 128
    assert rows_file(out).read_text() == "", "a rerun asks again, without --retry"
    assert observe(one, judge, out)["refused"] == 16


def test_a_full_disk_leaves_no_half_a_file(
    dpg_files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    layout, out = dpg(*dpg_files), tmp_path / "out.json"
    write = Path.write_text

    def full(path: Path, text: str, **named: Any) -> int:
        write(path, text[:10], **named)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match=r"No space left on device.*out\.json'"):
        observe(layout, Eye(), out)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.glob("*out.json*")] == ["out.json.rows"]
    assert observe(layout, Eye(0), out) == {"asked": 0, "stored": 2, "missing": 0}


def test_missing_pictures_are_counted_or_marked(dpg_files: tuple[Path, Path], tmp_path: Path):
    layout, out = dpg(*dpg_files), tmp_path / "out.json"
    (dpg_files[0] / "half.png").unlink()
    with pytest.raises(ValueError, match=r"1 of 2 items of dpg .*half\.png is not there\): --part"):
        observe(layout, Eye(), out)
    assert not out.exists()
    assert observe(layout, Eye(), out, partial=True)["missing"] == 1
    assert json.loads(out.read_text())["partial"] is True
    found = score("dpg", out, dpg_files[1])
    assert (found["partial"], found["missing"]) == (True, ["half"])
    (dpg_files[0] / "all red.png").unlink()
    with pytest.raises(ValueError, match="0 of 2 items"):
        observe(layout, Eye(), out, partial=True)


def test_a_grid_is_cut_into_four(tmp_path: Path):
    grid, path = Image.new("RGB", (4, 2)), tmp_path / "grid.png"
    for x in range(4):
        grid.putpixel((x, 1), (x, 0, 0))
    grid.save(path)
    parts = quarters(path)
    assert [part.open().getpixel((0, 0))[0] for part in parts] == [0, 0, 0, 2]
    assert {part.size for part in parts} == {(2, 1)}
    assert len({part.digest for part in parts}) == 4
    Image.new("RGB", (3, 2)).save(path)
    with pytest.raises(ValueError, match="even sides, got 3 x 2"):
        quarters(path)[0].open()


def test_an_edited_picture_is_brought_to_the_size_of_its_source(tmp_path: Path):
    Image.new("RGB", (8, 4)).save(tmp_path / "before.png")
    Image.new("RGB", (16, 16), "red").save(tmp_path / "after.png")
    after = JudgePicture(tmp_path / "after.png", like=tmp_path / "before.png")
    assert (after.size, after.open().size, after.open().getpixel((0, 0))) == (
        (8, 4), (8, 4), (255, 0, 0)
    )  # fmt: skip


def tiif_files(folder: Path) -> tuple[Path, Path]:
    images, questions = folder / "images", folder / "questions"
    questions.mkdir()
    for attribute in ("style", "text"):
        row = {
            "type": attribute,
            "yn_question_list": ["red?", "blue?"],
            "yn_answer_list": ["yes"] * 2,
        }
        (questions / f"{attribute}_eval_prompts.jsonl").write_text(json.dumps(row) + "\n")
        for length in ("short", "long"):
            path = images / attribute / "ours" / f"{length}_description"
            path.mkdir(parents=True)
            Image.new("RGB", (8, 8), "red" if attribute == "style" else "blue").save(path / "0.png")
    return images, questions


def test_tiif_is_observed_and_scored(tmp_path: Path):
    images, questions = tiif_files(tmp_path)
    out = tmp_path / "out.jsonl"
    assert observe(tiif(images, questions, "ours"), Eye(), out)["asked"] == 4
    run = score("tiif", out)["runs"][0]
    assert (run["judge"], run["model"], run["yes_rate"]) == ("eye", "ours", 0.5)
    assert run["official"]["Advanced_Style Control - Style Control"] == [1.0, 1.0]
    assert run["official"]["Advanced_Text Generation - Text Generation"] == [0.0, 0.0]
    (images / "text/ours/long_description/0.png").unlink()
    observe(tiif(images, questions, "ours"), Eye(), out, partial=True)
    assert "eye on ours: 2 answers" in score("tiif", out)["missing"]
    with pytest.raises(ValueError, match="0 of 4 items"):
        observe(tiif(images, questions, "theirs"), Eye(), out)


class Critic(Eye):
    """Writes what ImgEdit's judges write, and remembers the pictures it saw."""

    def answer(self, questions: Sequence[JudgeQuestion]) -> list[Answer]:
        self.asked += [question.text for question in questions]
        self.seen = [[picture.size for picture in question.pictures] for question in questions]
        return [Answer("Brief reasoning: fine\nA: 4\nB: 3\nC: 2")] * len(questions)


def imgedit_layout(folder: Path) -> Layout:
    edits = {str(key): {"id": f"animal/{key}.jpg", "prompt": f"edit {key}", "edit_type": "add"}
             for key in range(2)}  # fmt: skip
    (folder / "edits.json").write_text(json.dumps(edits))
    (folder / "prompts.json").write_text(json.dumps({"add": "Rate <edit_prompt> now."}))
    (folder / "originals/animal").mkdir(parents=True, exist_ok=True)
    (folder / "edited").mkdir(exist_ok=True)
    for key in range(2):
        Image.new("RGB", (8, 8)).save(folder / f"originals/animal/{key}.jpg")
        Image.new("RGB", (16, 16)).save(folder / f"edited/{key}.png")
    files = [folder / name for name in ("edited", "edits.json", "prompts.json", "originals")]
    return imgedit(*files)


def test_imgedit_is_observed_and_scored(tmp_path: Path):
    critic, out = Critic(), tmp_path / "out.json"
    observe(imgedit_layout(tmp_path), critic, out)
    assert critic.asked == ["Rate edit 0 now.", "Rate edit 1 now."]
    assert critic.seen == [[(8, 8), (16, 16)]] * 2, "the original first"
    found = score("imgedit", out)
    assert (found["official"]["macro"], found["fixed"]["micro"]) == (3.0, 3.0)
    (tmp_path / "prompts.json").write_text("{}")
    with pytest.raises(ValueError, match="needs a prompt for add"):
        imgedit(tmp_path, tmp_path / "edits.json", tmp_path / "prompts.json", tmp_path)


def test_a_missing_edit_is_invalid_not_forgotten(tmp_path: Path):
    layout, out = imgedit_layout(tmp_path), tmp_path / "out.json"
    (tmp_path / "edited/1.png").unlink()
    observe(layout, Critic(), out, partial=True)
    items = json.loads(out.read_text())
    assert [(item["judge_text"] == "", item["partial"]) for item in items] == [
        (False, True), (True, True)
    ]  # fmt: skip
    found = score("imgedit", out)
    assert (found["fixed"]["invalid"], found["missing"], found["failures"]) == (1, ["1"], {})


# ---- the verb ----


def test_the_verb_estimates_and_sends_nothing_unasked(
    dpg_files: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
):
    monkeypatch.setenv("LADDER_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "out.json"
    words = ["observe", "dpg", str(dpg_files[0]), "--questions", str(dpg_files[1])]
    words += ["-o", str(out), "--judge", "endpoint"]
    assert main.main(words) == 2
    assert "--judge endpoint needs the judge's model and --url URL" in capsys.readouterr().err
    words += ["--model", "toy", "--url", "http://127.0.0.1:9/v1", "--price", "2.5", "10"]
    assert main.main(words) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("16 calls (0 of 16 answers are stored), about ")
    assert shown[1] == "nothing was sent: --yes sends it"
    assert main.main([*words, "--yes", "--tries", "1"]) == 2
    assert "the judge answers nothing: no answer in 1 tries" in capsys.readouterr().err
    assert not out.exists()


def test_the_verb_names_what_it_lacks(tmp_path: Path, capsys: pytest.CaptureFixture):
    images, questions = tiif_files(tmp_path)
    words = ["observe", "tiif", str(images), "--questions", str(questions), "--judge", "oracle"]
    words += ["-o", str(tmp_path / "out")]
    assert main.main(words) == 2
    assert "tiif needs --name NAME" in capsys.readouterr().err
    assert main.main([*words, "--name", "ours"]) == 2
    assert "the oracle knows the toy world's questions only" in capsys.readouterr().err
