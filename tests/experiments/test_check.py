"""One changed bit is found in whatever a run read or wrote, by the record that DVC itself made."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ladder.cli import main
from ladder.data.training.encoded import MANIFEST, EncodedFile, hashed, write_manifest
from ladder.experiments.check import check, files_in
from ladder.models.reference import Reference

SHARD, ARROW = "data/raw/set/00000.tar", "data/encoded/set/train/data-00000-of-00001.arrow"
WEIGHTS = "models/ladder/ladder/ladder.safetensors"
RESULT, TABLE = "experiments/results/ladder-0.json", "experiments/results/ladder-0.parquet"
MLLM = "models/mllm/model.safetensors"
PIPELINE = """\
stages:
  all:
    cmd: echo made
    outs:
      - data/raw
      - data/encoded
      - models/ladder:
          cache: false
      - experiments/results/ladder-0.json:
          cache: false
      - experiments/results/ladder-0.parquet
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose outputs DVC has recorded."""
    root = tmp_path_factory.mktemp("recorded")
    for path in (SHARD, WEIGHTS, RESULT, TABLE, MLLM):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / SHARD).write_bytes(bytes(range(256)) * 40)
    (root / SHARD).with_name("00001.tar").write_bytes(bytes(100))
    rows = datasets.Dataset.from_dict({"latents": np.arange(1000).tolist()})
    rows.save_to_disk(str((root / ARROW).parent))
    part = EncodedFile("key", "", 1000, hashed([root / ARROW]))
    write_manifest(root / "data/encoded", {root / ARROW: part})
    save_file({"queries": torch.arange(100.0)}, root / WEIGHTS)
    save_file({"weight": torch.arange(100.0)}, root / MLLM)
    folder = (root / WEIGHTS).parent
    settings = {"mllm": Reference.of((root / MLLM).parent).as_dict(folder)}
    (folder / "config.json").write_text(json.dumps(settings))
    (root / RESULT).write_text('{"metrics": {}}\n')
    (root / TABLE).write_bytes(b"PAR1" + bytes(range(200)))
    (root / "params.yaml").touch()
    (root / "experiments/arms").mkdir()
    (root / "dvc.yaml").write_text(PIPELINE)
    program = [sys.executable, "-m", "dvc"]
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    for words in (["init", "--no-scm", "-q"], ["commit", "-f", "-q"]):
        subprocess.run([*program, *words], cwd=root, check=True, env=environment)
    return root


@pytest.fixture
def root(recorded: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    shutil.copytree(recorded, tmp_path / "root")
    return tmp_path / "root"


def flip(path: Path) -> None:
    """Change one bit in the middle of a file, which looks as it did to whoever trusts times."""
    state, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_what_is_as_recorded_has_no_fault(root: Path):
    found = check(root)
    assert found.faults == []
    assert found.anew == found.absent == []
    cached = files_in(root / ".dvc/cache/files/md5")
    assert len(cached) >= 4
    assert found.files >= len(cached)


@pytest.mark.parametrize("path", [SHARD, ARROW, WEIGHTS, RESULT, TABLE, MLLM])
def test_one_bit_is_found_and_its_file_is_named(path: str, root: Path, monkeypatch, capsys):
    flip(root / path)
    named = {WEIGHTS: "models/ladder", MLLM: "models/ladder/ladder"}.get(path, path)
    assert any(named in fault for fault in check(root).faults)
    monkeypatch.chdir(root)
    assert main.main(["check"]) == 1
    assert named in capsys.readouterr().out


@pytest.mark.parametrize("number", range(4))
def test_one_bit_in_the_cache_is_found(number: int, root: Path):
    path = files_in(root / ".dvc/cache/files/md5")[number]
    flip(path)
    assert f"{path.relative_to(root)} must have its name as its MD5" in check(root).faults


def test_a_file_cut_short_is_found(root: Path):
    (root / SHARD).write_bytes((root / SHARD).read_bytes()[:-1])
    assert check(root).faults == [f"{SHARD} isn't what was recorded of it"]


def test_other_data_are_named_and_no_fault(root: Path):
    """Whoever puts data of their own in place of the toy world's has damaged nothing."""
    (root / SHARD).rename(root / "data/raw/mine.tar")
    found = check(root)
    assert (found.faults, found.anew) == ([], ["data/raw"])


def test_what_is_not_here_is_named_and_no_fault(root: Path):
    shutil.rmtree(root / "data")
    found = check(root)
    assert (found.faults, sorted(found.absent)) == ([], ["data/encoded", "data/raw"])


@pytest.mark.parametrize("text", ["stages: 5", "[]", "stages: {a: {outs: [x]}}"])
def test_a_lock_that_is_none_is_refused(text: str, root: Path):
    (root / "dvc.lock").write_text(text)
    with pytest.raises(ValueError, match=r"dvc.lock must be a lock of DVC"):
        check(root)


def test_a_manifest_is_a_record_too(root: Path):
    """Data of one's own stand in no lock."""
    (root / "dvc.lock").unlink()
    flip(root / ARROW)
    (fault,) = check(root).faults
    assert ARROW in fault
    assert "was changed after encoding" in fault
    assert (root / "data/encoded" / MANIFEST).is_file()
