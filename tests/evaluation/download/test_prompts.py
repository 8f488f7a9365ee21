"""Prompt sets come whole and right, or not at all; big sets don't come unasked."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import huggingface_hub
import pytest

from ladder.cli import benchmarks, main
from ladder.evaluation.download import prompts as fetching
from ladder.evaluation.download.prompts import (
    PROMPT_SETS,
    PromptSet,
    cache,
    fetch,
    hash_of,
    read_sums,
)
from ladder.evaluation.download.training_sets import TRAINING_SETS

CONTENT = b'{"tag": "single_object"}\n'
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = "0" * 64


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
    one = PromptSet(
        "toy", host, "owner/toy", "https://example.org/toy", "c", {"a/b c.jsonl": sha256}
    )
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
    with pytest.raises(ValueError, match=rf"must have SHA-256 {SHA256}, got {hash_of(path)}"):
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
    assert f"place that file at {tmp_path}/a/b c.jsonl, with SHA-256 {SHA256}" in text
    assert leftovers(tmp_path) == []


def test_what_is_not_pinned_must_be_given(home: tuple[str, list[str]], tmp_path: Path):
    bare = prompts(home[0], files={}, example="x.csv")
    with pytest.raises(ValueError, match="toy has no pinned SHA-256: --sha256 FILE is needed"):
        fetch(bare, tmp_path)
    with pytest.raises(ValueError, match="toy has no pinned commit"):
        fetch(replace(bare, commit=None), tmp_path, {"x.csv": SHA256})
    fetch(bare, tmp_path, {"x.csv": SHA256})
    assert (tmp_path / "x.csv").read_bytes() == CONTENT
    with pytest.raises(ValueError, match=f"pinned to SHA-256 {SHA256}, --sha256 says {OTHER}"):
        fetch(prompts(home[0]), tmp_path, {"a/b c.jsonl": OTHER})


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
        hash_of(golden.parent / "prompts/geneval_metadata.jsonl")
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
    (tmp_path / "sums").write_text(f"{SHA256}  dpg_bench/dpg_bench.csv\n")
    words = ["fetch", "benchmark", "dpg", "--sha256", str(tmp_path / "sums")]
    assert main.main([*words, "--host", home[0], "--commit", "c"]) == 0
    path = tmp_path / "cache/benchmarks/dpg/dpg_bench/dpg_bench.csv"
    assert capsys.readouterr().out == f"{path}: fetched, {len(CONTENT)} bytes\n"
    assert main.main(["fetch", "benchmark", "dpg"]) == 2
    assert "dpg has no pinned SHA-256" in capsys.readouterr().err
    assert [*PROMPT_SETS] == [*benchmarks.PROMPT_SETS]


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


def test_every_pinned_hash_is_one():
    for known in PROMPT_SETS.values():
        assert all(len(sha256) == 64 for sha256 in known.files.values())
    assert fetching.TIMEOUT <= 60
