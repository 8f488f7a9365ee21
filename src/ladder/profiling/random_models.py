"""Models with random weights, and prompts for them, to measure on without a download.

mid     between the toy and the paper's: MLLM 512 x 12, Sana 512 x 8, pictures of 512 pixels
tiny    so that a test takes seconds
paper   the published sizes (Qwen2.5-VL-3B, Sana 1.6B), for GPUs

What a size doesn't name it takes from the published configurations: the MLLM's inner width is 5.4
times its width, and the autoencoder of `mid` is as much narrower (a quarter) as its Sana. The
tokenizer is that of the toy MLLM, with which the ladder's frame has 38 tokens; with Qwen's, 39.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from diffusers import AutoencoderDC, SanaTransformer2DModel
from PIL import Image
from transformers import (
    AutoTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)

from ladder.config.load import load
from ladder.models.ladder import Ladder
from ladder.models.layer_selection import layer_indices
from ladder.models.mllm.frozen import Understanding
from ladder.models.mllm.prompts import Prompter
from ladder.models.reference import Reference
from ladder.profiling.published_sizes import DC_AE, GENERATORS, MLLMS, SANA

SizeName = Literal["tiny", "mid", "paper"]
WORDS = (" red", " blue", " circle", " square", " star", " small", " large", " two")
"""Each is one token of the toy MLLM."""


@dataclass(frozen=True)
class Size:
    """What the models of a measurement are like."""

    mllm: dict[str, Any]
    """Arguments of Qwen2_5_VLConfig."""
    generator: dict[str, Any]
    """Of SanaTransformer2DModel."""
    autoencoder: dict[str, Any]
    """Of AutoencoderDC."""
    queries: int
    side: int
    """Pixels of a picture; 32 times that of the latents."""
    visual_tokens: int
    """Of a picture that is to be edited."""


def _mllm(
    width: int, layers: int, heads: int, vocabulary: int, sections: list[int], **vision: Any
) -> dict[str, Any]:
    """Heads share two keys and values, as in the 3B model."""
    return {
        "text_config": {
            "vocab_size": vocabulary, "hidden_size": width, "num_hidden_layers": layers,
            "intermediate_size": width * 43 // 8, "num_attention_heads": heads,
            "num_key_value_heads": 2, "tie_word_embeddings": True,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 1e6, "mrope_section": sections
            },
        },
        "vision_config": {
            "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2,
            "window_size": 112, "out_hidden_size": width,
        } | vision,
        "tie_word_embeddings": True,
    }  # fmt: skip


SIZES: dict[str, Size] = {
    "tiny": Size(
        mllm=_mllm(
            64, 4, 4, 1024, [2, 3, 3],
            depth=2, hidden_size=32, intermediate_size=48, num_heads=2, fullatt_block_indexes=[1],
        ),
        generator=SANA | {
            "num_attention_heads": 1, "num_layers": 3, "num_cross_attention_heads": 2,
            "cross_attention_head_dim": 16, "cross_attention_dim": 32, "caption_channels": 48,
            "sample_size": 2,
        },
        autoencoder=DC_AE | {
            "encoder_block_out_channels": (8, 8, 8, 8, 16, 32),
            "decoder_block_out_channels": (8, 8, 8, 8, 16, 32), "attention_head_dim": 8,
        },
        queries=4, side=64, visual_tokens=16,
    ),
    "mid": Size(
        mllm=_mllm(
            512, 12, 8, 32000, [8, 12, 12],
            depth=8, hidden_size=320, intermediate_size=856, num_heads=4,
            fullatt_block_indexes=[3, 7],
        ),
        generator=SANA | {
            "num_attention_heads": 16, "num_layers": 8, "num_cross_attention_heads": 8,
            "cross_attention_head_dim": 64, "cross_attention_dim": 512, "caption_channels": 576,
        },
        autoencoder=DC_AE | {
            "encoder_block_out_channels": (32, 64, 128, 128, 256, 256),
            "decoder_block_out_channels": (32, 64, 128, 128, 256, 256),
        },
        queries=64, side=512, visual_tokens=256,
    ),
    "paper": Size(
        mllm=MLLMS["Qwen/Qwen2.5-VL-3B-Instruct"],
        generator=GENERATORS["Efficient-Large-Model/Sana_1600M_512px_diffusers"],
        autoencoder=DC_AE,
        queries=64, side=512, visual_tokens=256,
    ),
}  # fmt: skip


def mllm_settings(size: Size, folder: Path) -> Qwen2_5_VLConfig:
    """Of the MLLM, for the special tokens of the tokenizer in `folder`."""
    ids = AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids
    ends = {"bos_token_id": ids("<|endoftext|>"), "eos_token_id": ids("<|im_end|>")}
    return Qwen2_5_VLConfig(
        **size.mllm | {"text_config": size.mllm["text_config"] | ends},
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
    )


def picture_processor(size: Size) -> Qwen2VLImageProcessorPil:
    """What makes patches of pictures."""
    pixels = size.visual_tokens * 28 * 28
    return Qwen2VLImageProcessorPil(
        patch_size=14, merge_size=2, min_pixels=pixels, max_pixels=pixels
    )


def make_ladder(size: Size, dtype: torch.dtype, device: str, seed: int = 0) -> Ladder:
    """A ladder of the paper's scheme; the MLLM computes in `dtype`, what is trained is float32."""
    words = Path(load().foundations.mllm)
    config = mllm_settings(size, words)
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(seed)
        mllm = Qwen2_5_VLForConditionalGeneration(config).to(dtype)
        generator = SanaTransformer2DModel.from_config(size.generator)
    understanding = Understanding(
        mllm,
        Prompter(
            AutoTokenizer.from_pretrained(words), picture_processor(size), config.image_token_id
        ),
        Reference("random weights", None, "", Path()),
    )
    taps = layer_indices("last_n", generator.config.num_layers, understanding.depth)
    return Ladder(understanding, generator, taps, size.queries, seed=seed).to(device)


def make_autoencoder(size: Size, device: str, seed: int = 0) -> AutoencoderDC:
    """Frozen, in float32."""
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(seed)
        return AutoencoderDC.from_config(size.autoencoder).requires_grad_(False).eval()


def make_prompts(batch: int, tokens: int) -> list[str]:
    """`batch` different texts of exactly `tokens` tokens each."""
    rng = np.random.default_rng(tokens)
    return ["".join(rng.choice(WORDS, tokens)) for _ in range(batch)]


def make_pictures(size: Size, batch: int) -> list[Image.Image]:
    """Noise in blocks, so that neighbouring pixels are alike."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (batch, 8, 8, 3), dtype=np.uint8)
    return [Image.fromarray(x).resize((size.side, size.side)) for x in small]
