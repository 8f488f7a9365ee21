"""References: the same content is found again wherever it lies, another content is refused."""

from __future__ import annotations

import shutil

import huggingface_hub.constants
import pytest

from ladder.models.reference import Reference, content_hash


@pytest.fixture
def model(foundations, tmp_path):
    return shutil.copytree(foundations / "mllm", tmp_path / "models/mllm")


def test_a_folder_is_found_relative_to_the_ladder_after_a_move(model, tmp_path):
    values = Reference.of(model).as_dict(tmp_path / "models/ladder")
    assert values["source"] == "../mllm"
    (tmp_path / "models").rename(tmp_path / "elsewhere")
    found = Reference.read(values, tmp_path / "elsewhere/ladder")
    assert found.folder == tmp_path / "elsewhere/mllm"


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json"])
def test_another_content_is_an_error(model, tmp_path, file):
    values = Reference.of(model).as_dict(tmp_path)
    with (model / file).open("ab") as changed:
        changed.write(b" ")
    with pytest.raises(ValueError, match=f"needs the model of SHA-256 {values['sha256']}, got"):
        Reference.read(values, tmp_path)


def test_what_is_no_part_of_a_model_doesnt_count(model):
    before = content_hash(model)
    (model / "README.md").write_text("a note")
    assert content_hash(model) == before


def test_an_id_is_found_in_the_cache_of_the_hub(model, tmp_path, monkeypatch):
    """The commit that a branch stood at is what is remembered, and what is loaded again."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub/models--someone--mllm"
    shutil.copytree(model, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    reference = Reference.of("someone/mllm")
    assert (reference.source, reference.revision) == ("someone/mllm", commit)
    assert reference.digest == content_hash(model)
    values = reference.as_dict(tmp_path / "anywhere")
    assert values["source"] == "someone/mllm"
    (repository / "refs/main").write_text("f" * 40)
    assert Reference.read(values, tmp_path) == reference


@pytest.mark.parametrize("source", ["models/nowhere/at/all", "/nowhere", "mllm", "../mllm"])
def test_what_is_neither_folder_nor_id_is_an_error(source):
    with pytest.raises(FileNotFoundError, match=source):
        Reference.of(source)


def test_a_folder_without_weights_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="safetensors"):
        Reference.of(tmp_path)
