"""What servers of judges do, and what becomes of one question then: an answer or a named failure.

Nothing of it is a score, nothing stops the other questions, and a failure is asked for again.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.evaluation.vlm_judges.server import (
    JudgeServer,
    Reply,
    answered,
    completion,
    said,
    serving,
    status,
)
from tests.tiny import tiny_picture

from ladder.evaluation.scorers.judge_text import yes_or_no
from ladder.evaluation.vlm_judges import Answer, JudgeQuestion, held_to_rule
from ladder.evaluation.vlm_judges.openai import Endpoint
from ladder.evaluation.vlm_judges.pictures import JudgePicture

YES = said("Yes.")


def html(handler, _):
    answered(handler, 200, b"<html>busy</html>", "text/html")


def half_json(handler, _):
    answered(handler, 200, b'{"choices": [')


def a_list(handler, _):
    answered(handler, 200, b"[1, 2]")


def closed(handler, _):
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def cut(handler, _):
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices"')
    handler.close_connection = True


def drips(handler, _):
    """A byte every tenth of a second: no piece is late, the whole never comes."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    try:
        for _ in range(100):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.1)
    except OSError:
        pass
    handler.close_connection = True


def silent(handler, _):
    time.sleep(3)
    handler.close_connection = True


def no_choices(handler, _):
    answered(handler, 200, b'{"error": "none"}')


def several_choices(handler, _):
    choices = [{"message": {"content": text}, "finish_reason": "stop"} for text in ("Yes", "No")]
    answered(handler, 200, json.dumps({"choices": choices}).encode())


def unicode_answer(handler, _):
    body = {"choices": [{"message": {"content": "Yes\u2028and \u0085more \ud800"}}]}
    answered(handler, 200, json.dumps(body).encode())


def with_bom(handler, _):
    body = json.dumps({"choices": [{"message": {"content": "Yes"}}]})
    answered(handler, 200, b"\xef\xbb\xbf" + body.encode())


REFUSED = {"role": "assistant", "content": None, "refusal": "I can't help."}
TOOL = {"role": "assistant", "content": None, "tool_calls": [{"type": "function"}]}
PARTS = {"role": "assistant", "content": [{"type": "text", "text": "Yes, it is"}]}
BEHAVIOURS: dict[str, tuple[list[Reply], str, int]] = {
    "an answer": ([YES], "answered", 1),
    "429 with Retry-After, then an answer": (
        [status(429, Retry_After="0.05"), YES], "answered", 2
    ),
    "429 without Retry-After, then an answer": ([status(429), YES], "answered", 2),
    "429 for ever": ([status(429, Retry_After="0.01")] * 3, "unreachable", 2),
    "500, then an answer": ([status(500), YES], "answered", 2),
    "503 for ever": ([status(503)] * 3, "unreachable", 2),
    "408, then an answer": ([status(408), YES], "answered", 2),
    "200 with HTML, then an answer": ([html, YES], "answered", 2),
    "200 with HTML for ever": ([html] * 3, "unreachable", 2),
    "200 with half of a JSON object": ([half_json, YES], "answered", 2),
    "200 with a list": ([a_list, YES], "answered", 2),
    "a connection that is closed, then an answer": ([closed, YES], "answered", 2),
    "an answer that is cut off on the way": ([cut, YES], "answered", 2),
    "an answer that drips": ([drips] * 2, "unreachable", 2),
    "no answer in time": ([silent] * 2, "unreachable", 2),
    "null content": ([said(None)], "malformed", 1),
    "empty content": ([said("")], "malformed", 1),
    "blanks": ([said(" \n ")], "malformed", 1),
    "a refusal of the server": ([completion(REFUSED)], "refused", 1),
    "a refusal in words": ([said("I'm sorry, I can't help with that.")], "refused", 1),
    "cut off without text": ([said("", "length")], "truncated", 1),
    "cut off with text": ([said("Yes, I thi", "length")], "truncated", 1),
    "a filter by empty text": ([said("", "content_filter")], "filtered", 1),
    "a filter with half a text": ([said("Yes", "content_filter")], "filtered", 1),
    "a filter by 400": ([status(400, "content_filter")], "filtered", 1),
    "another 400": ([status(400, "the picture is too small")], "refused", 1),
    "413": ([status(413, "too large")], "refused", 1),
    "a tool call": ([completion(TOOL, "tool_calls")], "malformed", 1),
    "no choices": ([no_choices], "malformed", 1),
    "several choices: the first": ([several_choices], "answered", 1),
    "a text in parts": ([completion(PARTS)], "answered", 1),
    "unicode separators and half of a pair": ([unicode_answer], "answered", 1),
    "a byte order mark": ([with_bom], "answered", 1),
    "a text of 5 MB": ([said("Yes " * 1_250_000)], "malformed", 1),
    "a text that fits no rule": ([said("It depends.")], "malformed", 1),
    "a draft before the answer": ([said("<think>no?</think>Yes")], "answered", 1),
    "a draft without an end": ([said("<think>Yes, but")], "malformed", 1),
}  # fmt: skip


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with serving() as state:
        yield state


def endpoint(server: JudgeServer, cache: Path, **changes) -> Endpoint:
    named = {"key": "secret", "tries": 2, "jobs": 1, "timeout": 1.0} | changes
    return Endpoint(server.url, "toy", cache, **named)


QUESTION = JudgeQuestion((JudgePicture(tiny_picture(0)),), "is it red?", yes_or_no)


def ask(judge: Endpoint, *questions: JudgeQuestion) -> list[Answer]:
    pairs = zip(questions, judge.answer(questions), strict=True)
    return [held_to_rule(question, answer) for question, answer in pairs]


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_what_a_server_does_is_an_answer_or_a_named_failure(
    name: str, server: JudgeServer, tmp_path: Path
):
    replies, kind, requests = BEHAVIOURS[name]
    server.replies = [*replies]
    large = name == "a text of 5 MB"  # it takes its time on a busy machine
    (answer,) = ask(endpoint(server, tmp_path, timeout=20 if large else 1.0), QUESTION)
    assert (answer.status, len(server.bodies)) == (kind, requests), answer.reason
    assert bool(answer.reason) == answer.failed
    if answer.failed:
        server.replies = []
        (again,) = ask(endpoint(server, tmp_path, timeout=20), QUESTION)
        stored = kind in ("malformed", "refused") and requests == 1 and again.failed
        assert stored == again.failed, "only what was answered is kept"
    else:
        assert yes_or_no(answer.text) == "yes"


def test_one_question_that_always_fails_does_not_stop_the_rest(server: JudgeServer, tmp_path: Path):
    def reply(handler, body):
        asked = body["messages"][-1]["content"][0]["text"]
        (status(400, "content_filter") if "third" in asked else YES)(handler, body)

    server.forever = reply
    names = ("first", "second", "third", "fourth")
    questions = [JudgeQuestion(QUESTION.pictures, f"{name}?", yes_or_no) for name in names]
    answers = ask(endpoint(server, tmp_path, jobs=3), *questions)
    assert [answer.status for answer in answers] == ["answered", "answered", "filtered", "answered"]
    assert ask(endpoint(server, tmp_path), *questions)[2].status == "filtered"
    assert len(server.bodies) == 5, "the filtered question is asked again, the others aren't"


@pytest.mark.parametrize("code", [401, 404])
def test_a_wrong_key_or_model_stops_the_run(code: int, server: JudgeServer, tmp_path: Path):
    """Every other question would end so too."""
    server.forever = status(code)
    with pytest.raises(ConnectionError, match=f"refused with status {code}"):
        endpoint(server, tmp_path).answer([QUESTION])


def test_a_server_says_how_long_to_wait(server: JudgeServer, tmp_path: Path):
    server.replies = [status(429, Retry_After="1.2")]
    began = time.monotonic()
    (answer,) = ask(endpoint(server, tmp_path), QUESTION)
    assert (answer.status, time.monotonic() - began >= 1.2) == ("answered", True)
