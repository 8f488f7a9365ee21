"""Folders with random weights are read by what reads a download."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ladder.config.load import load
from ladder.inference.published_checkpoint import export_published, import_published
from ladder.models.generator.autoencoder import load_autoencoder
from ladder.models.generator.rung_attention import load_generator
from ladder.models.mllm.frozen import Understanding
from ladder.profiling import random_folders
from ladder.profiling.random_folders import stored, write_generator, write_mllm, write_published
from ladder.profiling.random_models import SIZES, make_pictures
from ladder.profiling.real_size import require_equal

SIZE = SIZES["tiny"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """Of the tiny size, in several files of weights each."""
    place = tmp_path_factory.mktemp("random")
    words = root / load(root=root).foundations.mllm
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(random_folders, "SHARD", 100_000)
        write_mllm(SIZE, place / "mllm", words)
        write_generator(SIZE, place / "sana")
        write_published(place / "published", place / "mllm", place / "sana", SIZE.queries)
    return place


def test_a_shard_is_all_that_is_in_memory(folder: Path):
    """But for single weights that are larger; the index names every weight."""
    files = [*folder.rglob("*.safetensors")]
    assert len(files) > 6
    for path in files:
        weights = load_file(path)
        assert len(weights) == 1 or sum(value.nbytes for value in weights.values()) <= 100_000
        assert {value.dtype for value in weights.values()} == {torch.bfloat16}


def test_the_mllm_reads_its_pictures_and_answers(folder: Path):
    mllm = Understanding.from_pretrained(str(folder / "mllm"), torch.bfloat16, SIZE.visual_tokens)
    (picture,) = make_pictures(SIZE, 1)
    prompts = mllm.prepare(["what is it?"], [[picture]])
    shown = (prompts.input_ids == mllm.mllm.config.image_token_id).sum()
    assert shown == SIZE.visual_tokens
    assert isinstance(mllm.ask(picture, "What is it?", 3), str)
    assert len(mllm.prompter.tokenizer) == SIZE.mllm["text_config"]["vocab_size"]


def test_an_mllm_whose_template_shows_no_picture_is_refused(folder: Path):
    mllm = Understanding.from_pretrained(str(folder / "mllm"))
    mllm.prompter.image_token += 1
    with pytest.raises(ValueError, match=r"must show every picture .* got 1 of 1"):
        mllm.prepare(["what is it?"], [make_pictures(SIZE, 1)])


def test_generator_and_autoencoder_are_finite_and_not_alike(folder: Path):
    generator = load_generator(folder / "sana", "transformer")
    autoencoder = load_autoencoder(folder / "sana")
    for part in (generator, autoencoder):
        for name, value in part.named_parameters():
            assert value.isfinite().all(), name
    first, second = (block.attn1.to_q.weight for block in generator.transformer_blocks[:2])
    assert not torch.equal(first, second)


def test_the_published_checkpoint_holds_the_same_weights_and_goes_there_and_back(
    folder: Path, tmp_path: Path
):
    own = dict(stored(folder / "sana/transformer"))
    published = dict(stored(folder / "published/checkpoint"))
    for name, value in own.items():
        assert torch.equal(published[f"model.transformer.{name}"], value), name
    export_published(import_published(folder / "published", tmp_path / "ours"), tmp_path / "theirs")
    require_equal(folder / "published/checkpoint", tmp_path / "theirs")
