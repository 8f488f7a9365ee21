"""Judges: the oracle tells the truth, models answer in text, an endpoint is asked no more than
needed and given up in the end."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.tiny import SIDE, tiny_mllm, tiny_picture
from transformers import (
    BertTokenizerFast,
    BlipConfig,
    BlipForQuestionAnswering,
    BlipImageProcessorPil,
)

from ladder.cli import main
from ladder.evaluation.scorers.score_file import score
from ladder.evaluation.toy.test_set import evaluation_questions
from ladder.evaluation.vlm_judges import Question, identity, plain
from ladder.evaluation.vlm_judges.local_vqa import BlipJudge, QwenJudge
from ladder.evaluation.vlm_judges.observe import rows_file
from ladder.evaluation.vlm_judges.openai import Endpoint, picture_tokens
from ladder.evaluation.vlm_judges.oracle import Oracle, reply
from ladder.world.oracle import detect
from ladder.world.render import render
from ladder.world.scenes import Scene, Thing

ASKED = [Question((tiny_picture(seed),), f"is there a red star {seed}?") for seed in range(3)]


@pytest.mark.parametrize(
    ("text", "read"),
    [("Yes.", "yes"), ("no, it is blue", "no"), ("**No**", "no"), ("none", "none"), (" a ", "a")],
)
def test_yes_and_no_are_read_where_a_text_begins_with_them(text: str, read: str):
    assert plain(text) == read


# ---- the oracle ----


def test_the_oracle_answers_every_question_of_the_world_right():
    questions = evaluation_questions(12, seed=5)
    asked = [Question((Image.fromarray(render(q.scene)),), q.text) for q in questions]
    answers = Oracle().answer(asked)
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
    blank = Image.fromarray(np.full((96, 96, 3), (176, 188, 202), np.uint8))
    said = Oracle().answer(
        [Question((blank,), text) for text in ("where is the star?", "how many shapes are there?",
                                               "what is at the top?", "is there a red star?")]
    )  # fmt: skip
    assert said == ["unclear", "zero", "nothing", "no"]
    with pytest.raises(ValueError, match="toy world's questions only, got 'who is it"):
        Oracle().answer([Question((blank,), "who is it?")])
    with pytest.raises(ValueError, match="looks at one picture, got 2"):
        Oracle().answer([Question((blank, blank), "how many shapes are there?")])


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
    together = judge.answer(ASKED)
    assert together == [judge.answer([question])[0] for question in ASKED]
    assert all(isinstance(answer, str) for answer in together)
    assert len(judge.version) == 16


def test_qwen_is_told_to_answer_yes_or_no(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    judge = QwenJudge(tiny_mllm(tmp_path))
    together = judge.answer(ASKED)
    alone = [
        judge.understanding.ask(question.pictures[0], f"{question.text} Answer yes or no.", 16)
        for question in ASKED
    ]
    assert together == alone
    who = identity(judge)
    assert (who["judge"], who["temperature"]) == ("qwen2.5-vl", 0.0)
    monkeypatch.setattr(QwenJudge, "prompt", "{question} Yes or no?")
    assert identity(judge)["prompt_hash"] != who["prompt_hash"]


# ---- an endpoint ----


class Server:
    """An OpenAI-compatible server; `statuses` are its next answers, then 200 for ever."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.forever = 200
        self.content: dict | None = {
            "choices": [{"message": {"content": "Yes."}}],
            "model": "toy-2026",
        }
        self.bodies: list[dict] = []
        self.keys: list[str | None] = []


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.bodies.append(body)
            state.keys.append(self.headers["Authorization"])
            status = state.statuses.pop(0) if state.statuses else state.forever
            self.send_response(status)
            self.end_headers()
            text = body["messages"][0]["content"][0]["text"]
            echo = {"choices": [{"message": {"content": text}}]}
            self.wfile.write(json.dumps(state.content or echo).encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        state.url = f"http://127.0.0.1:{running.server_port}/v1"
        yield state
        running.shutdown()


def endpoint(server: Server, cache: Path, **changes) -> Endpoint:
    named = {"key": "secret", "pause": 0.001, "tries": 4, "jobs": 1} | changes
    return Endpoint(server.url, "toy", cache, **named)


def test_a_busy_server_is_asked_again_and_answers_are_stored(server: Server, tmp_path: Path):
    server.statuses = [500, 429]
    judge = endpoint(server, tmp_path)
    assert (judge.version, judge.answer(ASKED)) == ("toy", ["Yes."] * 3)
    assert (len(server.bodies), judge.version) == (5, "toy-2026")
    assert {*server.keys} == {"Bearer secret"}
    again = endpoint(server, tmp_path)
    assert again.answer(ASKED) == ["Yes."] * 3
    assert (len(server.bodies), again.version) == (5, "toy-2026"), "the second run sends nothing"
    assert "secret" not in repr(judge)
    assert not any("secret" in path.read_text() for path in tmp_path.rglob("*.json"))
    assert not [*tmp_path.rglob("*.part")]


@pytest.mark.parametrize("change", ["model", "temperature", "prompt", "picture"])
def test_anything_else_is_asked_anew(change: str, server: Server, tmp_path: Path):
    endpoint(server, tmp_path).answer(ASKED[:1])
    changes = {"model": {"model": "other"}, "temperature": {"temperature": 1.0},
               "prompt": {"prompt": "{question} Say yes or no."}, "picture": {}}  # fmt: skip
    judge = Endpoint(**{"url": server.url, "model": "toy", "cache": tmp_path} | changes[change])
    picture = tiny_picture(9) if change == "picture" else ASKED[0].pictures[0]
    judge.answer([Question((picture,), ASKED[0].text)])
    assert len(server.bodies) == 2


def test_a_request_holds_the_text_and_the_pictures(server: Server, tmp_path: Path):
    judge = endpoint(server, tmp_path, prompt="{question} Answer yes or no.")
    judge.answer([Question((tiny_picture(0), tiny_picture(1)), "same {braces}?")])
    body = server.bodies[0]
    text, *pictures = body["messages"][0]["content"]
    assert text == {"type": "text", "text": "same {braces}? Answer yes or no."}
    assert [part["image_url"]["url"][:22] for part in pictures] == ["data:image/png;base64,"] * 2
    assert (body["model"], body["temperature"]) == ("toy", 0.0)


def test_a_server_that_stays_busy_is_given_up(server: Server, tmp_path: Path):
    server.forever = 503
    with pytest.raises(ConnectionError, match=r"no answer in 4 tries, the last time: status 503"):
        endpoint(server, tmp_path).answer(ASKED[:1])
    assert len(server.bodies) == 4
    away = Endpoint("http://127.0.0.1:9/v1", "toy", tmp_path, tries=2, pause=0.001)
    with pytest.raises(ConnectionError, match="no answer in 2 tries, the last time: ConnectError"):
        away.answer(ASKED[:1])


def test_a_refusal_is_not_repeated(server: Server, tmp_path: Path):
    server.forever = 401
    with pytest.raises(ConnectionError, match="refused with status 401"):
        endpoint(server, tmp_path).answer(ASKED)
    assert len(server.bodies) <= 3
    server.forever, server.content = 200, {"error": "none"}
    with pytest.raises(ConnectionError, match="must answer with choices"):
        endpoint(server, tmp_path).answer(ASKED[:1])
    with pytest.raises(ValueError, match="at least once, got tries=0"):
        endpoint(server, tmp_path, tries=0)


def test_the_cost_is_known_before_anything_is_sent(server: Server, tmp_path: Path):
    judge = endpoint(server, tmp_path, longest=100)
    found = judge.estimate(ASKED, prices=(2.5, 10.0))
    tokens = 3 * (picture_tokens(SIDE, SIDE) + len(ASKED[0].text) // 4 + 1)
    assert (found.questions, found.calls) == (3, 3)
    assert (found.input_tokens, found.output_tokens) == (tokens, 300)
    assert found.price == pytest.approx((tokens * 2.5 + 300 * 10) / 1e6)
    assert server.bodies == []
    judge.answer(ASKED[:2])
    assert judge.estimate(ASKED).calls == 1
    assert str(judge.estimate(ASKED[:2])).startswith("0 calls (2 of 2 answers are stored)")


def test_many_at_a_time_are_answered_in_order(server: Server, tmp_path: Path):
    many = [Question((tiny_picture(0),), f"number {number}?") for number in range(24)]
    server.content = None  # every answer is its own question
    answers = endpoint(server, tmp_path, jobs=8).answer(many)
    assert answers == [question.text for question in many]


def test_the_verb_asks_an_endpoint_once(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
):
    """Neither a second run nor one without the rows of the first sends anything."""
    monkeypatch.setenv("LADDER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LADDER_JUDGE_KEY", "secret")
    (tmp_path / "table.csv").write_text(
        "item_id,proposition_id,dependency,tuple,question_natural_language\n"
        'a,1,0,entity (x),Is it?\na,2,"1, 1",entity (x),Is it really?\n'
    )
    tiny_picture(0).save(tmp_path / "a.png")
    out = tmp_path / "out.json"
    words = ["observe", "dpg", str(tmp_path), "--questions", str(tmp_path / "table.csv")]
    words += ["-o", str(out), "--judge", "endpoint", "--model", "toy", "--url", server.url, "--yes"]
    assert main.main(words) == 0
    assert len(server.bodies) == 8
    assert main.main(words) == 0
    rows_file(out).unlink()
    assert main.main(words) == 0
    assert len(server.bodies) == 8
    assert "0 calls (8 of 8 answers are stored)" in capsys.readouterr().out
    found = score("dpg", out, tmp_path / "table.csv", complete=True)
    assert found["fixed"]["dpg"] == 100.0
    written = json.loads(out.read_text())
    assert (written["benchmark"], written["judge_version"]) == ("dpg-toy", "toy-2026")


@pytest.mark.parametrize(
    ("size", "tokens"), [((512, 512), 255), ((1024, 1024), 765), ((2048, 4096), 1105)]
)
def test_pictures_cost_what_the_makers_of_gpt_4o_say(size: tuple[int, int], tokens: int):
    """Their own examples, and one of a single tile."""
    assert picture_tokens(*size) == tokens
