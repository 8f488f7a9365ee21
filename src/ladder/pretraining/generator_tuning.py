"""The toy Sana: the base of `ladder.pretraining.generator`, tuned on the words of the MLLM.

Sana was trained on captions that MLLMs wrote. This one, too, learns to draw from the words in which
the toy MLLM tells what is to be seen: the filled templates of `ladder.world.slot_template`.
Saved as a complete `SanaPipeline` folder, it draws without any MLLM.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderDC,
    DPMSolverMultistepScheduler,
    SanaPipeline,
    SanaTransformer2DModel,
)
from transformers import AutoTokenizer, Gemma2Model

from ladder.config.files import replacing_folder, write_text
from ladder.config.load import Config
from ladder.pretraining.generator import SHIFT, CaptionMix, save, train_drawing

log = logging.getLogger(__name__)

TUNED = CaptionMix(dense=0.05, templates=0.85, asked=0.65, pairs=0.4)
"""Which of two colours goes with which of two shapes is learned most slowly."""


def main(config: Config) -> None:
    """The stage: tune the base and save the pipeline around the autoencoder that is there."""
    toy = config.pretraining
    tune(
        Path(toy.generator_base), toy.generator_steps, toy.seed, Path(config.foundations.generator)
    )


def tune(base: Path, steps: int, seed: int, folder: Path) -> None:
    """Go on training the base for the autoencoder in `folder`, and complete the pipeline there."""
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(base / "tokenizer")
    encoder = Gemma2Model.from_pretrained(
        base / "text_encoder", dtype=torch.float32, attn_implementation="eager"
    )
    transformer = SanaTransformer2DModel.from_pretrained(
        base, subfolder="transformer", torch_dtype=torch.float32
    )
    vae = AutoencoderDC.from_pretrained(folder, subfolder="vae", torch_dtype=torch.float32)
    rng = np.random.default_rng([seed, 31])
    drawer = train_drawing((encoder, transformer), tokenizer, vae, TUNED, rng, steps)
    save(drawer, tokenizer, folder)
    scheduler = DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=SHIFT
    )
    # Part by part, since the autoencoder in the folder is the product of another stage.
    with replacing_folder(folder / "scheduler", scheduler.config_name) as part:
        scheduler.save_pretrained(part)
    pipeline = SanaPipeline(tokenizer, drawer[0], vae, drawer[1], scheduler)
    write_text(folder / pipeline.config_name, pipeline.to_json_string())
    log.info("saved the generator to %s", folder)
