"""`ladder fetch benchmark`: prompt sets of published benchmarks, from their homes into a cache.

A file is taken at a pinned commit and kept only if its SHA-256 is the pinned one. No set is shipped
with this code, and what is not known is not invented: for a set without pinned hashes the user
brings them, in a file as `sha256sum` writes it. Once there, nothing is downloaded again.

What is pinned, and where it comes from:

geneval  The hash is that of the file that GenEval's own `prompts/create_prompts.py` writes with its
         default seed, 43 (run on its list of objects, the outcome is equal byte for byte). The
         commit is one whose README says that these prompts are in `prompts/`.
dpg, tiif, imgedit  A commit whose files were read; no hash of the files is known.
gedit    Neither commit nor file names are known.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import pooch

GITHUB = "https://raw.githubusercontent.com"
HUB = "https://huggingface.co"
TIMEOUT = 30
"""Seconds without a byte after which a home counts as out of reach."""


@dataclass(frozen=True)
class PromptSet:
    """Where the files of a benchmark are, at which commit, and what is known of them."""

    name: str
    host: str
    repository: str
    """The path of the repository on the host, in front of the commit."""
    page: str
    """Where a person can look at it."""
    commit: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 in hexadecimal by path in the repository; empty where none is known."""
    example: str = ""
    """A path of a file that `ladder` reads, for a set without pinned hashes."""

    def url(self, path: str) -> str:
        return f"{self.host}/{self.repository}/{self.commit}/{quote(path)}"


PROMPT_SETS = {
    known.name: known
    for known in (
        PromptSet(
            name="geneval",
            host=GITHUB,
            repository="djghosh13/geneval",
            page="https://github.com/djghosh13/geneval",
            commit="16382b084e1f9ceeefed3a8cb102044e67486dd8",
            files={
                "prompts/evaluation_metadata.jsonl": (
                    "5c48e0813e812e3c373fa5c8ed07a8f0a483be30272b4427b0559c8048e67c13"
                ),
            },
        ),
        PromptSet(
            name="dpg",
            host=GITHUB,
            repository="TencentQQGYLab/ELLA",
            page="https://github.com/TencentQQGYLab/ELLA",
            commit="025f650e9b36b9603d606042635d98da09e870de",
            example="dpg_bench/dpg_bench.csv",
        ),
        PromptSet(
            name="tiif",
            host=GITHUB,
            repository="A113N-W3I/TIIF-Bench",
            page="https://github.com/A113N-W3I/TIIF-Bench",
            commit="1a4f3f81c2b3b4dee167ffa3b0252b5d85bfc0bf",
            example="data/testmini_eval_prompts/2d_spatial_relation_eval_prompts.jsonl",
        ),
        PromptSet(
            name="imgedit",
            host=GITHUB,
            repository="PKU-YuanGroup/ImgEdit",
            page="https://github.com/PKU-YuanGroup/ImgEdit",
            commit="c14480ac5e7b622e08cd8c46f96624a48eb9ab46",
            example="Benchmark/Basic/basic_edit.json",
        ),
        PromptSet(
            name="gedit",
            host=HUB,
            repository="datasets/stepfun-ai/GEdit-Bench/resolve",
            page="https://huggingface.co/datasets/stepfun-ai/GEdit-Bench",
        ),
    )
}
"""By the names of the benchmarks."""


def cache() -> Path:
    """The folder of what is fetched: $LADDER_CACHE, or ~/.cache/ladder."""
    return Path(os.environ.get("LADDER_CACHE") or Path.home() / ".cache/ladder")


def fetch(prompts: PromptSet, folder: Path, sums: Mapping[str, str] | None = None) -> list[str]:
    """Bring the files of a set into `folder`; returns a line about each.

    `sums` are hashes of files that have none pinned. Raises ValueError for a set without commit or
    hashes, and for a file with another hash (one that was there stays); ConnectionError where the
    home is out of reach, with what is to be placed where.
    """
    sums = sums or {}
    for path in {*sums} & {*prompts.files}:
        if sums[path] != prompts.files[path]:
            raise ValueError(
                f"{path} is pinned to SHA-256 {prompts.files[path]}, --sha256 says {sums[path]}"
            )
    files = {**prompts.files, **sums}
    if not files:
        raise ValueError(
            f"{prompts.name} has no pinned SHA-256: --sha256 FILE is needed, with a line "
            f"HASH PATH, as sha256sum writes it, for each file of {prompts.page}"
            + (f", such as {prompts.example}" if prompts.example else "")
        )
    if prompts.commit is None:
        raise ValueError(f"{prompts.name} has no pinned commit: --commit is needed")
    return [fetch_file(prompts.url(path), folder / path, files[path]) for path in files]


def fetch_file(url: str, path: Path, sha256: str) -> str:
    """Bring one file to `path`, unless it is there; returns what was done.

    Raises as `fetch`.
    """
    if path.is_file():
        if (found := hash_of(path)) != sha256:
            rule = f"{path} must have SHA-256 {sha256}, got {found}"
            raise ValueError(f"{rule}: move it away and fetch it again")
        return f"{path}: already there, its hash is right"
    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(
            url,
            known_hash=f"sha256:{sha256}",
            fname=path.name,
            path=path.parent,
            downloader=pooch.HTTPDownloader(timeout=TIMEOUT),
        )
    except ValueError as error:
        raise ValueError(f"{url} isn't what is pinned and is not kept: {error}") from error
    except OSError as error:
        raise ConnectionError(
            f"can't fetch {url} ({error}): place that file at {path}, with SHA-256 {sha256}, "
            "and run this again"
        ) from error
    return f"{path}: fetched, {path.stat().st_size} bytes"


def hash_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    return pooch.file_hash(str(path), alg="sha256")


def read_sums(path: Path) -> dict[str, str]:
    """Hashes by path, from a file as `sha256sum` writes it.

    Raises ValueError for a line of another form, or a path that leads out of the folder.
    """
    sums = {}
    for line in filter(None, path.read_text().splitlines()):
        sha256, _, name = line.partition(" ")
        name = name.removeprefix(" ").removeprefix("*")
        inside = PurePosixPath(name)
        if len(sha256) != 64 or {*sha256.lower()} - {*"0123456789abcdef"} or not name:
            raise ValueError(f"{path}: a line must be `HASH  PATH` (64 hex digits), got {line!r}")
        if inside.is_absolute() or ".." in inside.parts:
            raise ValueError(f"{path}: a path must stay in its folder, got {name}")
        sums[name] = sha256.lower()
    return sums
