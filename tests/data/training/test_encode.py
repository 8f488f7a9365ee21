"""Encoding keeps every sample and gives the latents that the generator trains on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import load_from_disk
from diffusers import SanaTransformer2DModel
from tests.tiny import tiny_generator

from ladder.data.shards import Sample, read_shards
from ladder.data.training.encode import encode, latents_of, main
from ladder.models.generator.autoencoder import load_autoencoder

SCALING = 0.41407


@pytest.fixture
def curated(tmp_path, picture, write_curated) -> Path:
    plain = [Sample(f"0/{n}", (f"caption {n}", "x"), picture(n)) for n in range(10)]
    edits = [
        Sample(
            f"e/{n}", ("edit",), picture(n), tuple(picture(n + 50 + k) for k in range(1 + n % 2))
        )
        for n in range(6)
    ]
    sets = {
        "t2i": {"train": plain[:7], "evaluation": plain[7:]},
        "ti2i": {"train": edits, "evaluation": []},
    }
    return write_curated(tmp_path / "curated", sets)


def test_every_sample_with_its_scaled_latents(tmp_path, curated, autoencoder):
    encode(curated, tmp_path / "out", autoencoder, batch=3)
    for name, split in (("t2i", "train"), ("t2i", "evaluation"), ("ti2i", "train")):
        rows = load_from_disk(tmp_path / "out" / name / split)
        samples = list(read_shards(curated / name / split))
        assert len(rows) == len(samples)
        for row, sample in zip(rows, samples, strict=True):
            assert row["key"] == sample.key
            assert tuple(row["captions"]) == sample.captions
            assert [image.convert("RGB") for image in row["sources"]] == list(sample.sources)
            pixels = torch.from_numpy(np.array(sample.target)).permute(2, 0, 1)[None]
            with torch.no_grad():
                latents = autoencoder.encode(pixels / 127.5 - 1).latent[0] * SCALING
            stored = torch.tensor(row["latents"])
            assert stored.shape == (4, 4, 4)
            torch.testing.assert_close(stored, latents, rtol=1e-4, atol=1e-5)


def test_latents_decode_to_what_the_autoencoder_makes_of_the_picture(picture, autoencoder):
    """Divided by the scaling factor, as pipelines do before decoding."""
    image = picture(0)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        direct = autoencoder.decode(autoencoder.encode(pixels).latent).sample
        stored = autoencoder.decode(latents_of([image], autoencoder) / SCALING).sample
    torch.testing.assert_close(stored, direct, rtol=1e-3, atol=1e-4)


def test_same_input_gives_same_bytes(tmp_path, curated, autoencoder):
    for name in ("one", "two"):
        encode(curated, tmp_path / name, autoencoder)
    files = [path for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert files
    for path in files:
        twin = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == twin.read_bytes(), path.name


def test_an_empty_split_is_left_out_and_nothing_else_stays(tmp_path, curated, autoencoder):
    encode(curated, tmp_path / "out", autoencoder)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["t2i", "ti2i"]
    assert [path.name for path in (tmp_path / "out/ti2i").iterdir()] == ["train"]


def test_bfloat16_gives_float32_latents(picture, autoencoder):
    latents = latents_of([picture(0)], autoencoder.to(torch.bfloat16))
    autoencoder.to(torch.float32)
    assert latents.dtype == torch.float32
    exact = latents_of([picture(0)], autoencoder)
    assert (latents - exact).abs().max() < 0.05 * exact.abs().max()


def test_pictures_of_several_sizes_are_an_error(tmp_path, picture, autoencoder, write_curated):
    samples = [Sample("a", ("x",), picture(0)), Sample("b", ("x",), picture(1, (40, 32)))]
    curated = write_curated(tmp_path / "curated", {"t2i": {"train": samples, "evaluation": []}})
    with pytest.raises(ValueError, match=r"one size, divisible by 8, but are \[\(32, 32\), \(40"):
        encode(curated, tmp_path / "out", autoencoder)


def test_sizes_that_do_not_divide_are_an_error(picture, autoencoder):
    with pytest.raises(ValueError, match=r"divisible by 8, but are \[\(36, 32\)\]"):
        latents_of([picture(0, (36, 32))], autoencoder)


def test_side_scales_and_crops_targets_and_sources(tmp_path, picture, autoencoder, write_curated):
    samples = [
        Sample("a", ("x",), picture(0, (96, 64)), (picture(1, (50, 70)),)),
        Sample("b", ("x",), picture(2, (32, 32)), (picture(3, (32, 32)),)),
    ]
    curated = write_curated(tmp_path / "curated", {"ti2i": {"train": samples, "evaluation": []}})
    encode(curated, tmp_path / "out", autoencoder, side=32)
    rows = load_from_disk(tmp_path / "out/ti2i/train")
    assert [row["sources"][0].size for row in rows] == [(32, 32)] * 2
    assert rows[1]["sources"][0].convert("RGB") == picture(3, (32, 32))
    middle = picture(0, (96, 64)).resize((32, 32), 3, box=(16, 0, 80, 64))
    expected = latents_of([middle], autoencoder)[0]
    torch.testing.assert_close(torch.tensor(rows[0]["latents"]), expected, rtol=1e-4, atol=1e-4)


def test_it_never_writes_into_older_output(tmp_path, curated, autoencoder):
    encode(curated, tmp_path / "out", autoencoder)
    with pytest.raises(ValueError, match="must not exist yet"):
        encode(curated, tmp_path / "out", autoencoder)


def test_the_stage_encodes_at_the_size_of_the_generator(tmp_path, curated, autoencoder, config):
    """Curated pictures of 32 x 32 for a generator of 6 x 6 latents, 48 x 48 pixels."""
    folder = tmp_path / "sana"
    autoencoder.save_pretrained(folder / "vae")
    small = {"num_layers": 1, "num_attention_heads": 1, "attention_head_dim": 8}
    SanaTransformer2DModel(sample_size=6, **small).save_pretrained(folder / "transformer")
    index = {"transformer": ["diffusers", "SanaTransformer2DModel"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    foundations = dataclasses.replace(config.foundations, generator=str(folder))
    main(dataclasses.replace(config, foundations=foundations), curated, tmp_path / "out")
    row = load_from_disk(tmp_path / "out/ti2i/train")[0]
    assert torch.tensor(row["latents"]).shape == (4, 6, 6)
    assert row["sources"][0].size == (48, 48)


def test_the_stage_knows_the_generator_by_the_index_of_its_pipeline(tmp_path, curated, config):
    """A UNet of 4 x 4 latents, and its KL autoencoder."""
    folder = tiny_generator(tmp_path / "generator", "unet")
    foundations = dataclasses.replace(config.foundations, generator=str(folder), dtype="float32")
    main(dataclasses.replace(config, foundations=foundations), curated, tmp_path / "out")
    row = load_from_disk(tmp_path / "out/ti2i/train")[0]
    (sample, *_) = read_shards(curated / "ti2i/train")
    expected = latents_of([sample.target], load_autoencoder(folder))[0]
    torch.testing.assert_close(torch.tensor(row["latents"]), expected, rtol=1e-4, atol=1e-4)
