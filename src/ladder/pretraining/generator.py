"""The toy Sana before its tuning: a `SanaTransformer2DModel` with a small Gemma2 text encoder.

Trained jointly and from scratch, it learns to draw what literal captions say, by rectified flow on
latents encoded once. Training times are moved towards noise, because with one latent a cell, places
are decided while hardly anything can be seen yet. `ladder.pretraining.generator_tuning` goes on
from here.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderDC, SanaTransformer2DModel
from tokenizers.processors import TemplateProcessing
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import trange
from transformers import Gemma2Config, Gemma2Model, PreTrainedTokenizerFast

from ladder.config.files import replacing_folder
from ladder.config.load import Config
from ladder.pretraining.autoencoder import CONFIG as AUTOENCODER
from ladder.pretraining.autoencoder import to_tensor
from ladder.pretraining.muon import muon_and_adamw, trapezoid
from ladder.pretraining.tokenizer import train_tokenizer
from ladder.pretraining.word_states import state_of_nothing, states_of_words
from ladder.world import language, slot_template
from ladder.world.render import render
from ladder.world.sampling import SCENE_KINDS, draw_caption, draw_kind
from ladder.world.scenes import GRID, Scene

log = logging.getLogger(__name__)

BLOCKS, HEADS, HEAD_DIM = 6, 6, 32
CAPTION_WIDTH, CAPTION_LAYERS = 128, 3
POOL = 24_000
"""Scenes encoded once and shown again and again, each time under another caption."""
BATCH, LONG_BATCH = 128, 96
"""Of literal captions, and of dense ones and templates, which are longer."""
SHIFT = 3.0
"""Training times s become SHIFT s / (1 + (SHIFT - 1) s): more of them are close to noise."""
DROPPED = 0.1
"""Share of captions left out, for guidance."""
NOISE = 0.2
"""Deviation of the noise on the states of a template's words (whose root mean square is about 1):
those who speak to the generator in such states don't hit them exactly."""
EMA = 0.998
POSITIONS = 32
"""Over so many positions the 3 x 3 latents are spread: as many as Sana has at 1024 px. Neighbours
at distance 1 look so alike that 3,000 steps didn't teach what "at the top left" means."""

Drawer = tuple[Gemma2Model, SanaTransformer2DModel]
"""What draws: a text encoder and the transformer that reads its states."""
Captions = list[str] | list[tuple[str, ...]]
"""Texts, or templates that are filled in; those that were dropped are empty."""
NAMES = tuple(f" {name}" for name in slot_template.SLOTS)


@dataclass(frozen=True)
class CaptionMix:
    """Share of batches with dense captions, and with filled templates; the others are literal."""

    dense: float
    templates: float
    asked: float = 0.0
    """Share of the templates of short captions that tell what was asked for, not what is seen."""
    pairs: float = 0.0
    """Share of the batches of templates that hold pairs only, whose colours must be told apart."""


BASE = CaptionMix(dense=0.4, templates=0.0)


def main(config: Config) -> None:
    """The stage: train for the autoencoder that is there already, and save."""
    toy = config.pretraining
    vae = Path(config.foundations.generator) / "vae"
    train(toy.generator_base_steps, toy.seed, vae, Path(toy.generator_base))


def train(steps: int, seed: int, vae: Path, folder: Path) -> None:
    """Train tokenizer, text encoder and transformer for the autoencoder `vae`; save to `folder`."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 30])
    autoencoder = AutoencoderDC.from_pretrained(vae, torch_dtype=torch.float32)
    tokenizer = with_start(train_tokenizer(seed))
    drawer = build(tokenizer)
    drawer = train_drawing(drawer, tokenizer, autoencoder, BASE, rng, steps)
    save(drawer, tokenizer, folder)
    log.info("saved the base generator to %s", folder)


def train_drawing(
    drawer: Drawer,
    tokenizer: PreTrainedTokenizerFast,
    vae: AutoencoderDC,
    mix: CaptionMix,
    rng: np.random.Generator,
    steps: int,
) -> Drawer:
    """Teach text encoder and transformer to draw captions of the mix; returns their averages."""
    averaged = torch.optim.swa_utils.AveragedModel(
        torch.nn.ModuleList(drawer), multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(EMA)
    )
    encoder, transformer = drawer
    pool = Pool(rng, vae)
    optimizer = muon_and_adamw(
        [*encoder.named_parameters(), *transformer.named_parameters()], 0.02, 2e-3
    )
    progress = trange(steps, desc="generator", mininterval=5)
    mean_loss = 0.0
    for step in progress:
        trapezoid(optimizer, step, steps)
        clean, captions = pool.draw(rng, mix)
        noise = torch.randn_like(clean)
        s = torch.rand(len(clean))
        s = SHIFT * s / (1 + (SHIFT - 1) * s)
        noisy = torch.lerp(clean, noise, s[:, None, None, None])
        with sdpa_kernel(SDPBackend.MATH):
            states, mask = read(tokenizer, encoder, captions)
            velocity = transformer(noisy, states, s * 1000, encoder_attention_mask=mask).sample
        loss = (velocity - (noise - clean)).square().mean()
        optimizer.step_on(loss)
        averaged.update_parameters(torch.nn.ModuleList(drawer))
        mean_loss = loss.item() if step == 0 else 0.98 * mean_loss + 0.02 * loss.item()
        if step % 25 == 0 or step == steps - 1:
            progress.set_postfix(loss=f"{mean_loss:.4f}")
    encoder, transformer = averaged.module
    return encoder, transformer


def save(drawer: Drawer, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write text encoder, transformer (both in bfloat16) and tokenizer as parts of a pipeline."""
    encoder, transformer = drawer
    with replacing_folder(folder / "text_encoder", "config.json") as part:
        encoder.to(torch.bfloat16).save_pretrained(part)
    with replacing_folder(folder / "transformer", "config.json") as part:
        transformer.to(torch.bfloat16).save_pretrained(part)
    with replacing_folder(folder / "tokenizer", "tokenizer_config.json") as part:
        tokenizer.save_pretrained(part)


def with_start(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The tokenizer with a start token, which an empty caption consists of (as Gemma's has)."""
    start = "<|im_start|>"
    backend = tokenizer.backend_tokenizer
    backend.post_processor = TemplateProcessing(
        single=f"{start} $A", special_tokens=[(start, tokenizer.convert_tokens_to_ids(start))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=start,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="right",
    )


def build(tokenizer: PreTrainedTokenizerFast) -> Drawer:
    """Random ones for the toy tokenizer."""
    encoder = Gemma2Model._from_config(
        Gemma2Config(
            vocab_size=len(tokenizer),
            hidden_size=CAPTION_WIDTH,
            intermediate_size=352,
            num_hidden_layers=CAPTION_LAYERS,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            query_pre_attn_scalar=32,
            sliding_window=512,
            max_position_embeddings=1024,
            initializer_range=0.05,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        ),
        attn_implementation="eager",
    )
    channels = AUTOENCODER["latent_channels"]
    transformer = SanaTransformer2DModel(
        in_channels=channels,
        out_channels=channels,
        num_attention_heads=HEADS,
        attention_head_dim=HEAD_DIM,
        num_layers=BLOCKS,
        num_cross_attention_heads=HEADS,
        cross_attention_head_dim=HEAD_DIM,
        cross_attention_dim=HEADS * HEAD_DIM,
        caption_channels=CAPTION_WIDTH,
        mlp_ratio=2.5,
        sample_size=GRID,
        patch_size=1,
        interpolation_scale=GRID / POSITIONS,
    )
    torch.nn.init.zeros_(transformer.proj_out.weight)
    return encoder, transformer


class Pool:
    """Scenes with their latents, encoded once and drawn each time under another caption.

    A batch is of one kind (short captions, dense ones or templates), which saves padding.
    """

    def __init__(self, rng: np.random.Generator, vae: AutoencoderDC) -> None:
        kinds = rng.choice([*SCENE_KINDS], size=POOL, p=[*SCENE_KINDS.values()])
        self.kinds = [str(kind) for kind in kinds]
        self.scenes = [draw_kind(rng, kind) for kind in self.kinds]
        self.latents = encode(vae, self.scenes)
        self.pairs = np.array([i for i, kind in enumerate(self.kinds) if kind == "pair"])
        self.short = np.array([i for i, kind in enumerate(self.kinds) if kind != "mixture"])

    def draw(self, rng: np.random.Generator, mix: CaptionMix) -> tuple[torch.Tensor, Captions]:
        """Latents (B, C, h, w) and captions, some of them dropped."""
        drawn = rng.random()
        dense, template = drawn < mix.dense, mix.dense <= drawn < mix.dense + mix.templates
        size = LONG_BATCH if dense or template else BATCH
        if template and mix.pairs and rng.random() < mix.pairs:
            chosen = rng.choice(self.pairs, size)
        elif dense or template:
            chosen = rng.integers(POOL, size=size)
        else:
            chosen = rng.choice(self.short, size)
        captions = []
        for i in chosen:
            if dense:
                say = language.dense(rng, self.scenes[i]).text
            else:
                say = self._template(rng, i, mix) if template else self._literal(rng, i)
            captions.append(say[:0] if rng.random() < DROPPED else say)
        return self.latents[chosen], captions

    def _literal(self, rng: np.random.Generator, i: int | np.integer) -> str:
        """A short caption that needs no reasoning: the text encoder is too small for more."""
        while True:
            caption = draw_caption(rng, self.scenes[i], self.kinds[i])
            if caption.tag not in ("thought", "dense"):
                return caption.text

    def _template(
        self, rng: np.random.Generator, i: int | np.integer, mix: CaptionMix
    ) -> tuple[str, ...]:
        """What a caption asks for, or what is seen. The MLLM knows no more than either: the
        other part is left open."""
        asked, seen = slot_template.UNASKED, slot_template.seen(self.scenes[i])
        caption = draw_caption(rng, self.scenes[i], self.kinds[i])
        if caption.tag != "dense" and rng.random() < mix.asked:
            asked, seen = slot_template.asked(caption.specification), slot_template.UNSEEN
        return tuple(f" {word}" for word in asked + seen)


@torch.no_grad()
def encode(vae: AutoencoderDC, scenes: list[Scene], batch: int = 100) -> torch.Tensor:
    """Scaled latents (len(scenes), C, h, w) of rendered scenes."""
    vae = vae.to(memory_format=torch.channels_last)
    parts = []
    for start in trange(0, len(scenes), batch, desc="latents", mininterval=5):
        pictures = np.stack([render(scene) for scene in scenes[start : start + batch]])
        parts.append(vae.encode(to_tensor(pictures)).latent.contiguous())
    return torch.cat(parts) * vae.config.scaling_factor


def read(
    tokenizer: PreTrainedTokenizerFast, encoder: Gemma2Model, captions: Captions
) -> tuple[torch.Tensor, torch.Tensor]:
    """States (B, T, D) and mask (B, T) of captions.

    Texts are encoded as usual. Of templates, the encoder's start comes first, then each word in its
    group (`ladder.pretraining.word_states`) with some noise, and nothing but the start where they
    were dropped.
    """
    if all(isinstance(caption, str) for caption in captions):
        tokens = tokenizer(captions, padding=True, return_tensors="pt")
        states = encoder(tokens.input_ids, attention_mask=tokens.attention_mask)
        return states.last_hidden_state, tokens.attention_mask
    start = state_of_nothing(encoder, tokenizer)
    filled = [template or NAMES for template in captions]
    words = states_of_words(encoder, tokenizer, filled, NAMES, slot_template.GROUPS)
    words = words + NOISE * torch.randn_like(words)
    mask = torch.ones(len(captions), 1 + len(NAMES), dtype=torch.long)
    mask[[not template for template in captions], 1:] = 0
    return torch.cat([start.expand(len(words), 1, -1), words], 1), mask
