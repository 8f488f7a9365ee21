"""`ladder fetch benchmark`: prompt sets of published benchmarks, from their homes into a cache.

A file is taken at a pinned commit and kept only if its hash is the pinned one (see `suites`). Once
there, it isn't downloaded again; a run that was stopped goes on with the files that lack.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pooch

from ladder.config.files import read_text, write_text
from ladder.evaluation.download.suites import PromptSet
from ladder.evaluation.json_files import dumps, lines_of

TIMEOUT = 30
"""Seconds without a byte after which a home counts as out of reach."""
CHUNK = 1 << 20
HUB_NOTE = "hub.json"
"""Which commit of a data set was fetched."""


def cache() -> Path:
    """The folder of what is fetched: $LADDER_CACHE, or ~/.cache/ladder."""
    return Path(os.environ.get("LADDER_CACHE") or Path.home() / ".cache/ladder")


def fetched(name: str) -> Path:
    """The folder into which the files of a benchmark are fetched."""
    return cache() / "benchmarks" / name


def fetch(prompts: PromptSet, folder: Path, sums: Mapping[str, str] | None = None) -> list[str]:
    """Bring the files of a set into `folder`; returns a line about each.

    `sums` are SHA-256 of further files, or of another commit's. Raises ValueError for a file with
    another hash (one that was there stays), and ConnectionError where the home is out of reach,
    with what is to be placed where.
    """
    sums = {path: f"sha256:{sha256}" for path, sha256 in (sums or {}).items()}
    for path in {*sums} & {*prompts.files}:
        if sums[path] != prompts.files[path]:
            raise ValueError(
                f"{path} is pinned to {prompts.files[path]}, --sha256 says {sums[path]}"
            )
    files = {**prompts.files, **sums}
    lines = [fetch_file(prompts.url(path), folder / path, files[path]) for path in files]
    return lines + (fetch_data_set(prompts.data_set, folder) if prompts.data_set else [])


def fetch_file(url: str, path: Path, expected: str) -> str:
    """Bring one file to `path`, unless it is there; returns what was done."""
    if path.is_file():
        if (found := hash_of(path, expected)) != expected:
            rule = f"{path} must have {expected}, got {found}"
            raise ValueError(f"{rule}: move it away and fetch it again")
        return f"{path}: already there, its hash is right"
    pooch.get_logger().setLevel("WARNING")
    by_pooch = expected.startswith("sha256:")
    try:
        pooch.retrieve(
            url,
            known_hash=expected if by_pooch else None,
            fname=path.name,
            path=path.parent,
            downloader=pooch.HTTPDownloader(timeout=TIMEOUT),
        )
    except ValueError as error:
        raise ValueError(f"{url} isn't what is pinned and is not kept: {error}") from error
    except OSError as error:
        raise ConnectionError(
            f"can't fetch {url} ({error}): place that file at {path}, with {expected}, "
            "and run this again"
        ) from error
    if not by_pooch and (found := hash_of(path, expected)) != expected:
        path.unlink()
        raise ValueError(f"{url} must have {expected}, got {found}: not kept")
    return f"{path}: fetched, {path.stat().st_size} bytes"


def fetch_data_set(name: str, folder: Path) -> list[str]:
    """Bring the tables of a data set on the hub, at its newest commit, which is written down.

    What lies there is compared with the SHA-256 that the hub states for that commit. Raises
    ConnectionError where the hub is out of reach, ValueError for a file with another hash.
    """
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    place = f"place its parquet files in {folder / 'data'} and go on without fetching"
    try:
        about = HfApi().dataset_info(name, files_metadata=True)
        stated = {one.rfilename: one.lfs.sha256 for one in about.siblings or () if one.lfs}
        lines = []
        for file in sorted(path for path in stated if path.endswith(".parquet")):
            path = Path(
                hf_hub_download(
                    name, file, repo_type="dataset", revision=about.sha, local_dir=folder
                )
            )
            expected = f"sha256:{stated[file]}"
            if (found := hash_of(path, expected)) != expected:
                raise ValueError(f"{path} must have {expected}, got {found}: fetch it again")
            lines.append(f"{path}: {path.stat().st_size} bytes, as the hub states")
    except (OSError, HfHubHTTPError, OfflineModeIsEnabled) as error:
        reason = str(error).partition("\n")[0]
        raise ConnectionError(f"can't fetch {name} from the hub ({reason}): {place}") from error
    write_text(folder / HUB_NOTE, dumps({"data_set": name, "commit": about.sha}) + "\n")
    return [*lines, f"{name} is at commit {about.sha}: no commit is pinned for it here"]


def hash_of(path: Path, expected: str) -> str:
    """The hash of a file, of the kind that is expected: `sha256:` or `git:` and hexadecimal."""
    kind = expected.partition(":")[0]
    total = hashlib.sha256()
    if kind == "git":
        # Git names a file by its length and content.
        total = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            total.update(chunk)
    return f"{kind}:{total.hexdigest()}"


def read_sums(path: Path) -> dict[str, str]:
    """SHA-256 by path, from a file as `sha256sum` writes it.

    Raises ValueError for a line of another form, or a path that leads out of the folder.
    """
    sums = {}
    for line in lines_of(read_text(path)):
        sha256, _, name = line.rstrip("\r").partition(" ")
        name = name.removeprefix(" ").removeprefix("*")
        inside = PurePosixPath(name)
        if len(sha256) != 64 or {*sha256.lower()} - {*"0123456789abcdef"} or not name:
            raise ValueError(f"{path}: a line must be `HASH  PATH` (64 hex digits), got {line!r}")
        if inside.is_absolute() or ".." in inside.parts:
            raise ValueError(f"{path}: a path must stay in its folder, got {name}")
        sums[name] = sha256.lower()
    return sums
