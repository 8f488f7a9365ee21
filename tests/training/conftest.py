"""Tiny foundations, encoded data and a short configuration for the tests of training."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from tests.stored import write_shards
from tests.tiny import tiny_mllm, tiny_picture, tiny_sana

from ladder.config.load import Config, Foundations, Stages, load
from ladder.data.shards import Sample
from ladder.data.training.encode import encode

SETS = {"t2i": False, "ti2i": True, "finetune_t2i": False, "finetune_ti2i": True}
"""The data sets by name, and whether they are edits."""


MIXTURES = {
    "t2i": {"t2i": 1.0},
    "ti2i": {"ti2i": 0.7, "t2i": 0.3},
    "finetune": {"finetune_t2i": 0.5, "finetune_ti2i": 0.5},
}


@pytest.fixture(scope="session")
def foundations(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Foundations:
    """A tiny Qwen2.5-VL and a tiny Sana."""
    folder = tmp_path_factory.mktemp("foundations")
    mllm, generator = tiny_mllm(folder / "mllm"), tiny_sana(folder / "sana")
    return dataclasses.replace(
        load(root=root).foundations, mllm=str(mllm), generator=str(generator), dtype="float32"
    )


@pytest.fixture(scope="session")
def curated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every set with 20 training samples and 2 held-out ones."""
    curated = tmp_path_factory.mktemp("curated")
    sizes = {"train": 20, "evaluation": 2}
    for name, edits in SETS.items():
        for split, count in sizes.items():
            samples = [
                Sample(
                    f"{split}{number}",
                    ("a red circle", "two pink hearts", f"picture {number}"),
                    tiny_picture(number),
                    (tiny_picture(number + 50),) if edits else (),
                )
                for number in range(count)
            ]
            write_shards(samples, curated / name / split, 10)
    manifest = {"sets": {name: sizes | {"hash": name} for name in SETS}}
    (curated / "manifest.json").write_text(json.dumps(manifest))
    return curated


@pytest.fixture(scope="session")
def encoded(
    tmp_path_factory: pytest.TempPathFactory, root: Path, foundations: Foundations, curated: Path
) -> Path:
    """These sets with their latents."""
    out = tmp_path_factory.mktemp("encoded") / "encoded"
    encode(dataclasses.replace(load(root=root), foundations=foundations), curated, out)
    return out


@pytest.fixture
def short(config: Config, foundations: Foundations) -> Config:
    """A configuration of tiny models: no steps of t2i, ten of six samples in each stage after it.

    What the shipped one may still be tuned to is pinned.
    """
    stages = {
        field.name: dataclasses.replace(
            getattr(config.stages, field.name),
            steps=10 if field.name != "t2i" else 0,
            batch=6,
            accumulate=2,
            warmup=2,
            sample_every=4,
            checkpoint_every=4,
            ema=0.8,
            mixture=MIXTURES[field.name],
            noise_samples=2,
            lr=1e-3,
            generator_lr_scale=0.5,
            query_lr_scale=0.25,
            final_lr=1e-5,
            precision="32-true",
        )
        for field in dataclasses.fields(Stages)
    }
    return dataclasses.replace(
        config,
        threads=1,
        foundations=foundations,
        model=dataclasses.replace(
            config.model, scheme="last_n", layers=None, queries=4, query_text=None
        ),
        connector_warmup=dataclasses.replace(config.connector_warmup, steps=0),
        stages=Stages(**stages),
        sampling=dataclasses.replace(config.sampling, steps=2),
    )


@pytest.fixture
def wordy(short: Config) -> Config:
    """Four queries, of which three begin as tokens of a word, and a warm-up of 6 steps."""
    return dataclasses.replace(
        short,
        model=dataclasses.replace(short.model, query_text="red"),
        connector_warmup=dataclasses.replace(
            short.connector_warmup,
            groups=(1, 2),
            prompts=8,
            steps=6,
            batch=4,
            mixture={"t2i": 0.5, "ti2i": 0.5},
        ),
    )


@pytest.fixture(autouse=True)
def _outside_the_repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """DVCLive asks git and DVC about the working directory."""
    monkeypatch.chdir(tmp_path)
