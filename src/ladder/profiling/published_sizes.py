"""Configurations of the published models, typed in, so that a plan needs no download.

From their config.json on the Hugging Face hub (Qwen/Qwen2.5-VL-{3B,7B}-Instruct,
Efficient-Large-Model/Sana_{600M,1600M}_512px_diffusers).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffusers import AutoencoderDC, SanaTransformer2DModel
from transformers import AutoConfig, Qwen2_5_VLConfig

from ladder.models.loading import class_of, generator_folder

QWEN_VISION = {
    "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "patch_size": 14,
    "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
}  # fmt: skip
QWEN_ROPE = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
MLLMS: dict[str, dict[str, Any]] = {
    "Qwen/Qwen2.5-VL-3B-Instruct": {
        "text_config": {
            "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 11008,
            "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 2,
            "max_position_embeddings": 128000, "tie_word_embeddings": True,
            "rope_parameters": QWEN_ROPE,
        },
        "vision_config": QWEN_VISION | {"out_hidden_size": 2048},
        "tie_word_embeddings": True,
    },
    "Qwen/Qwen2.5-VL-7B-Instruct": {
        "text_config": {
            "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944,
            "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
            "max_position_embeddings": 128000, "tie_word_embeddings": False,
            "rope_parameters": QWEN_ROPE,
        },
        "vision_config": QWEN_VISION | {"out_hidden_size": 3584},
        "tie_word_embeddings": False,
    },
}  # fmt: skip
SANA = {
    "in_channels": 32, "out_channels": 32, "attention_head_dim": 32, "caption_channels": 2304,
    "mlp_ratio": 2.5, "sample_size": 16, "patch_size": 1,
}  # fmt: skip
GENERATORS: dict[str, dict[str, Any]] = {
    "Efficient-Large-Model/Sana_1600M_512px_diffusers": SANA | {
        "num_attention_heads": 70, "num_layers": 20, "num_cross_attention_heads": 20,
        "cross_attention_head_dim": 112, "cross_attention_dim": 2240,
    },
    "Efficient-Large-Model/Sana_600M_512px_diffusers": SANA | {
        "num_attention_heads": 36, "num_layers": 28, "num_cross_attention_heads": 16,
        "cross_attention_head_dim": 72, "cross_attention_dim": 1152,
    },
}  # fmt: skip
BLOCKS = ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3
MULTISCALES = ((), (), (), (5,), (5,), (5,))
DC_AE = {
    "in_channels": 3, "latent_channels": 32, "attention_head_dim": 32,
    "encoder_block_types": BLOCKS, "decoder_block_types": BLOCKS,
    "encoder_block_out_channels": (128, 256, 512, 512, 1024, 1024),
    "decoder_block_out_channels": (128, 256, 512, 512, 1024, 1024),
    "encoder_layers_per_block": (2, 2, 2, 3, 3, 3), "decoder_layers_per_block": (3,) * 6,
    "encoder_qkv_multiscales": MULTISCALES, "decoder_qkv_multiscales": MULTISCALES,
    "upsample_block_type": "interpolate", "downsample_block_type": "conv",
    "decoder_norm_types": "rms_norm", "decoder_act_fns": "silu", "scaling_factor": 0.41407,
}  # fmt: skip
"""The autoencoder of both (mit-han-lab/dc-ae-f32c32-sana-1.0)."""


def mllm_config(source: str) -> Qwen2_5_VLConfig:
    """Of a local folder, or of one of MLLMS (a revision behind @ doesn't matter).

    Raises ValueError, naming those that are known, for any other.
    """
    if Path(source).is_dir():
        return AutoConfig.from_pretrained(source)
    return Qwen2_5_VLConfig(**_known(source, MLLMS))


def generator_config(source: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of Sana and of its autoencoder: of a local folder, or of one of GENERATORS.

    Raises ValueError for a folder with another generator.
    """
    if Path(source).is_dir():
        part = generator_folder(source)
        sana = class_of({"SanaTransformer2DModel": SanaTransformer2DModel}, source, part)
        return (
            sana.load_config(source, subfolder=part),
            AutoencoderDC.load_config(source, subfolder="vae"),
        )
    return _known(source, GENERATORS), DC_AE


def _known(source: str, models: dict[str, dict[str, Any]]) -> dict[str, Any]:
    name = source.partition("@")[0]
    if name not in models:
        raise ValueError(
            f"a plan knows local folders and {', '.join(models)}, got {source}; download it first"
        )
    return models[name]
