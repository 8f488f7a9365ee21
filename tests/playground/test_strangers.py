"""The server among strangers: other names, no password, values of other types, clients that go."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlencode

import pytest
from tests.playground.browsing import drawn, press, serving

from ladder.playground.settings import Settings

pytest.importorskip("gradio", reason="gradio is missing: make test-playground installs it")
from ladder.playground.fair_queue import PER_ADDRESS

pytestmark = pytest.mark.slow
ONES = (1.0, 1.0, 1.0)
DRAWING = ["a star", 0, 2, 3.0, 1.5, 1, *ONES]
"""Values of the event `generate`."""


def send(address: str, path: str, body: object = None, **headers: str) -> tuple[int, str]:
    """Status and text of an answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        address + path, data, {"Content-Type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def generate(address: str, values: list, session: str | None = None) -> tuple[int, str]:
    """Ask for a drawing, and don't listen."""
    return send(address, "gradio_api/call/generate", {"data": values, "session_hash": session})


def log_in(address: str, password: str) -> tuple[int, str]:
    """Status and cookie of the answer to a password."""
    form = urlencode({"username": "me", "password": password}).encode()
    try:
        with urllib.request.urlopen(address + "login", form, timeout=60) as answer:
            return answer.status, answer.headers["Set-Cookie"].split(";")[0]
    except urllib.error.HTTPError as error:
        return error.code, ""


def waiting(address: str) -> int:
    return json.loads(send(address, "gradio_api/queue/status")[1])["queue_size"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example"])
def test_another_name_is_refused_even_with_its_own_origin(address: str, host: str):
    for path in ("", "config", "gradio_api/queue/status"):
        status, said = send(address, path, Host=host, Origin=f"http://{host}")
        assert (status, said) == (400, "Invalid host header")


def test_names_of_this_machine_are_served(address: str):
    port = address.rstrip("/").rpartition(":")[2]
    for host in ("localhost", "127.0.0.1", "[::1]"):
        assert send(address, "config", Host=f"{host}:{port}")[0] == 200


@pytest.mark.parametrize("value", ["seven", [7], {"a": 7}, True])
def test_values_of_another_type_are_refused_by_name(address: str, value: object):
    status, said = generate(address, [*DRAWING[:1], value, *DRAWING[2:]])
    assert status == 400
    assert json.loads(said)["detail"] == f"Seed must be a number, got {value!r}"


def test_values_out_of_range_are_refused_by_name(address: str):
    status, said = generate(address, [*DRAWING[:2], 10**9, *DRAWING[3:]])
    event = json.loads(said)["event_id"]
    assert status == 200
    _, said = send(address, f"gradio_api/call/generate/{event}")
    assert "event: error" in said
    assert "100" in said


def test_a_password_is_asked_for_and_not_in_the_list_of_processes(folders: dict[str, Path]):
    environment = os.environ | {"LADDER_AUTH": "me:a secret"}
    with serving("--model", str(folders["last_n"]), environment=environment) as address:
        assert send(address, "config")[0] == 401
        assert generate(address, DRAWING)[0] == 401
        assert log_in(address, "wrong") == (400, "")
        status, cookie = log_in(address, "a secret")
        assert status == 200
        assert send(address, "config", Cookie=cookie)[0] == 200
        processes = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
        assert not any(b"a secret" in line for line in processes)


def test_forty_clients_that_never_listen_keep_nobody_waiting(address: str, visit, record_property):
    settings = Settings("generate", "a star", ONES, steps=2)
    page = visit(settings)
    drawn(page, settings)
    began = time.monotonic()
    press(page, "Draw")
    page.wait_for_timeout(100)
    drawn(page, settings)
    alone = time.monotonic() - began
    answers = [generate(address, DRAWING)[0] for _ in range(40)]
    flooded = time.monotonic()
    assert answers.count(200) >= PER_ADDRESS
    assert {*answers} <= {200, 503}
    page.wait_for_timeout(1000)
    began = time.monotonic()
    page.get_by_label("number input for Rung 1: layer 3", exact=True).first.fill("0.5")
    drawn(page, Settings("generate", "a star", (0.5, 1.0, 1.0), steps=2))
    among = time.monotonic() - began
    while waiting(address):
        assert time.monotonic() - flooded < 10, "clients that never listen are still waiting"
        time.sleep(0.2)
    gone = time.monotonic() - flooded
    for name, seconds in (("alone", alone), ("among 40", among), ("until they left", gone)):
        record_property(name, round(seconds, 2))
    assert among < alone + 5
