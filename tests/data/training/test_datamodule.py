"""Batches are pure functions of the step: true pictures and captions, resumed bit for bit."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image
from tests.stored import read_shards

from ladder.config.load import ConditionDropout, Stage
from ladder.data.shards import Sample
from ladder.data.training.datamodule import Batch, LadderData, Mixture
from ladder.data.training.encode_chunk import latents_of
from ladder.data.training.encoded import ONLY, open_split
from ladder.data.training.sampler import Draw

NEVER = ConditionDropout(0.0, 0.0, 0.0, 0.0)
PAPER = ConditionDropout(0.1, 0.1, 0.1, 0.1)


@dataclass
class Prompts:
    """Texts and pictures as they are, in the place of tokens."""

    texts: tuple[str, ...]
    images: tuple[tuple[bytes, ...], ...]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Prompts:
        return self

    def pin_memory(self) -> Prompts:
        return self


def prepare(texts, images) -> Prompts:
    pixels = tuple(tuple(image.tobytes() for image in pictures) for pictures in images)
    return Prompts(tuple(texts), pixels)


@pytest.fixture(scope="module")
def curated(tmp_path_factory, picture, write_curated) -> Path:
    plain = [
        Sample(f"0/{n}", (f"one {n}", f"two {n}", f"three {n}"), picture(n)) for n in range(30)
    ]
    edits = [
        Sample(f"0/{n}", (f"edit {n}", f"change {n}"), picture(n), (picture(n + 100),))
        for n in range(20)
    ]
    sets = {
        "t2i": {"train": plain, "evaluation": [Sample("0/held out", ("x",), picture(999))]},
        "ti2i": {"train": edits, "evaluation": []},
    }
    return write_curated(tmp_path_factory.mktemp("curated"), sets)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory, curated, encode_sets) -> Path:
    folder = tmp_path_factory.mktemp("encoded") / "encoded"
    encode_sets(curated, folder)
    return folder


@pytest.fixture
def stage(config) -> Stage:
    changes = {"steps": 10, "batch": 8, "accumulate": 2, "warmup": 0}
    return dataclasses.replace(config.stages.ti2i, mixture={"t2i": 0.5, "ti2i": 0.5}, **changes)


def batches(
    encoded: Path, stage: Stage, dropout: ConditionDropout = NEVER, **options
) -> list[Batch]:
    options = {"seed": 0, "prepare": prepare} | options
    return list(LadderData(encoded, "ti2i", stage, dropout, **options).train_dataloader())


def content(batch: Batch) -> tuple:
    return batch.latents.numpy().tobytes(), batch.prompts, batch.keys


def test_a_batch_holds_what_was_encoded(encoded, curated, stage, autoencoder):
    truth = {
        f"{name}/{sample.key}": sample
        for name in ("t2i", "ti2i")
        for sample in read_shards(curated / name / "train")
    }
    kinds = Counter()
    for batch in batches(encoded, dataclasses.replace(stage, steps=30)):
        assert batch.latents.shape == (4, 4, 4, 4)
        columns = (batch.keys, batch.latents, batch.prompts.texts, batch.prompts.images)
        for key, latents, text, images in zip(*columns, strict=True):
            sample = truth[key]
            kinds[key.split("/")[0]] += 1
            assert text in sample.captions
            assert images == tuple(source.tobytes() for source in sample.sources)
            expected = latents_of([sample.target], autoencoder)[0]
            torch.testing.assert_close(latents, expected, rtol=1e-4, atol=1e-5)
    assert abs(kinds["t2i"] - 120) < 40


def test_no_picture_is_made_up_and_the_held_out_never_appear(encoded, curated, stage):
    """With dropping, black pictures come exactly in the two branches that drop the picture."""
    given = {source.tobytes() for s in read_shards(curated / "ti2i/train") for source in s.sources}
    black = Image.new("RGB", (32, 32)).tobytes()
    assert black not in given
    long = dataclasses.replace(stage, steps=60)
    seen = {
        dropout: {
            image
            for batch in batches(encoded, long, dropout)
            for images in batch.prompts.images
            for image in images
        }
        for dropout in (NEVER, PAPER)
    }
    assert seen[NEVER] == given
    assert seen[PAPER] == given | {black}
    keys = {key for batch in batches(encoded, long) for key in batch.keys}
    assert "t2i/0/held out" not in keys
    assert len(keys) == 50


def test_dropping_rates(encoded, stage):
    """4,000 edits and 4,000 pictures: every branch within five standard errors of 0.1."""
    long = dataclasses.replace(stage, steps=100, batch=80, accumulate=1)
    black = (Image.new("RGB", (32, 32)).tobytes(),)
    counts = Counter(
        (bool(images), text == "", images == black)
        for batch in batches(encoded, long, PAPER)
        for text, images in zip(batch.prompts.texts, batch.prompts.images, strict=True)
    )
    edit_branches = {(True, True, False), (True, True, True), (True, False, True)}
    for kind in edit_branches | {(False, True, False)}:
        assert abs(counts[kind] / 4000 - 0.1) < 5 * (0.1 * 0.9 / 4000) ** 0.5, kind
    assert set(counts) == edit_branches | {(True, False, False), (False, True, False), (False,) * 3}


def test_captions_and_dropping_are_redrawn_every_step(encoded, stage):
    long = dataclasses.replace(stage, steps=200)
    texts: dict[str, Counter] = {}
    for batch in batches(encoded, long, PAPER):
        for key, text in zip(batch.keys, batch.prompts.texts, strict=True):
            texts.setdefault(key, Counter())[text] += 1
    for key, found in texts.items():
        captions = 3 if key.startswith("t2i") else 2
        assert len(found - Counter({"": 10**6})) == captions, key
        assert found[""] < found.total() / 2, key


def test_the_same_step_gives_the_same_batch(encoded, stage):
    whole = [content(batch) for batch in batches(encoded, stage, PAPER)]
    for start in (0, 3, 9, 10):
        rest = [content(batch) for batch in batches(encoded, stage, PAPER, start=start)]
        assert rest == whole[2 * start :]
    assert [content(batch) for batch in batches(encoded, stage, PAPER, seed=1)] != whole


def test_workers_change_nothing(encoded, stage):
    alone = [content(batch) for batch in batches(encoded, stage, PAPER)]
    assert [content(batch) for batch in batches(encoded, stage, PAPER, workers=2)] == alone


def test_loading_leaves_the_global_random_state_alone(encoded, stage):
    """Noise is drawn from it: a loader made anew after a resumption must not shift it."""
    state = torch.get_rng_state()
    batches(encoded, stage, PAPER)
    assert torch.equal(torch.get_rng_state(), state)


class Regression(LightningModule):
    """Weights that depend on every latent, caption, picture and their order."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layer = torch.nn.Linear(64, 1)
        self.seen: list[tuple] = []

    def training_step(self, batch: Batch) -> torch.Tensor:
        self.seen.append(content(batch))
        facts = [
            len(text) + sum(map(sum, images)) / 1e6
            for text, images in zip(batch.prompts.texts, batch.prompts.images, strict=True)
        ]
        return (self.layer(batch.latents.flatten(1))[:, 0] - torch.tensor(facts)).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.1)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_training_is_bit_identical(tmp_path, encoded, stage, workers):
    """10 steps at once = killed after the checkpoint of step 5 and resumed from it."""

    def run(checkpoint: Path | None = None) -> Regression:
        data = LadderData(encoded, "ti2i", stage, PAPER, 0, prepare, workers)
        trainer = Trainer(
            max_steps=stage.steps,
            accumulate_grad_batches=stage.accumulate,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            callbacks=[ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=5, save_top_k=-1)],
        )
        module = Regression()
        trainer.fit(module, data, ckpt_path=checkpoint)
        assert trainer.global_step == 10
        return module

    whole = run()
    resumed = run(tmp_path / "step=5.ckpt")
    assert len(whole.seen) == 20
    assert resumed.seen == whole.seen[10:]
    assert torch.equal(resumed.layer.weight, whole.layer.weight)
    assert torch.equal(resumed.layer.bias, whole.layer.bias)


def test_a_missing_set_says_which_there_are(encoded, stage):
    message = "other/train must hold an encoded set, .* are the sets t2i, ti2i; `ladder encode`"
    with pytest.raises(ValueError, match=message):
        batches(encoded, dataclasses.replace(stage, mixture={"other": 1.0}))


def test_a_stage_goes_on_with_the_data_it_began_with(encoded, stage):
    data = LadderData(encoded, "ti2i", stage, NEVER, 0, prepare)
    sizes = {"t2i": {ONLY: 30}, "ti2i": {ONLY: 19}}
    data.load_state_dict({"step": 2, "seen": {ONLY: 16}, "sizes": sizes, "processes": 1})
    with pytest.raises(ValueError, match=r"it began with, .*19.* got .*20.* remove its checkpoint"):
        data.train_dataloader()


def test_another_number_of_processes_is_said(encoded, stage, caplog):
    data = LadderData(encoded, "ti2i", stage, NEVER, 0, prepare)
    sizes = {"t2i": {ONLY: 30}, "ti2i": {ONLY: 20}}
    data.load_state_dict({"step": 2, "seen": {ONLY: 32}, "sizes": sizes, "processes": 2})
    first = next(iter(data.train_dataloader()))
    assert "1 processes, 8 samples a step, instead of 2 with 16" in caplog.text
    whole = batches(encoded, stage)
    assert first.keys == whole[8].keys, "the fifth step of one process begins at sample 32"


def test_sets_with_latents_of_different_shapes_do_not_mix(encoded, tmp_path, picture, encode_sets,
                                                          write_curated):  # fmt: skip
    samples = [Sample("wide", ("x",), picture(0, (48, 32)))]
    write_curated(tmp_path / "c", {"wide": {"train": samples, "evaluation": []}})
    encode_sets(tmp_path / "c", tmp_path / "e", side=48)
    sets = {"t2i": open_split(encoded / "t2i/train")}
    sets["wide"] = open_split(tmp_path / "e/wide/train")
    with pytest.raises(ValueError, match=r"latents of one shape: .*\(4, 6, 6\)"):
        Mixture(sets, NEVER)


def test_batches_are_of_one_bucket_and_latents_of_float32(
    tmp_path, picture, write_curated, encode_sets, stage
):
    """Kept in bfloat16, with sources as JPEG."""
    sizes = [(32, 32), (64, 32), (32, 64)]
    samples = [
        Sample(str(n), ("x",), picture(n, sizes[n % 3]), (picture(n + 50, sizes[n % 3]),))
        for n in range(24)
    ]
    curated = write_curated(tmp_path / "c", {"ti2i": {"train": samples, "evaluation": []}})
    wide = {"aspects": (0.5, 1.0, 2.0), "latents": "bfloat16", "sources": "jpeg"}
    encode_sets(curated, tmp_path / "e", **wide)
    shapes = {"0": (4, 4, 4), "1": (4, 3, 6), "2": (4, 6, 3)}
    stage = dataclasses.replace(stage, mixture={"ti2i": 1.0}, steps=12)
    seen = Counter()
    for batch in batches(tmp_path / "e", stage):
        assert batch.latents.dtype == torch.float32
        for key in batch.keys:
            assert shapes[str(int(key.split("/")[1]) % 3)] == batch.latents.shape[1:]
            seen[key] += 1
    assert sum(seen.values()) == 96
    assert len(seen) == 24


def test_captions_that_teach_to_the_test_can_be_left_out(
    tmp_path, picture, encode_sets, write_curated
):
    """GenEval's and its toy's; a sample that has no other keeps them."""
    told = {
        "a": ("a photo of a dog", "a red star", "a red star at the top, on a mint background"),
        "b": ("two red stars", "a photo of two dogs"),
    }
    samples = [
        Sample(key, texts, picture(n, (32, 32))) for n, (key, texts) in enumerate(told.items())
    ]
    write_curated(tmp_path / "c", {"t2i": {"train": samples, "evaluation": []}})
    encode_sets(tmp_path / "c", tmp_path / "e")
    sets = {"t2i": open_split(tmp_path / "e/t2i/train")}
    for templates in (True, False):
        mixture, seen = Mixture(sets, NEVER, templates), {"a": set(), "b": set()}
        for item in mixture.__getitems__([Draw("t2i", n % 2, (n,)) for n in range(80)]):
            seen[item.key.rpartition("/")[2]].add(item.conditions.caption)
        assert seen == {"a": {*told["a"][0 if templates else 2 :]}, "b": {*told["b"]}}


def test_a_batch_of_64_edits_takes_less_than_25_ms(
    tmp_path, picture, write_curated, encode_sets, slowness
):
    """Of one core that nothing else disturbs, without tokenisation; 96 x 96 pixels."""
    edits = [
        Sample(str(n), ("a", "b"), picture(n, (96, 96)), (picture(n + 500, (96, 96)),))
        for n in range(300)
    ]
    curated = write_curated(tmp_path / "c", {"ti2i": {"train": edits, "evaluation": []}})
    encode_sets(curated, tmp_path / "e", side=96)
    mixture = Mixture({"ti2i": open_split(tmp_path / "e/ti2i/train")}, PAPER)
    times = []
    for step in range(40):
        draws = [Draw("ti2i", (step * 64 + n) % 300, (step, n)) for n in range(64)]
        start = time.process_time()
        items = mixture.__getitems__(draws)
        torch.stack([item.latents for item in items])
        times.append(time.process_time() - start)
    assert min(times) < 0.025 * slowness
