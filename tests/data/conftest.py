"""Pictures, tars and configurations that the tests of the data share."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderDC, SanaTransformer2DModel
from PIL import Image


def _picture(seed: int, size: tuple[int, int] = (32, 32)) -> Image.Image:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (size[1] // 8 + 1, size[0] // 8 + 1, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)


def _image_file(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _write_tar(path: Path, members) -> Path:
    """Writes (name or TarInfo, bytes) pairs in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture(scope="session")
def picture():
    """(seed, size) -> an RGB picture of random blocks."""
    return _picture


@pytest.fixture(scope="session")
def image_file():
    """(image, kind) -> bytes of an image file."""
    return _image_file


@pytest.fixture(scope="session")
def write_tar():
    """(path, members) -> a tar with those members in that order."""
    return _write_tar


@pytest.fixture
def write_files(tmp_path):
    """Paths with the seeds of their pictures -> the folder of a set with those files."""

    def _write_files(seeds: dict[str, int]) -> Path:
        for path, seed in seeds.items():
            file = tmp_path / "raw" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(_image_file(_picture(seed)))
        return tmp_path / "raw"

    return _write_files


@pytest.fixture(scope="session")
def write_list():
    """(path, rows) -> a list in JSON, or in lines of JSON where the path says so."""

    def _write_list(path: Path, rows: list) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.suffix == ".jsonl"
        path.write_text("\n".join(map(json.dumps, rows)) if lines else json.dumps(rows))

    return _write_list


@pytest.fixture(scope="session")
def read_set():
    """folder of a raw set -> (samples by key, rejections)."""
    from tests.stored import read_raw

    from ladder.data.shards import Sample

    def _read_set(folder: Path):
        records = list(read_raw(folder, maximum_pixels=1_000_000))
        samples = [record for record in records if isinstance(record, Sample)]
        found = {sample.key: sample for sample in samples}
        assert len(found) == len(samples)
        return found, [record for record in records if not isinstance(record, Sample)]

    return _read_set


@pytest.fixture(scope="session")
def write_curated():
    """(folder, samples by split by set) -> the folder, as `curate` would leave it."""
    from tests.stored import write_shards

    def _write_curated(folder: Path, sets) -> Path:
        manifest = {"sets": {}}
        for name, splits in sets.items():
            counts = {
                split: write_shards(samples, folder / name / split, 50)
                for split, samples in splits.items()
            }
            manifest["sets"][name] = counts | {"hash": f"hash of {name}"}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    return _write_curated


@pytest.fixture(scope="session")
def autoencoder() -> AutoencoderDC:
    """A DC-AE of 1/8 of the side and 4 channels, with random weights."""
    levels, channels = 4, (4, 4, 8, 8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoencoderDC(
            latent_channels=4,
            attention_head_dim=4,
            encoder_block_types="ResBlock",
            decoder_block_types="ResBlock",
            encoder_block_out_channels=channels,
            decoder_block_out_channels=channels,
            encoder_layers_per_block=(1,) * levels,
            decoder_layers_per_block=(1,) * levels,
            encoder_qkv_multiscales=((),) * levels,
            decoder_qkv_multiscales=((),) * levels,
            downsample_block_type="Conv",
            scaling_factor=0.41407,
        )


@pytest.fixture(scope="session")
def generator(tmp_path_factory, autoencoder) -> Path:
    """The folder of a generator of 4 x 4 latents, 32 x 32 pixels, with that autoencoder."""
    folder = tmp_path_factory.mktemp("generator")
    autoencoder.save_pretrained(folder / "vae")
    small = {"num_layers": 1, "num_attention_heads": 1, "attention_head_dim": 8, "patch_size": 1}
    SanaTransformer2DModel(sample_size=4, **small).save_pretrained(folder / "transformer")
    index = {"transformer": ["diffusers", "SanaTransformer2DModel"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(scope="session")
def encode_sets(root, generator):
    """(curated, out, changes of settings) -> what `ladder encode` does with them."""
    from ladder.config.load import load
    from ladder.data.training.encode import encode

    def _encode_sets(curated: Path, out: Path, **changes) -> None:
        config = load(root=root)
        foundations = dataclasses.replace(config.foundations, generator=str(generator))
        encoding = dataclasses.replace(config.encoding, **changes)
        encode(
            dataclasses.replace(config, foundations=foundations, encoding=encoding), curated, out
        )

    return _encode_sets
