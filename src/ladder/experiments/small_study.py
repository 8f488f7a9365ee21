"""A study that fits into a notebook: the first stage, cut short, on a small world made on the spot.

What is compared is the loss on held-out samples under fixed noise, which tells arms apart long
before their pictures do.

Letters: B samples, T times.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from datasets import load_from_disk

from ladder.config.load import ConditionDropout, Config, load
from ladder.data.curation.curate import curate
from ladder.data.training.datamodule import Mixture, collate
from ladder.data.training.encode import encode
from ladder.data.training.sampler import Draw
from ladder.experiments.train_cell import steps_of
from ladder.models import rectified_flow
from ladder.models.generator.autoencoder import load_autoencoder
from ladder.models.ladder import Ladder
from ladder.models.reference import content_hash
from ladder.training.stages import run_stage
from ladder.world import shards

HOME = Path(__file__).resolve().parents[3]
"""The repository: notebooks are opened from other folders too."""
TIMES = (0.2, 0.4, 0.6, 0.8, 0.9, 0.97)
"""At which the loss is taken; the later, the more noise."""
NOTHING_DROPPED = ConditionDropout(t2i_text=0.0, edit_text=0.0, edit_both=0.0, edit_image=0.0)


@dataclass(frozen=True)
class Outcome:
    """What a short training gave."""

    ladder: Ladder
    steps: pd.DataFrame
    """A row for each step: loss, norm, whether it was skipped, and its fault, if any."""
    losses: pd.Series
    """The mean loss on held-out samples, by time."""

    @property
    def loss(self) -> float:
        """The mean over the times."""
        return float(self.losses.mean())


def small_config(*arguments: str, profile: str = "small") -> Config:
    """The configuration of a short study, with `key=value` arguments as on the command line."""
    config = load(profile, arguments=arguments, root=HOME)
    foundations = config.foundations
    return dataclasses.replace(
        config,
        foundations=dataclasses.replace(
            foundations,
            mllm=str(HOME / foundations.mllm),
            generator=str(HOME / foundations.generator),
        ),
    )


def train(config: Config) -> Outcome:
    """Train the first stage of `config` in a folder that is thrown away; score it by its loss.

    Raises DivergedError when the monitor gives up.
    """
    torch.set_num_threads(config.threads)
    encoded = encoded_data(config)
    with tempfile.TemporaryDirectory() as runs:
        folder = run_stage(config, "t2i", encoded, Path(runs))
        steps = steps_of(folder.parent, "t2i")
        ladder = Ladder.from_pretrained(folder).eval()
    return Outcome(ladder, steps, heldout_loss(ladder, encoded))


def encoded_data(config: Config, folder: Path = HOME / "data/small") -> Path:
    """The encoded sets of the world of `config`; they are made once, and kept in `folder`."""
    decides = [dataclasses.asdict(config.world), dataclasses.asdict(config.curation)]
    decides.append(content_hash(Path(config.foundations.generator) / "vae"))
    name = hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:12]
    if not (folder / name).is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            raw, curated, encoded = (Path(place) / x for x in ("raw", "curated", "encoded"))
            shards.write(config.world, raw)
            curate(raw, curated, config.curation)
            encode(curated, encoded, load_autoencoder(config.foundations.generator))
            # Another process may have been faster; what it made is the same.
            if not (folder / name).is_dir():
                shutil.move(encoded, folder / name)
    return folder / name


@torch.no_grad()
def heldout_loss(
    ladder: Ladder, encoded: Path, samples: int = 64, times: Sequence[float] = TIMES
) -> pd.Series:
    """The mean loss on held-out captioned pictures, by time; the same noise for every ladder."""
    held = load_from_disk(encoded / "t2i" / "evaluation")
    samples = min(samples, len(held))
    mixture = Mixture({"t2i": held}, NOTHING_DROPPED)
    items = mixture.__getitems__([Draw("t2i", index, (0, index)) for index in range(samples)])
    batch = collate(items, ladder.understanding.prepare)
    conditions = ladder.conditions(batch.prompts)
    noise = torch.randn(batch.latents.shape, generator=torch.Generator().manual_seed(0))
    found = {}
    for s in times:
        time = torch.full((samples,), s)
        velocity = ladder.velocity(
            rectified_flow.noisy(batch.latents, noise, time),
            time * rectified_flow.TIMESTEPS,
            conditions,
        )
        found[s] = rectified_flow.loss(velocity, batch.latents, noise).item()
    return pd.Series(found, name="loss").rename_axis("time")
