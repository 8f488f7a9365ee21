"""The verb: it listens on this machine only unless told otherwise, and says what it lacks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ladder.cli import main
from ladder.playground.serve import allowed_hosts, is_loopback, read_auth


def test_it_listens_on_this_machine_only_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch):
    seen = []
    monkeypatch.setattr("ladder.playground.serve.playground", lambda *words: seen.append(words))
    assert main.main(["playground"]) == 0
    words = ["--host", "0.0.0.0", "--port", "80", "--compare", "models/last"]
    words += ["--device", "cpu", "--dtype", "bfloat16", "--auth", "me:secret"]
    assert main.main(["playground", *words]) == 0
    assert seen == [
        (None, None, "127.0.0.1", 7860, "auto", "float32", None),
        (None, Path("models/last"), "0.0.0.0", 80, "cpu", "bfloat16", "me:secret"),
    ]


def test_the_password_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    seen = []
    monkeypatch.setattr("ladder.playground.serve.playground", lambda *words: seen.append(words))
    monkeypatch.setenv("LADDER_AUTH", "me:secret")
    assert main.main(["playground"]) == 0
    assert seen[0][-1] == "me:secret"


def test_a_password_may_hold_colons():
    assert read_auth("me:a:b") == ("me", "a:b")
    assert read_auth(None) is None


@pytest.mark.parametrize("auth", ["", "me", "me:", ":secret"])
def test_another_form_of_password_is_refused_and_not_shown(
    auth: str, capsys: pytest.CaptureFixture
):
    assert main.main(["playground", "--auth", auth]) == 2
    said = capsys.readouterr().err
    assert "--auth must be USER:PASSWORD" in said
    assert "secret" not in said


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1", "[::1]"])
def test_a_server_of_this_machine_alone_goes_by_its_names(host: str):
    assert is_loopback(host)
    assert "*" not in allowed_hosts(host)
    assert {"localhost", "127.0.0.1", "[::1]", host} == {*allowed_hosts(host)}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_a_server_for_others_goes_by_any_name(host: str):
    assert not is_loopback(host)
    assert allowed_hosts(host) == ["*"]


def test_a_port_that_is_none_is_refused(capsys: pytest.CaptureFixture):
    assert main.main(["playground", "--port", "99999"]) == 2
    assert "'--port'" in capsys.readouterr().err


def test_without_gradio_one_line_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main.main(["playground"]) == 2
    said = capsys.readouterr()
    assert said.err == (
        "ladder playground: the playground needs gradio: `make playground` installs and starts it\n"
    )
    assert said.out == ""
