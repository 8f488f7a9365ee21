"""Encoding keeps every sample and gives the latents that the generator trains on."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import load_from_disk
from PIL import Image
from tests.stored import read_shards
from tests.tiny import tiny_generator

from ladder.data.shards import Packed, Sample, write_shard
from ladder.data.training import encode_chunk as module
from ladder.data.training.encode import encode
from ladder.data.training.encode_chunk import latents_of
from ladder.data.training.encoded import check, open_split, values
from ladder.models.generator.autoencoder import load_autoencoder

SCALING = 0.41407
WIDE = (0.5, 1.0, 2.0)


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


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_every_sample_with_its_scaled_latents(tmp_path, curated, autoencoder, encode_sets):
    encode_sets(curated, tmp_path / "out", batch=3)
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


def test_same_input_gives_same_bytes(tmp_path, curated, encode_sets):
    for name in ("one", "two"):
        encode_sets(curated, tmp_path / name)
    assert contents(tmp_path / "one")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_an_empty_split_is_left_out_and_nothing_else_stays(tmp_path, curated, encode_sets):
    encode_sets(curated, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"t2i", "ti2i", "manifest.json"}
    assert [path.name for path in (tmp_path / "out/ti2i").iterdir()] == ["train"]
    assert {path.name for path in tmp_path.iterdir()} == {"curated", "out"}


def test_bfloat16_gives_float32_latents(picture, autoencoder):
    latents = latents_of([picture(0)], copy.deepcopy(autoencoder).to(torch.bfloat16))
    assert latents.dtype == torch.float32
    exact = latents_of([picture(0)], autoencoder)
    assert (latents - exact).abs().max() < 0.05 * exact.abs().max()


def test_latents_kept_in_bfloat16_are_the_rounded_ones(tmp_path, curated, encode_sets):
    for latents in ("float32", "bfloat16"):
        encode_sets(curated, tmp_path / latents, latents=latents)
    exact, short = (
        load_from_disk(tmp_path / kind / "t2i/train")["latents"] for kind in ("float32", "bfloat16")
    )
    for ours, theirs in zip(short, exact, strict=True):
        stored = torch.from_numpy(np.array(ours, np.uint16))
        assert torch.equal(values(stored), torch.tensor(theirs).bfloat16().float())


def test_pictures_of_several_sizes_become_one(tmp_path, picture, encode_sets, write_curated):
    sizes = [(640, 480), (480, 640), (1024, 768), (96, 96)]
    samples = [Sample(str(n), ("x",), picture(n, size)) for n, size in enumerate(sizes)]
    curated = write_curated(tmp_path / "curated", {"t2i": {"train": samples, "evaluation": []}})
    encode_sets(curated, tmp_path / "out")
    rows = load_from_disk(tmp_path / "out/t2i/train")
    assert [torch.tensor(row["latents"]).shape for row in rows] == [(4, 4, 4)] * 4


def test_sizes_that_do_not_divide_are_an_error(picture, autoencoder):
    with pytest.raises(ValueError, match=r"divisible by 8, but are \[\(36, 32\)\]"):
        latents_of([picture(0, (36, 32))], autoencoder)


def test_each_picture_goes_to_its_bucket(tmp_path, picture, encode_sets, write_curated):
    sizes = {"square": (40, 40), "tall": (30, 60), "taller": (20, 80), "wide": (90, 50)}
    samples = [Sample(key, ("x",), picture(n, sizes[key])) for n, key in enumerate(sizes)]
    curated = write_curated(tmp_path / "curated", {"t2i": {"train": samples, "evaluation": []}})
    encode_sets(curated, tmp_path / "out", aspects=WIDE, batch=2)
    parts = open_split(tmp_path / "out/t2i/train")
    assert {bucket: [row["key"] for row in data] for bucket, data in parts.items()} == {
        "32x32": ["square"], "24x48": ["tall", "taller"], "48x24": ["wide"],
    }  # fmt: skip
    assert parts["24x48"].features["latents"].shape == (4, 6, 3)


def test_source_and_target_are_cropped_together(tmp_path, encode_sets, write_curated):
    """4:3 to 3:2: what lies at the same place of both is at the same place after."""
    target, source = (_marked((width, 96), 0.25) for width in (144, 128))
    curated = write_curated(
        tmp_path / "curated",
        {"ti2i": {"train": [Sample("a", ("x",), target, (source,))], "evaluation": []}},
    )
    encode_sets(curated, tmp_path / "out", side=64)
    (kept,) = load_from_disk(tmp_path / "out/ti2i/train")[0]["sources"]
    line = np.asarray(kept.convert("L"), float)[32]
    place = (line * np.arange(64)).sum() / line.sum() + 0.5
    assert place == pytest.approx((0.25 - 1 / 6) * 1.5 * 64, abs=0.5)


def _marked(size: tuple[int, int], place: float) -> Image.Image:
    """Black, with a white line of a ninth of the width around `place` of it."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    middle, half = place * size[0], size[0] / 18
    pixels[:, round(middle - half) : round(middle + half)] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("sources", ["png", "jpeg", "original"])
def test_sources_are_kept_as_the_setting_says(tmp_path, picture, image_file, encode_sets, sources):
    """One that must be scaled, and a JPEG that has its size."""
    jpeg, target = image_file(picture(1), "JPEG"), ("png", image_file(picture(0)))
    samples = [
        Packed("scaled", ("x",), target, (("png", image_file(picture(2, (64, 64)))),)),
        Packed("right", ("x",), target, (("jpg", jpeg),)),
    ]
    write_shard(samples, tmp_path / "curated/ti2i/train/00000.tar")
    sets = {"ti2i": {"train": 2, "evaluation": 0, "hash": "x"}}
    (tmp_path / "curated/manifest.json").write_text(json.dumps({"sets": sets}))
    encode_sets(tmp_path / "curated", tmp_path / "out", sources=sources)
    rows = load_from_disk(tmp_path / "out/ti2i/train")
    scaled, right = (row["sources"][0] for row in rows)
    assert (scaled.size, right.size) == ((32, 32), (32, 32))
    assert {scaled.format, right.format} == {"PNG" if sources == "png" else "JPEG"}
    kept = rows.with_format("arrow")[1]["sources"].to_pylist()[0][0]["bytes"]
    assert (kept == jpeg) == (sources == "original")


def test_it_never_writes_into_what_it_did_not_make(tmp_path, curated, encode_sets):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/letter.txt").write_text("dear")
    with pytest.raises(ValueError, match=r"must be empty or .* but has \['letter.txt'\]"):
        encode_sets(curated, tmp_path / "out")
    assert contents(tmp_path / "out") == {"letter.txt": b"dear"}


def test_new_data_are_added_without_encoding_the_old_again(
    tmp_path, curated, picture, write_curated, encode_sets, monkeypatch
):
    """A new set, a new shard, a changed setting: only what depends on it is encoded."""
    encoded: list[str] = []
    take = module._write_parts

    def noted(recipe, chunk, *rest):
        encoded.append(f"{chunk.name}/{chunk.split}/{len(chunk.shards)}")
        return take(recipe, chunk, *rest)

    monkeypatch.setattr(module, "_write_parts", noted)
    encode_sets(curated, tmp_path / "out")
    assert encoded == ["t2i/train/1", "t2i/evaluation/1", "ti2i/train/1"]
    encoded.clear()
    encode_sets(curated, tmp_path / "out")
    assert encoded == []
    more = [Sample(f"n/{n}", ("new",), picture(n + 90)) for n in range(3)]
    write_curated(tmp_path / "more", {"new": {"train": more, "evaluation": []}})
    shutil.copytree(tmp_path / "more/new", curated / "new")
    manifest = json.loads((curated / "manifest.json").read_text())
    manifest["sets"] |= json.loads((tmp_path / "more/manifest.json").read_text())["sets"]
    (curated / "manifest.json").write_text(json.dumps(manifest))
    old = contents(tmp_path / "out")
    encode_sets(curated, tmp_path / "out")
    assert encoded == ["new/train/1"]
    new = contents(tmp_path / "out")
    changed = {path for path in old | new if old.get(path) != new.get(path)}
    assert {path.split("/")[0] for path in changed} == {"new", "manifest.json"}
    encode_sets(curated, tmp_path / "fresh")
    assert contents(tmp_path / "fresh") == new
    encoded.clear()
    encode_sets(curated, tmp_path / "out", latents="bfloat16")
    assert len(encoded) == 4


def test_processes_make_the_same_bytes(tmp_path, curated, encode_sets):
    encode_sets(curated, tmp_path / "one")
    encode_sets(curated, tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


PROGRAM = """
import dataclasses, sys, time
from pathlib import Path
from ladder.config.load import load
from ladder.data.training import encode, encode_chunk
root, generator, curated, out, pause = sys.argv[1:]
samples = encode_chunk._samples
def slowly(recipe, chunk):
    for sample in samples(recipe, chunk):
        time.sleep(float(pause))
        yield sample
encode_chunk._samples = slowly
config = load(root=Path(root))
config = dataclasses.replace(
    config, foundations=dataclasses.replace(config.foundations, generator=generator)
)
encode.encode(config, Path(curated), Path(out))
"""


def start(root, generator, curated, out, pause=0.0, launcher=()) -> subprocess.Popen:
    program = out.with_suffix(".py")
    program.write_text(PROGRAM)
    words = [sys.executable, *launcher, program, root, generator, curated, out, str(pause)]
    env = os.environ | {"PYTHONPATH": str(root / "src"), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen([*map(str, words)], env=env, stderr=subprocess.DEVNULL)


def test_a_killed_encoding_goes_on_and_ends_in_the_same_bytes(
    tmp_path, root, generator, curated, encode_sets
):
    """Killed (-9) within the second of three chunks: the first isn't encoded again."""
    encode_sets(curated, tmp_path / "whole")
    out, work = tmp_path / "out", tmp_path / ".out"
    process = start(root, generator, curated, out, pause=0.3)
    deadline = time.monotonic() + 120
    while not (work.is_dir() and any(path.suffix == "" for path in work.iterdir())):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    done = {
        path: path.stat().st_mtime_ns for path in work.glob("*/*.arrow") if not path.parent.suffix
    }
    assert done
    links = {path.stat().st_ino for path in done}
    encode_sets(curated, out)
    assert contents(out) == contents(tmp_path / "whole")
    assert links <= {path.stat().st_ino for path in out.rglob("*.arrow")}
    assert not work.exists()


@pytest.mark.slow
def test_ranks_of_torchrun_share_the_work(tmp_path, root, generator, curated, encode_sets):
    encode_sets(curated, tmp_path / "whole")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    assert start(root, generator, curated, tmp_path / "out", launcher=launcher).wait(300) == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_changed_bit_is_found(tmp_path, curated, encode_sets):
    encode_sets(curated, tmp_path / "out")
    assert check(tmp_path / "out") == 3
    path = tmp_path / "out/t2i/train/data-00000-of-00001.arrow"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        ValueError, match=r"t2i/train/data-00000-of-00001\.arrow must have the hash"
    ):
        check(tmp_path / "out")
    with pytest.raises(ValueError, match="must name the encoded files"):
        check(tmp_path)


def test_it_encodes_for_the_generator_by_the_index_of_its_pipeline(tmp_path, curated, config):
    """A UNet of 4 x 4 latents, and its KL autoencoder."""
    folder = tiny_generator(tmp_path / "generator", "unet")
    foundations = dataclasses.replace(config.foundations, generator=str(folder), dtype="float32")
    encode(dataclasses.replace(config, foundations=foundations), curated, tmp_path / "out")
    row = load_from_disk(tmp_path / "out/ti2i/train")[0]
    (sample, *_) = read_shards(curated / "ti2i/train")
    expected = latents_of([sample.target], load_autoencoder(folder))[0]
    torch.testing.assert_close(torch.tensor(row["latents"]), expected, rtol=1e-4, atol=1e-4)
