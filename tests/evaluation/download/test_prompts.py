"""Prompt sets come whole and right, or not at all; big sets don't come unasked."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import get_args

import huggingface_hub
import pytest

from ladder.cli import main
from ladder.cli.benchmark_options import Fetched
from ladder.evaluation.download import prompts as fetching
from ladder.evaluation.download.prompts import cache, fetch, hash_of, read_sums
from ladder.evaluation.download.suites import PROMPT_SETS, PromptSet
from ladder.evaluation.download.training_sets import TRAINING_SETS

CONTENT = b'{"tag": "single_object"}\n'
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = "0" * 64
# `git hash-object` says so of a file with that content.
GIT = "f1a34c9fef4bfe480142cb3209f7697fcacf87d8"


@pytest.fixture
def home() -> Iterator[tuple[str, list[str]]]:
    """A server that gives CONTENT for every path at commit `c`; with it the paths asked for."""
    asked: list[str] = []

    class Home(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            there = "/c/" in self.path
            self.send_response(200 if there else 404)
            self.end_headers()
            self.wfile.write(CONTENT if there else b"not here")

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Home) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def prompts(host: str, sha256: str = SHA256, **changes) -> PromptSet:
    one = PromptSet("toy", "owner/toy", "c", {"a/b c.jsonl": f"sha256:{sha256}"}, host)
    return replace(one, **changes)


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_file_is_fetched_once(home: tuple[str, list[str]], tmp_path: Path):
    host, asked = home
    lines = fetch(prompts(host), tmp_path)
    assert lines == [f"{tmp_path}/a/b c.jsonl: fetched, {len(CONTENT)} bytes"]
    assert (tmp_path / "a/b c.jsonl").read_bytes() == CONTENT
    lines = fetch(prompts(host), tmp_path)
    assert lines == [f"{tmp_path}/a/b c.jsonl: already there, its hash is right"]
    assert asked == ["/owner/toy/c/a/b%20c.jsonl"]


def test_another_hash_is_an_error_and_is_not_kept(home: tuple[str, list[str]], tmp_path: Path):
    with pytest.raises(ValueError, match=rf"is not kept: .*{OTHER} but got {SHA256}"):
        fetch(prompts(home[0], OTHER), tmp_path)
    assert leftovers(tmp_path) == []
    path = tmp_path / "a/b c.jsonl"
    path.write_bytes(b"damaged")
    with pytest.raises(
        ValueError, match=rf"must have sha256:{SHA256}, got {hash_of(path, 'sha256:')}"
    ):
        fetch(prompts(home[0]), tmp_path)
    assert path.read_bytes() == b"damaged", "what a person has put there is theirs"


@pytest.mark.parametrize("commit", ["c", "gone"])
def test_without_a_connection_it_says_what_to_place_where(
    commit: str, home: tuple[str, list[str]], tmp_path: Path
):
    """A port that nobody listens on, or a home that doesn't have the file."""
    host = "http://127.0.0.1:9" if commit == "c" else home[0]
    with pytest.raises(ConnectionError) as error:
        fetch(prompts(host, commit=commit), tmp_path)
    url = f"{host}/owner/toy/{commit}/a/b%20c.jsonl"
    text = str(error.value)
    assert text.startswith(f"can't fetch {url} (")
    assert f"place that file at {tmp_path}/a/b c.jsonl, with sha256:{SHA256}" in text
    assert leftovers(tmp_path) == []


def test_further_files_are_brought_with_their_hashes(home: tuple[str, list[str]], tmp_path: Path):
    fetch(prompts(home[0]), tmp_path, {"x.csv": SHA256})
    assert (tmp_path / "x.csv").read_bytes() == CONTENT
    with pytest.raises(
        ValueError, match=f"pinned to sha256:{SHA256}, --sha256 says sha256:{OTHER}"
    ):
        fetch(prompts(home[0]), tmp_path, {"a/b c.jsonl": OTHER})


def test_a_hash_may_be_the_one_that_git_gives(home: tuple[str, list[str]], tmp_path: Path):
    fetch(prompts(home[0], files={"x.csv": f"git:{GIT}"}), tmp_path)
    assert (tmp_path / "x.csv").read_bytes() == CONTENT
    other = "0" * 40
    with pytest.raises(ValueError, match=f"must have git:{other}, got git:{GIT}: not kept"):
        fetch(prompts(home[0], files={"y.csv": f"git:{other}"}), tmp_path)
    assert not (tmp_path / "y.csv").exists()


def test_hashes_are_read_as_sha256sum_writes_them(tmp_path: Path):
    path = tmp_path / "sums"
    path.write_text(f"{SHA256}  a b.csv\n{OTHER} *c.json\n")
    assert read_sums(path) == {"a b.csv": SHA256, "c.json": OTHER}
    for line, rule in (("abc  x", "64 hex digits"), (f"{OTHER}  ../x", "stay in its folder")):
        path.write_text(line)
        with pytest.raises(ValueError, match=rule):
            read_sums(path)


def test_the_pinned_hash_of_geneval_is_that_of_the_file_for_tests(golden: Path):
    files = PROMPT_SETS["geneval"].files
    assert (
        hash_of(golden.parent / "prompts/geneval_metadata.jsonl", "sha256:")
        == files["prompts/evaluation_metadata.jsonl"]
    )


def test_the_cache_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LADDER_CACHE", str(tmp_path))
    assert cache() == tmp_path
    monkeypatch.delenv("LADDER_CACHE")
    assert cache() == Path.home() / ".cache/ladder"


# ---- the verb ----


def test_the_verb_fetches_into_the_cache(
    home: tuple[str, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
):
    monkeypatch.setenv("LADDER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(PROMPT_SETS, "dpg", prompts(home[0], commit="of old"))
    words = ["fetch", "benchmark", "dpg", "--host", home[0], "--commit", "c"]
    assert main.main(words) == 0
    path = tmp_path / "cache/benchmarks/dpg/a/b c.jsonl"
    assert capsys.readouterr().out == f"{path}: fetched, {len(CONTENT)} bytes\n"
    path.unlink()
    assert main.main(["fetch", "benchmark", "dpg"]) == 2
    assert "owner/toy/of%20old" in capsys.readouterr().err.replace("of old", "of%20old")


def test_every_benchmark_is_fetched_without_a_hash_of_the_user():
    assert [*PROMPT_SETS] == [*get_args(Fetched)]
    for known in PROMPT_SETS.values():
        assert known.files, known.name
        assert len(known.commit) == 40
        for path, expected in known.files.items():
            kind, _, value = expected.partition(":")
            assert len(value) == {"sha256": 64, "git": 40}[kind], path
            assert known.url(path).startswith("https://raw.githubusercontent.com/")
    assert sum(len(known.files) for known in PROMPT_SETS.values()) > 150


def test_data_are_listed_and_fetched_only_with_a_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    calls = []

    def snapshot_download(*args, **named):
        calls.append((args, named))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert main.main(["fetch", "data"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(TRAINING_SETS)
    assert lines[-2].split() == [
        "HQ-Edit", "ti2i", "unknown", "CC-BY-NC-4.0", "unknown",
        "https://huggingface.co/datasets/UCSC-VLAA/HQ-Edit",
    ]  # fmt: skip
    assert main.main(["fetch", "data", "HQ-Edit", "-o", str(tmp_path)]) == 0
    assert "nothing was downloaded" in capsys.readouterr().out
    assert calls == []
    assert main.main(["fetch", "data", "HQ-Edit", "--yes", "-o", str(tmp_path)]) == 0
    assert calls == [(("UCSC-VLAA/HQ-Edit",), {"repo_type": "dataset", "local_dir": tmp_path})]
    assert main.main(["fetch", "data", "COCO"]) == 2
    assert "a training set is one of BLIP3o-Pretrain-Long-Caption" in capsys.readouterr().err


def test_a_home_that_is_silent_is_out_of_reach_in_time():
    assert fetching.TIMEOUT <= 60
