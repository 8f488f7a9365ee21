"""Tiny real models with random weights, in the folders of the big ones, for tests.

They are the classes that the product runs (Qwen2.5-VL, AutoencoderDC, Sana with its Gemma2), a few
thousand times smaller, and those that can stand in their places (other MLLMs, PixArt, a UNet of
Stable Diffusion). Pictures are 32 x 32: the MLLM sees 4 x 4 merged patches, the latents of Sana are
(8, 4, 4), those of others (4, 4, 4). Nothing is downloaded, and equal seeds give equal folders.
"""

from __future__ import annotations

import json
import string
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    PixArtTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    UNet2DConditionModel,
)
from PIL import Image
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2TokenizerFast,
    Qwen2VLImageProcessorPil,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

SIDE = 32
"""Pixels of a picture's side."""
LATENT_SHAPE = (8, 4, 4)
MLLM_LAYERS = 6
MLLM_WIDTH = 64
GENERATOR_BLOCKS = 3
CAPTION_CHANNELS = 48
MLLMS = {
    "qwen2_5_vl": Qwen2_5_VLForConditionalGeneration,
    "qwen3_vl": Qwen3VLForConditionalGeneration,
    "qwen3": Qwen3ForCausalLM,
}
"""By their type. qwen3 reads text only."""

GENERATORS = ("sana", "pixart_sigma", "pixart_alpha", "unet")
"""pixart_alpha is told the size of the pictures, as the largest is."""

SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>",
    "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
PLAIN_ADDED_TOKENS = ("<tool_call>", "</tool_call>", "<|fim_prefix|>")
"""Added tokens that Qwen2.5 doesn't flag as special, though they act alike."""
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if loop.first and message.role != 'system' -%}
<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif -%}
<|im_start|>{{ message.role }}
{% if message.content is string -%}
{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>
{%- else -%}{{ part.text }}{%- endif -%}
{%- endfor -%}
{%- endif -%}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}
"""
TEXTS = (
    "a red circle left of a blue star", "make the green square yellow", "two pink hearts",
    "system\nYou are a helpful assistant.", "user\nWhat is in the image?", "assistant\n",
    "Please describe the content of the image in detail in your own words.",
)  # fmt: skip


def tiny_mllm(folder: Path | str, seed: int = 0, kind: str = "qwen2_5_vl") -> Path:
    """Write an MLLM (6 layers x 64) with its processor into `folder`; returns the folder.

    `kind` is its type: qwen2_5_vl, qwen3_vl or qwen3, which reads text only.
    """
    folder = Path(folder)
    tokenizer = tiny_tokenizer()
    ids = tokenizer.convert_tokens_to_ids
    config = {"qwen2_5_vl": _qwen2_5_vl, "qwen3_vl": _qwen3_vl, "qwen3": _qwen3}[kind](tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mllm = MLLMS[kind](config)
    mllm.generation_config.eos_token_id = ids("<|im_end|>")
    mllm.generation_config.pad_token_id = ids("<|endoftext|>")
    mllm.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if kind != "qwen3":
        tiny_image_processor().save_pretrained(folder)
    return folder


def _text(tokenizer: Qwen2TokenizerFast, **rope: list[int] | bool) -> dict:
    ids = tokenizer.convert_tokens_to_ids
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": MLLM_WIDTH,
        "intermediate_size": 96,
        "num_hidden_layers": MLLM_LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, **rope},
        "tie_word_embeddings": True,
        "initializer_range": 0.1,
        "bos_token_id": ids("<|endoftext|>"),
        "eos_token_id": ids("<|im_end|>"),
        "pad_token_id": ids("<|endoftext|>"),
    }


VISION = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 2,
    "out_hidden_size": MLLM_WIDTH,
    "patch_size": 4,
    "spatial_merge_size": 2,
    "initializer_range": 0.1,
}


def _whole(tokenizer: Qwen2TokenizerFast) -> dict:
    ids = tokenizer.convert_tokens_to_ids
    return {
        "tie_word_embeddings": True,
        "image_token_id": ids("<|image_pad|>"),
        "video_token_id": ids("<|video_pad|>"),
        "vision_start_token_id": ids("<|vision_start|>"),
        "vision_end_token_id": ids("<|vision_end|>"),
    }


def _qwen2_5_vl(tokenizer: Qwen2TokenizerFast) -> Qwen2_5_VLConfig:
    return Qwen2_5_VLConfig(
        text_config=_text(tokenizer, mrope_section=[2, 3, 3]),
        vision_config=VISION | {"window_size": 16, "fullatt_block_indexes": [1]},
        **_whole(tokenizer),
    )


def _qwen3_vl(tokenizer: Qwen2TokenizerFast) -> Qwen3VLConfig:
    rope = {"mrope_section": [4, 2, 2], "mrope_interleaved": True}
    return Qwen3VLConfig(
        text_config=_text(tokenizer, **rope) | {"head_dim": 16},
        vision_config=VISION | {"deepstack_visual_indexes": [0, 1], "num_position_embeddings": 64},
        **_whole(tokenizer),
    )


def _qwen3(tokenizer: Qwen2TokenizerFast) -> Qwen3Config:
    return Qwen3Config(**_text(tokenizer), head_dim=16)


def tiny_image_processor() -> Qwen2VLImageProcessorPil:
    """Images of 32 x 32 pixels in patches of 4, merged 2 x 2."""
    pixels = {"min_pixels": SIDE * SIDE, "max_pixels": SIDE * SIDE}
    return Qwen2VLImageProcessorPil(patch_size=4, merge_size=2, **pixels)


def tiny_tokenizer() -> Qwen2TokenizerFast:
    """A Qwen2 tokenizer of about 330 entries, trained on a handful of sentences."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 10, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(token, special=False) for token in PLAIN_ADDED_TOKENS])
    return Qwen2TokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token=None,
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
    )


def tiny_sana(folder: Path | str, seed: int = 0, blocks: int = GENERATOR_BLOCKS) -> Path:
    """Write a full SanaPipeline (blocks x 32, DC-AE f8, Gemma2) into `folder`; returns it."""
    folder = Path(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = SanaPipeline(
            tokenizer=_tiny_gemma_tokenizer(),
            text_encoder=Gemma2Model(tiny_gemma_config()),
            vae=tiny_autoencoder(),
            transformer=_tiny_transformer(blocks),
            scheduler=DPMSolverMultistepScheduler(
                use_flow_sigmas=True, flow_shift=3.0, prediction_type="flow_prediction"
            ),
        )
    pipeline.save_pretrained(folder)
    return folder


def tiny_autoencoder() -> AutoencoderDC:
    """A DC-AE that maps 32 x 32 pictures to (8, 4, 4) latents."""
    channels, levels = (8, 8, 16, 16), 4
    return AutoencoderDC(
        in_channels=3,
        latent_channels=LATENT_SHAPE[0],
        attention_head_dim=8,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=channels,
        decoder_block_out_channels=channels,
        encoder_layers_per_block=(1,) * levels,
        decoder_layers_per_block=(1,) * levels,
        encoder_qkv_multiscales=((),) * levels,
        decoder_qkv_multiscales=((),) * levels,
        upsample_block_type="pixel_shuffle",
        downsample_block_type="Conv",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=0.5,
    )


def tiny_generator(folder: Path | str, kind: str = "sana", seed: int = 0) -> Path:
    """Write a generator, one of GENERATORS, and its autoencoder into `folder`; returns it."""
    folder = Path(folder)
    if kind == "sana":
        return tiny_sana(folder, seed)
    part = "unet" if kind == "unet" else "transformer"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = _tiny_unet() if kind == "unet" else _tiny_pixart(kind == "pixart_alpha")
        generator.save_pretrained(folder / part)
        tiny_autoencoder_kl().save_pretrained(folder / "vae")
    index = {part: ["diffusers", type(generator).__name__], "vae": ["diffusers", "AutoencoderKL"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def _tiny_pixart(told_size: bool) -> PixArtTransformer2DModel:
    return PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=8,
        num_layers=GENERATOR_BLOCKS,
        cross_attention_dim=24,
        attention_bias=True,
        sample_size=LATENT_SHAPE[-1],
        caption_channels=CAPTION_CHANNELS,
        use_additional_conditions=told_size,
    )


def _tiny_unet() -> UNet2DConditionModel:
    """Cross-attention at one of two resolutions and in the middle: 1 + 1 + 2 blocks."""
    return UNet2DConditionModel(
        sample_size=LATENT_SHAPE[-1],
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=CAPTION_CHANNELS,
        attention_head_dim=2,
    )


def tiny_autoencoder_kl() -> AutoencoderKL:
    """A KL autoencoder that maps 32 x 32 pictures to (4, 4, 4) latents, and shifts them."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8,) * 4,
        norm_num_groups=4,
        scaling_factor=0.5,
        shift_factor=0.1,
    )


def tiny_ladder(
    folder: Path | str, kind: str = "qwen2_5_vl", *settings: str, generator: str = "sana"
) -> Path:
    """Write an untrained ladder of two queries, with its foundations beside it, below `folder`;
    returns its own folder. `kind` is its MLLM's, `settings` are KEY=VALUE, `generator` is one of
    GENERATORS."""
    from ladder.config.load import load
    from ladder.inference.pipeline import LadderPipeline
    from ladder.models.ladder import Ladder

    folder = Path(folder)
    parts = {
        "mllm": tiny_mllm(folder / "mllm", kind=kind),
        "generator": tiny_generator(folder / "generator", generator),
    }
    words = [f"foundations.{name}={part}" for name, part in parts.items()]
    words += ["model.queries=2", "model.query_text=null", "connector_warmup.steps=0", *settings]
    config = load(arguments=words, root=Path(__file__).parents[1])
    ladder = Ladder.from_foundations(config.model, config.foundations, config.seed)
    pipeline = LadderPipeline.from_ladder(ladder, config.foundations, config.sampling)
    pipeline.save_pretrained(folder / "ladder")
    return folder / "ladder"


def tiny_picture(seed: int, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    """An RGB picture of noise in 8 x 8 blocks; `size` is (width, height) in pixels."""
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST)


def _tiny_transformer(blocks: int) -> SanaTransformer2DModel:
    return SanaTransformer2DModel(
        in_channels=LATENT_SHAPE[0],
        out_channels=LATENT_SHAPE[0],
        num_layers=blocks,
        num_attention_heads=2,
        attention_head_dim=16,
        num_cross_attention_heads=2,
        cross_attention_head_dim=16,
        cross_attention_dim=32,
        caption_channels=CAPTION_CHANNELS,
        sample_size=LATENT_SHAPE[-1],
        patch_size=1,
        interpolation_scale=1.0,
    )


def tiny_gemma_config() -> Gemma2Config:
    """Of the text encoder."""
    return Gemma2Config(
        vocab_size=128,
        hidden_size=CAPTION_CHANNELS,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )


def _tiny_gemma_tokenizer() -> GemmaTokenizer:
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "▁", *string.ascii_lowercase, *string.digits]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    return GemmaTokenizer(vocab=vocabulary, merges=[], padding_side="right", add_bos_token=True)
