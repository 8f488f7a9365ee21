"""What servers of judges do, and what becomes of one question then: an answer or a named failure.

Nothing of it is a score, nothing stops the other questions, and a failure is asked for again.
"""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Iterator
from email.utils import formatdate
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
from ladder.evaluation.vlm_judges import Answer, JudgeQuestion, held_to_rule, transport
from ladder.evaluation.vlm_judges.openai import Endpoint, key_of_environment
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


def gzipped(handler, _):
    body = json.dumps({"choices": [{"message": {"content": "Yes"}, "finish_reason": "stop"}]})
    answered(handler, 200, gzip.compress(body.encode()), Content_Encoding="gzip")


def bomb(handler, _):
    """A hundred thousand bytes that unpack to a hundred million."""
    answered(handler, 200, gzip.compress(bytes(10**8), 1), Content_Encoding="gzip")


def not_gzipped(handler, _):
    answered(handler, 200, b"plain", Content_Encoding="gzip")


def streamed(handler, _):
    answered(handler, 200, b'data: {"choices": [{"delta": {"content": "Yes"}}]}\n\n',
             "text/event-stream")  # fmt: skip


def moved(handler, _):
    answered(handler, 307, b"", Location=handler.path.replace("/v1", "/v2"))


def moved_in_a_circle(handler, _):
    answered(handler, 307, b"", Location=handler.path)


def nothing(handler, _):
    answered(handler, 204, b"")


def error_in_200(code: int | str) -> Reply:
    body = json.dumps({"error": {"code": code, "message": "no"}}).encode()
    return lambda handler, _: answered(handler, 200, body)


def soon() -> str:
    """The date of the second after next, as HTTP writes it."""
    return formatdate(time.time() + 2, usegmt=True)


def retry_at_a_date(handler, body):
    status(429, Retry_After=soon())(handler, body)


REASONED = {"role": "assistant", "content": "", "reasoning_content": "Yes, I think"}
LOGPROBS = {"content": [{"token": "Yes", "logprob": float("nan"), "top_logprobs": []}]}
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
    "a draft within a draft": ([said("<think>a<think>b</think>no</think>Yes")], "answered", 1),
    "a draft in other marks": ([said("[THINK]no[/THINK]Yes")], "answered", 1),
    "channels": ([said("no<|channel|>final<|message|>Yes")], "answered", 1),
    "an answer in marks": ([said("I think <answer>yes</answer>")], "answered", 1),
    "wide letters": ([said("\N{FULLWIDTH LATIN CAPITAL LETTER Y}es\N{IDEOGRAPHIC FULL STOP}")],
                     "answered", 1),
    "a refusal that begins with no": ([said("No, I can't help with that.")], "refused", 1),
    "a refusal in Spanish": ([said("No puedo ayudar con eso.")], "refused", 1),
    "a refusal in Chinese": ([said("\u62b1\u6b49\uff0c\u6211\u65e0\u6cd5")], "refused", 1),
    "no picture came": ([said("No image was provided.")], "refused", 1),
    "yes and no": ([said("Yes and no.")], "malformed", 1),
    "text in the field of drafts alone": ([completion(REASONED)], "malformed", 1),
    "drafts that were cut off": ([completion(REASONED, "length")], "truncated", 1),
    "stopped by another's filter": ([said("Yes", "SAFETY")], "filtered", 1),
    "a refusal as reason of the end": ([said("Yes", "refusal")], "refused", 1),
    "an end for an unknown reason": ([said("Yes", "abort")], "malformed", 1),
    "a text beside a tool call": ([said("Yes", "tool_calls")], "malformed", 1),
    "probabilities that are none": ([said("Yes", logprobs=LOGPROBS)], "answered", 1),
    "a gzipped answer": ([gzipped], "answered", 1),
    "a gzip bomb": ([bomb] * 2, "unreachable", 2),
    "an answer that only says it is gzipped": ([not_gzipped, YES], "answered", 2),
    "a stream of chunks": ([streamed] * 2, "unreachable", 2),
    "an answer that has moved": ([moved, YES], "answered", 2),
    "204 without an answer": ([nothing, YES], "answered", 2),
    "a gateway's 502 in 200": ([error_in_200(502), YES], "answered", 2),
    "a gateway's 429 in 200 for ever": ([error_in_200(429)] * 2, "unreachable", 2),
    "an error of no number in 200": ([error_in_200("bad")], "malformed", 1),
    "Retry-After as a date": ([retry_at_a_date, YES], "answered", 2),
    "a negative Retry-After": ([status(429, Retry_After="-5"), YES], "answered", 2),
    "a Retry-After that is no time": ([status(429, Retry_After="soon"), YES], "answered", 2),
    "403 for one picture": ([status(403, "flagged by moderation")], "filtered", 1),
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
    large = name in ("a text of 5 MB", "a gzip bomb")  # it takes its time on a busy machine
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


@pytest.mark.parametrize(
    ("code", "why"),
    [(401, "the key is wrong or missing"), (402, "paid for"), (404, "no such model"),
     (405, "not the address")],
)  # fmt: skip
def test_a_wrong_key_or_model_stops_the_run(
    code: int, why: str, server: JudgeServer, tmp_path: Path
):
    """Every other question would end so too. What the server says doesn't show the key."""
    server.forever = status(code, "what is secret?")
    with pytest.raises(ConnectionError, match=f"refused with status {code}, so .*{why}") as raised:
        endpoint(server, tmp_path).answer([QUESTION] * 3)
    assert len(server.bodies) == 1
    assert "what is (the key)?" in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_circle_of_addresses_ends(server: JudgeServer, tmp_path: Path):
    server.forever = moved_in_a_circle
    (answer,) = ask(endpoint(server, tmp_path, tries=1), QUESTION)
    assert (answer.status, "TooManyRedirects" in answer.reason) == ("unreachable", True)


def test_a_key_that_cannot_be_sent_is_refused_unshown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LADDER_JUDGE_KEY", "")
    monkeypatch.setenv("OPENAI_API_KEY", " plain \n")
    assert key_of_environment() == "plain"
    monkeypatch.setenv("LADDER_JUDGE_KEY", "sec\nret")
    with pytest.raises(ValueError, match=r"^\$LADDER_JUDGE_KEY must be printable ASCII"):
        key_of_environment()


@pytest.mark.parametrize("url", ["localhost:8000/v1", "/v1", "ftp://host/v1", "https:///v1", ""])
def test_an_address_is_checked_before_anything_is_sent(url: str, tmp_path: Path):
    with pytest.raises(ValueError, match=r"the url of a judge is http\[s\]://HOST"):
        Endpoint(url, "toy", tmp_path)


def test_where_nobody_is_the_rest_is_not_tried(tmp_path: Path):
    """A wrong port costs the tries of one question, not of a thousand."""
    questions = [JudgeQuestion(QUESTION.pictures, f"{n}?", yes_or_no) for n in range(50)]
    judge = Endpoint("http://127.0.0.1:9/v1", "toy", tmp_path, tries=3, jobs=1)
    began = time.monotonic()
    answers = ask(judge, *questions)
    assert {answer.status for answer in answers} == {"unreachable"}
    assert time.monotonic() - began < 10


def test_a_first_question_that_always_fails_does_not_stop_the_rest(
    server: JudgeServer, tmp_path: Path
):
    server.replies = [status(500)] * 2
    questions = [JudgeQuestion(QUESTION.pictures, f"{n}?", yes_or_no) for n in range(3)]
    answers = ask(endpoint(server, tmp_path), *questions)
    assert [answer.status for answer in answers] == ["unreachable", "answered", "answered"]


@pytest.mark.parametrize("content", [b"", b"\0\0\0", b'{"text": "Y', b"[1]", b'{"other": 1}'])
def test_a_stored_answer_in_pieces_is_asked_for_again(
    content: bytes, server: JudgeServer, tmp_path: Path
):
    ask(endpoint(server, tmp_path), QUESTION)
    (stored,) = tmp_path.rglob("*.json")
    stored.write_bytes(content)
    judge = endpoint(server, tmp_path)
    assert judge.estimate([QUESTION]).calls == 1
    assert [answer.status for answer in ask(judge, QUESTION)] == ["answered"]
    assert endpoint(server, tmp_path).estimate([QUESTION]).calls == 0


def test_a_server_that_says_minutes_is_heeded(
    server: JudgeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """openai's client alone gives up above two; a last try isn't waited for."""
    waited = []
    monkeypatch.setattr(transport.time, "sleep", waited.append)
    server.replies = [status(429, Retry_After="150"), status(503, Retry_After="1e9"), YES]
    (answer,) = ask(endpoint(server, tmp_path, tries=3), QUESTION)
    assert answer.status == "answered", answer.reason
    assert [seconds for seconds in waited if seconds > 60] == [150, transport.LONGEST_WAIT]
    server.replies = [status(429, Retry_After="150")]
    waited.clear()
    ask(endpoint(server, tmp_path / "other", tries=1), QUESTION)
    assert waited == []


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("https_proxy", "proxy:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    assert transport.proxy_of("https://api.example/v1") == "http://proxy:3128"
    assert transport.proxy_of("https://inside.example/v1") is None
    assert transport.proxy_of("https://localhost:8000/v1") is None
    monkeypatch.setenv("https_proxy", "socks5://proxy")
    with pytest.raises(ValueError, match="HTTPS_PROXY must be http"):
        transport.proxy_of("https://api.example/v1")


def test_a_server_says_how_long_to_wait(server: JudgeServer, tmp_path: Path):
    server.replies = [status(429, Retry_After="1.2")]
    began = time.monotonic()
    (answer,) = ask(endpoint(server, tmp_path), QUESTION)
    assert (answer.status, time.monotonic() - began >= 1.2) == ("answered", True)
