"""Judges: the oracle tells the truth, models answer in text, an endpoint is asked no more than
needed and given up in the end."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.evaluation.vlm_judges.server import JudgeServer, completion, said, serving, status
from tests.tiny import SIDE, tiny_mllm, tiny_picture
from transformers import (
    BertTokenizerFast,
    BlipConfig,
    BlipForQuestionAnswering,
    BlipImageProcessorPil,
)

from ladder.cli import main
from ladder.evaluation.scorers.judge_text import declines, yes_or_no
from ladder.evaluation.scorers.score_file import score
from ladder.evaluation.toy.test_set import evaluation_questions
from ladder.evaluation.vlm_judges import Answer, JudgeQuestion, held_to_rule, identity
from ladder.evaluation.vlm_judges.batch import BatchAnswers, write_batch
from ladder.evaluation.vlm_judges.local_vqa import BlipJudge, QwenJudge
from ladder.evaluation.vlm_judges.observe import rows_file
from ladder.evaluation.vlm_judges.openai import Endpoint, picture_tokens
from ladder.evaluation.vlm_judges.oracle import Oracle, reply
from ladder.evaluation.vlm_judges.pictures import JudgePicture, PictureEncoding
from ladder.world.oracle import detect
from ladder.world.render import render
from ladder.world.scenes import Scene, Thing

ASKED = [
    JudgeQuestion((JudgePicture(tiny_picture(seed)),), f"is there a red star {seed}?")
    for seed in range(3)
]


def texts(judge, questions) -> list[str]:
    answers = judge.answer(questions)
    assert [answer.status for answer in answers] == ["answered"] * len(questions)
    return [answer.text for answer in answers]


@pytest.mark.parametrize(
    ("text", "read"),
    [("Yes.", "yes"), ("no, it is blue", "no"), ("**No**", "no"), ("none", None), (" a ", None),
     ("<think>no, or</think> yes", "yes"), ("a draft</think>\n\nNo", "no"),
     ("<think>yes, it", None), ("No image was provided", None), ("No puedo ayudar", None),
     ("Yes and no", None), ("yes/no", None), ("Yes, or no", None), ("No. 5", None),
     ("No-one", None), ("No idea", None), ("No, no cat", "no"), ("No it isn't", "no"),
     ("Answer: yes", "yes"), ("The answer is no.", "no"), ("<answer>Yes</answer>", "yes")],
)  # fmt: skip
def test_yes_and_no_are_read_where_a_text_begins_with_them(text: str, read: str | None):
    assert yes_or_no(text) == read


@pytest.mark.parametrize(
    ("text", "refused"),
    [("I'm sorry, but I can't assist with that.", True), ("No, I can't help with that.", True),
     ("I\u2019m unable to view images. Score: 1", True), ("We are not able to evaluate it", True),
     ("As an AI language model, I see none. A: 1\nB: 1\nC: 1", True),
     ("Lo siento, no puedo ayudar", True), ("Je ne peux pas vous aider", True),
     ("\u6211\u65e0\u6cd5\u56de\u7b54", True), ("No picture is attached. Score: 1", True),
     ("No, I can't see a star.", False), ("The star can't help being red. Score: 1", False),
     ("<think>I can't rate this</think>Score: 3", False), ("No", False)],
)  # fmt: skip
def test_what_declines_is_no_answer_whatever_else_it_holds(text: str, refused: bool):
    assert declines(text) == refused


def test_a_text_that_is_copied_may_hold_the_words_of_a_refusal():
    """A poster may say so; a judge that begins so declines."""
    copied = JudgeQuestion(ASKED[0].pictures, "Copy the text.", verbatim=True)
    for text, kind in (("NO BAGS! We can't open the door", "answered"),
                         ("I'm sorry, but I can't assist with that.", "refused"),
                         (" ", "malformed")):  # fmt: skip
        assert held_to_rule(copied, Answer(text)).status == kind


# ---- the oracle ----


def test_the_oracle_answers_every_question_of_the_world_right():
    questions = evaluation_questions(12, seed=5)
    asked = [
        JudgeQuestion((JudgePicture(Image.fromarray(render(q.scene))),), q.text) for q in questions
    ]
    answers = texts(Oracle(), asked)
    wrong = [
        (question.text, question.answer, said)
        for question, said in zip(questions, answers, strict=True)
        if said != question.answer
    ]
    assert wrong == []


def test_the_oracle_answers_yes_or_no():
    scene = Scene(
        (Thing(0, "star", "red", "large"), Thing(4, "heart", "blue", "small"),
         Thing(8, "heart", "green", "small")),
        "mint",
    )  # fmt: skip
    answers = {
        "is there a star?": "yes", "is there a small heart?": "yes",
        "is there a large heart?": "no", "is there a small red star?": "no",
        "is the star red?": "yes", "is the star blue?": "no",
        "is the heart green?": "yes", "is the star large?": "yes", "is the heart large?": "no",
        "is the star at the top left?": "yes", "is the heart at the top left?": "no",
        "is the heart at the southeast?": "yes", "are there two hearts?": "yes",
        "are there two blue hearts?": "no", "are there three hearts?": "no",
        "is the star above the heart?": "yes", "is the star below the heart?": "no",
        "is the red star left of the blue heart?": "yes",
        "is the star right of the blue heart?": "no", "is the star larger than the heart?": "yes",
        "is the star smaller than the heart?": "no", "is the heart larger than the star?": "no",
        "is the background mint?": "yes", "is the background sand?": "no",
        "is the star above the circle?": "no",
    }  # fmt: skip
    found = detect(render(scene))
    assert {text: reply(found, text) for text in answers} == answers


def test_the_oracle_says_what_it_cannot_answer():
    blank = JudgePicture(Image.fromarray(np.full((96, 96, 3), (176, 188, 202), np.uint8)))
    said = texts(
        Oracle(),
        [JudgeQuestion((blank,), text) for text in (
            "where is the star?", "how many shapes are there?", "what is at the top?",
            "is there a red star?",
        )]
    )  # fmt: skip
    assert said == ["unclear", "zero", "nothing", "no"]
    with pytest.raises(ValueError, match="toy world's questions only, got 'who is it"):
        Oracle().answer([JudgeQuestion((blank,), "who is it?")])
    with pytest.raises(ValueError, match="looks at one picture, got 2"):
        Oracle().answer([JudgeQuestion((blank, blank), "how many shapes are there?")])


# ---- models ----


@pytest.fixture(scope="module")
def tiny_blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BLIP-VQA of two layers with random weights, in the layout of the big one."""
    folder = tmp_path_factory.mktemp("blip")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]", "yes", "no", "is",
             "there", "a", "red", "star", "?", "0", "1", "2"]  # fmt: skip
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(words))
    tokenizer = BertTokenizerFast(vocab={word: index for index, word in enumerate(words)})
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
             "num_attention_heads": 2, "projection_dim": 16}  # fmt: skip
    text = small | {
        "vocab_size": len(words), "encoder_hidden_size": 32, "max_position_embeddings": 64,
        "bos_token_id": words.index("[DEC]"), "eos_token_id": words.index("[SEP]"),
        "sep_token_id": words.index("[SEP]"), "pad_token_id": 0,
    }  # fmt: skip
    vision = small | {"image_size": SIDE, "patch_size": 8}
    config = BlipConfig(text_config=text, vision_config=vision, projection_dim=16,
                        image_text_hidden_size=16)  # fmt: skip
    BlipForQuestionAnswering(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    BlipImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


def test_blip_answers_each_question_by_itself(tiny_blip: Path):
    judge = BlipJudge(tiny_blip)
    together = texts(judge, ASKED)
    assert together == [texts(judge, [question])[0] for question in ASKED]
    assert len(judge.version) == 16


def test_qwen_is_told_to_answer_yes_or_no(tmp_path: Path):
    judge = QwenJudge(tiny_mllm(tmp_path))
    together = texts(judge, ASKED)
    alone = [
        judge.understanding.ask(
            question.pictures[0].open(), f"{question.text} Answer yes or no.", 16
        )
        for question in ASKED
    ]
    assert together == alone
    who = identity(judge)
    assert (who["judge"], who["temperature"]) == ("qwen2.5-vl", 0.0)
    judge.prompt = "{question} Yes or no?"
    assert identity(judge)["prompt_hash"] != who["prompt_hash"]


# ---- an endpoint ----


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with serving() as state:
        yield state


def endpoint(server: JudgeServer, cache: Path, **changes) -> Endpoint:
    named = {"key": "secret", "tries": 4, "jobs": 1} | changes
    return Endpoint(server.url, "toy", cache, **named)


def test_answers_are_stored(server: JudgeServer, tmp_path: Path):
    judge = endpoint(server, tmp_path)
    found = judge.answer(ASKED)
    assert [(one.text, one.version) for one in found] == [("Yes.", "toy-2026")] * 3
    assert {*server.keys} == {"Bearer secret"}
    again = endpoint(server, tmp_path)
    assert again.answer(ASKED) == found
    assert len(server.bodies) == 3, "the second run sends nothing"
    assert "secret" not in repr(judge)
    assert not any("secret" in path.read_text() for path in tmp_path.rglob("*.json"))
    assert not [*tmp_path.rglob("*.part")]


CHANGES = {
    "model": {"model": "other"}, "temperature": {"temperature": 1.0},
    "prompt": {"prompt": "{question} Say yes or no."}, "length": {"max_tokens": 9},
    "encoding": {"encoding": PictureEncoding("png")}, "picture": {},
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_anything_else_is_asked_anew(change: str, server: JudgeServer, tmp_path: Path):
    endpoint(server, tmp_path).answer(ASKED[:1])
    judge = Endpoint(**{"url": server.url, "model": "toy", "cache": tmp_path} | CHANGES[change])
    picture = JudgePicture(tiny_picture(9)) if change == "picture" else ASKED[0].pictures[0]
    judge.answer([JudgeQuestion((picture,), ASKED[0].text)])
    assert len(server.bodies) == 2


def test_a_request_holds_the_text_and_the_pictures(server: JudgeServer, tmp_path: Path):
    judge = endpoint(server, tmp_path, prompt="{question} Answer yes or no.")
    pictures = tuple(JudgePicture(tiny_picture(seed)) for seed in range(2))
    judge.answer([JudgeQuestion(pictures, "same {braces}?", system="You judge.")])
    body = server.bodies[0]
    system, user = body["messages"]
    text, *sent = user["content"]
    assert system == {"role": "system", "content": "You judge."}
    assert text == {"type": "text", "text": "same {braces}? Answer yes or no."}
    assert [part["image_url"]["url"][:23] for part in sent] == ["data:image/jpeg;base64,"] * 2
    assert (body["model"], body["temperature"], body["max_completion_tokens"]) == ("toy", 0.0, 512)
    endpoint(server, tmp_path, token_limit="max_tokens", max_tokens=7).answer(ASKED[:1])
    assert server.bodies[1]["max_tokens"] == 7
    assert "max_completion_tokens" not in server.bodies[1]


def test_a_picture_is_encoded_once_and_bounded(
    server: JudgeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Once for all its questions, and never for the estimate."""
    path = tmp_path / "wide.png"
    Image.new("RGB", (300, 100), "red").save(path)
    opened = []
    whole = JudgePicture.open
    monkeypatch.setattr(JudgePicture, "open", lambda one: opened.append(one) or whole(one))
    questions = [JudgeQuestion((JudgePicture(path),), f"is it {n}?") for n in range(12)]
    judge = endpoint(server, tmp_path, jobs=4, encoding=PictureEncoding("png", longest=150))
    assert judge.estimate(questions).calls == 12
    assert opened == []
    judge.answer(questions)
    assert len(opened) == 1
    urls = {body["messages"][0]["content"][1]["image_url"]["url"] for body in server.bodies}
    (url,) = urls
    sent = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    assert (sent.size, sent.format, len(server.bodies)) == ((150, 50), "PNG", 12)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [({"tries": 0}, "tries of a judge must be above 0, got 0"),
     ({"jobs": 0}, "jobs of a judge"), ({"timeout": 0}, "timeout of a judge"),
     ({"max_tokens": -1}, "max_tokens of a judge")],
)  # fmt: skip
def test_settings_of_a_judge_are_checked(changes: dict, rule: str, tmp_path: Path):
    with pytest.raises(ValueError, match=rule):
        Endpoint("http://127.0.0.1:9/v1", "toy", tmp_path, **changes)


def test_pictures_are_sent_in_a_known_form():
    for named in ({"quality": 0}, {"longest": 0}):
        with pytest.raises(ValueError, match="got 0"):
            PictureEncoding(**named)


def test_the_cost_is_known_before_anything_is_sent(server: JudgeServer, tmp_path: Path):
    judge = endpoint(server, tmp_path, max_tokens=100)
    found = judge.estimate(ASKED, prices=(2.5, 10.0))
    tokens = 3 * (picture_tokens(SIDE, SIDE) + len(ASKED[0].text) // 4 + 1)
    assert (found.questions, found.calls) == (3, 3)
    assert (found.input_tokens, found.output_tokens) == (tokens, 300)
    assert found.price == pytest.approx((tokens * 2.5 + 300 * 10) / 1e6)
    assert server.bodies == []
    judge.answer(ASKED[:2])
    assert judge.estimate(ASKED).calls == 1
    assert str(judge.estimate(ASKED[:2])).startswith("0 calls (2 of 2 answers are stored)")


def test_many_at_a_time_are_answered_in_order(server: JudgeServer, tmp_path: Path):
    picture = JudgePicture(tiny_picture(0))
    many = [JudgeQuestion((picture,), f"number {number}?") for number in range(24)]
    # Every answer is its own question.
    server.forever = lambda handler, body: said(body["messages"][0]["content"][0]["text"])(
        handler, body
    )
    assert texts(endpoint(server, tmp_path, jobs=8), many) == [one.text for one in many]


# ---- a batch ----


def test_a_batch_holds_the_same_requests_and_its_answers_are_stored(
    server: JudgeServer, tmp_path: Path
):
    judge = endpoint(server, tmp_path / "cache")
    judge.answer(ASKED[:1])
    assert write_batch(judge, ASKED, tmp_path / "batch.jsonl") == 2
    requests = [json.loads(line) for line in (tmp_path / "batch.jsonl").read_text().splitlines()]
    assert {(one["method"], one["url"]) for one in requests} == {("POST", "/v1/chat/completions")}
    single = endpoint(server, tmp_path / "other")
    single.answer(ASKED[1:])
    assert [one["body"] for one in requests] == server.bodies[1:]
    first, second = (one["custom_id"] for one in requests)
    body = {"model": "toy-2026", "choices": [{"message": {"content": "No"}}]}
    stopped = {"error": {"code": "content_filter"}}
    lines = [
        {"custom_id": second, "response": {"status_code": 400, "body": stopped}},
        {"custom_id": first, "response": {"status_code": 200, "body": body}},
    ]
    (tmp_path / "done.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    read = BatchAnswers.read(judge, tmp_path / "done.jsonl")
    sent = len(server.bodies)
    found = read.answer(ASKED)
    assert [one.status for one in found] == ["answered", "answered", "filtered"]
    assert [one.text for one in found[:2]] == ["Yes.", "No"]
    other = JudgeQuestion(ASKED[0].pictures, "another?")
    assert read.answer([other])[0].reason == "no answer in the batch's file"
    assert judge.estimate(ASKED).calls == 1, "only the filtered question is asked again"
    assert len(server.bodies) == sent
    (tmp_path / "done.jsonl").write_text("[1]")
    with pytest.raises(ValueError, match="must have lines with a custom_id"):
        BatchAnswers.read(judge, tmp_path / "done.jsonl")


# ---- the verb ----


@pytest.fixture
def dpg_words(server: JudgeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A command line that asks two questions about each quarter of a grid."""
    monkeypatch.setenv("LADDER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LADDER_JUDGE_KEY", "secret")
    (tmp_path / "table.csv").write_text(
        "item_id,proposition_id,dependency,tuple,question_natural_language\n"
        'a,1,0,entity (x),Is it?\na,2,"1, 1",entity (x),Is it really?\n'
    )
    tiny_picture(0).save(tmp_path / "a.png")
    words = ["observe", "dpg", str(tmp_path), "--questions", str(tmp_path / "table.csv")]
    words += ["-o", str(tmp_path / "out.json"), "--judge", "endpoint", "--model", "toy"]
    return [*words, "--url", server.url, "--yes", "--tries", "1"]


def test_the_verb_asks_an_endpoint_once(
    server: JudgeServer, dpg_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
):
    """Neither a second run nor one without the rows of the first sends anything."""
    out = tmp_path / "out.json"
    assert main.main(dpg_words) == 0
    assert len(server.bodies) == 8
    assert main.main(dpg_words) == 0
    rows_file(out).unlink()
    assert main.main(dpg_words) == 0
    assert len(server.bodies) == 8
    assert "0 calls (8 of 8 answers are stored)" in capsys.readouterr().out
    found = score("dpg", out, tmp_path / "table.csv", complete=True)
    assert (found["fixed"]["dpg"], found["partial"]) == (100.0, False)
    written = json.loads(out.read_text())
    assert (written["benchmark"], written["judge_version"]) == ("dpg-toy", "toy-2026")
    assert written["settings"] == {
        "max_tokens": 512, "format": "jpeg", "quality": 90, "longest": 2048
    }  # fmt: skip


def test_failures_are_missing_and_asked_again(
    server: JudgeServer, dpg_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
):
    """A refused question takes its picture out of the score; it isn't a zero."""
    out, table = tmp_path / "out.json", tmp_path / "table.csv"
    server.replies = [said("I'm sorry, but no."), status(400, "content_filter")]
    assert main.main([*dpg_words, "--jobs", "1"]) == 0
    assert "answers that failed: 1 refused, 1 filtered" in capsys.readouterr().out
    found = score("dpg", out, table)
    assert (found["partial"], found["fixed"]["dpg"]) == (True, 100.0)
    assert (found["failures"], found["missing"]) == ({"refused": 1, "filtered": 1}, ["a"])
    with pytest.raises(ValueError, match="must be complete"):
        score("dpg", out, table, complete=True)
    assert main.main(dpg_words) == 0, "without --retry nothing is asked"
    assert len(server.bodies) == 8
    assert main.main([*dpg_words, "--retry", "failed"]) == 0
    assert len(server.bodies) == 9, "the filtered one; the refusal in words is a stored answer"
    row = json.loads(rows_file(out).read_text().splitlines()[-1])
    assert [one["status"] for one in row["answers"]].count("answered") == 7


def test_a_judge_out_of_reach_stops_the_run(
    dpg_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
):
    words = [*dpg_words, "--url", "http://127.0.0.1:9/v1"]
    assert main.main(words) == 2
    assert "the judge answers nothing: no answer in 1 tries" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


def test_answers_of_another_model_are_not_in_the_score(
    server: JudgeServer, dpg_words: list[str], tmp_path: Path
):
    server.replies = [completion({"content": "No"}, model="another")]
    assert main.main([*dpg_words, "--jobs", "1"]) == 0
    found = score("dpg", tmp_path / "out.json", tmp_path / "table.csv")
    assert (found["failures"], found["fixed"]["dpg"]) == ({"unreachable": 1}, 100.0)
    assert found["judge_version"] == "toy-2026"


def test_a_batch_by_the_verb(
    server: JudgeServer, dpg_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
):
    file = tmp_path / "batch.jsonl"
    assert main.main([*dpg_words, "--batch", "write", str(file)]) == 0
    assert "8 requests; nothing was sent" in capsys.readouterr().out
    body = {"choices": [{"message": {"content": "yes"}}]}
    names = [json.loads(line)["custom_id"] for line in file.read_text().splitlines()]
    lines = [{"custom_id": n, "response": {"status_code": 200, "body": body}} for n in names]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main.main([*dpg_words, "--batch", "read", str(file)]) == 0
    assert server.bodies == []
    found = score("dpg", tmp_path / "out.json", tmp_path / "table.csv", complete=True)
    assert found["fixed"]["dpg"] == 100.0


@pytest.mark.parametrize(
    ("size", "tokens"), [((512, 512), 255), ((1024, 1024), 765), ((2048, 4096), 1105)]
)
def test_pictures_cost_what_the_makers_of_gpt_4o_say(size: tuple[int, int], tokens: int):
    """Their own examples, and one of a single tile."""
    assert picture_tokens(*size) == tokens
