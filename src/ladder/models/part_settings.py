"""What the configurations in a model's folder may say, checked before anything is built of them.

Libraries build what they are told: a billion layers, latents that are divided by 0, a solver of
another equation. So every number that they use is within bounds here, or refused by its name. What
can't be known from one number alone is left to the weights, whose shapes must fit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ladder.config.files import read_json
from ladder.models.rectified_flow import TIMESTEPS

POSITIONS = 2**27
"""Numbers in a table of positions, which is computed before weights are compared: 1 GiB."""
MOST = 10_000
"""Values in one setting that is a list."""


@dataclass(frozen=True)
class Within:
    """A number from `low` to `high`."""

    low: float
    high: float
    whole: bool = True
    empty: bool = False
    """Whether it may be null."""
    several: bool = False
    """Whether it may be a list of such numbers."""

    def admits(self, value: Any) -> bool:
        if value is None:
            return self.empty
        kinds = (int,) if self.whole else (int, float)
        return type(value) in kinds and self.low <= value <= self.high

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        return f"{kind} from {self.low} to {self.high}" + (" or null" if self.empty else "")


@dataclass(frozen=True)
class OneOf:
    """One of some values."""

    values: tuple[Any, ...]
    several = False

    def admits(self, value: Any) -> bool:
        return any(value == one and type(value) is type(one) for one in self.values)

    def __str__(self) -> str:
        return " or ".join(map(json.dumps, self.values))


Rule = Within | OneOf
LAYERS = Within(0, 512, several=True)
WIDTH = Within(1, 2**17)
WIDTHS = Within(1, 2**17, several=True)
SOME = Within(1, 1024)
MAYBE = Within(1, 2**17, empty=True)
MAYBE_SEVERAL = Within(1, 2**17, empty=True, several=True)
SCALES = Within(1, 63, several=True)
SMALL = Within(1e-20, 1, whole=False)
SHARE = Within(0, 1, whole=False)
SCALE = Within(1e-6, 1e6, whole=False)
ANY = Within(-1e12, 1e12, whole=False, several=True)
"""Of a number that no rule is about."""
UNUSED = OneOf((None,))
OFF = OneOf((False, None))

MODEL_RULES: dict[str, Rule] = {
    "attention_head_dim": MAYBE_SEVERAL, "block_out_channels": WIDTHS, "caption_channels": MAYBE,
    "cross_attention_dim": MAYBE_SEVERAL, "cross_attention_head_dim": MAYBE,
    "decoder_block_out_channels": WIDTHS, "decoder_layers_per_block": LAYERS, "dropout": SHARE,
    "encoder_block_out_channels": WIDTHS, "encoder_layers_per_block": LAYERS,
    "decoder_qkv_multiscales": SCALES,
    "encoder_qkv_multiscales": SCALES, "guidance_embeds": OFF, "in_channels": WIDTH,
    "interpolation_scale": Within(1e-6, 1e6, whole=False, empty=True), "latent_channels": WIDTH,
    "latents_mean": UNUSED, "latents_std": UNUSED, "layers_per_block": LAYERS,
    "mlp_ratio": Within(1e-3, 64, whole=False), "norm_eps": SMALL,
    "norm_num_groups": MAYBE, "num_attention_heads": MAYBE_SEVERAL,
    "num_cross_attention_heads": MAYBE, "num_embeds_ada_norm": WIDTH,
    "num_layers": Within(1, 512), "out_channels": MAYBE, "patch_size": Within(1, 64),
    "sample_size": Within(1, 2**13), "scaling_factor": SCALE,
    "shift_factor": Within(-1e6, 1e6, whole=False, empty=True), "timestep_scale": SCALE,
    "transformer_layers_per_block": LAYERS,
    # of UNets
    "center_input_sample": OFF, "conv_in_kernel": Within(1, 15), "conv_out_kernel": Within(1, 15),
    "downsample_padding": Within(0, 8), "freq_shift": Within(-1, 1),
    "mid_block_scale_factor": SCALE, "num_class_embeds": MAYBE, "resnet_out_scale_factor": SCALE,
    "time_embedding_dim": MAYBE,
    # of language models
    "depth": LAYERS, "head_dim": MAYBE, "hidden_size": WIDTH, "intermediate_size": Within(1, 2**20),
    "max_position_embeddings": Within(1, 2**27), "num_hidden_layers": Within(1, 512),
    "num_heads": SOME, "num_key_value_heads": SOME, "num_position_embeddings": Within(1, 2**20),
    "out_hidden_size": WIDTH, "rms_norm_eps": SMALL, "layer_norm_eps": SMALL,
    "rope_theta": Within(1, 1e12, whole=False), "spatial_merge_size": Within(1, 64),
    "temporal_patch_size": Within(1, 64), "vocab_size": Within(1, 2**22),
    "window_size": Within(1, 2**17),
    # of what prepares pictures
    "image_mean": Within(-1e3, 1e3, False, several=True),
    "image_std": Within(1e-6, 1e3, False, several=True),
    "max_pixels": Within(1, 2**31), "merge_size": Within(1, 64), "min_pixels": Within(1, 2**31),
    "longest_edge": Within(1, 2**31), "shortest_edge": Within(1, 2**31),
    "rescale_factor": SMALL,
}  # fmt: skip
"""Of generators, autoencoders, MLLMs and their processors, by the names that libraries give."""

SOLVER_RULES: dict[str, Rule] = {
    "beta_end": SHARE, "beta_start": SHARE, "dynamic_thresholding_ratio": SHARE,
    "flow_shift": Within(1e-3, 1e3, whole=False), "invert_sigmas": OFF,
    "lambda_min_clipped": Within(-math.inf, 1e6, whole=False),
    "num_train_timesteps": OneOf((TIMESTEPS,)), "prediction_type": OneOf(("flow_prediction",)),
    "rescale_betas_zero_snr": OFF, "sample_max_value": SCALE,
    "shift": Within(1e-3, 1e3, whole=False),
    "shift_terminal": Within(1e-6, 0.999, whole=False, empty=True),
    "solver_order": Within(1, 3), "steps_offset": Within(0, 1), "thresholding": OFF,
    "trained_betas": UNUSED, "use_beta_sigmas": OFF, "use_dynamic_shifting": OFF,
    "use_exponential_sigmas": OFF, "use_karras_sigmas": OFF, "use_lu_lambdas": OFF,
    "variance_type": UNUSED,
}  # fmt: skip
"""Of schedulers: what a velocity of rectified flow needs, whose times go up to 1000."""


def require_settings(
    settings: Mapping[str, Any], source: Path | str, rules: Mapping[str, Rule] = MODEL_RULES
) -> None:
    """Raises ValueError, naming the setting, for one that can't be used.

    A number that no rule is about must be finite and not larger than 1e12; one with a rule must
    follow it, and so must each in a list.
    """
    for name, value in leaves(settings, rules):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        rule = rules.get(name.rpartition(".")[2], ANY if number else None)
        if rule is not None and not rule.admits(value):
            raise ValueError(f"{source}: {name} must be {rule}, got {value!r:.100}")
    size, patch = settings.get("sample_size"), settings.get("patch_size", 1)
    heads, width = settings.get("num_attention_heads"), settings.get("attention_head_dim")
    if all(isinstance(one, int) for one in (size, patch, heads, width)):
        positions = (size // patch) ** 2 * heads * width
        if positions > POSITIONS:
            raise ValueError(
                f"{source}: (sample_size / patch_size)^2 num_attention_heads attention_head_dim "
                f"must be at most {POSITIONS}, got {positions}"
            )


def leaves(
    value: Any, rules: Mapping[str, Rule] = MODEL_RULES, name: str = ""
) -> Iterator[tuple[str, Any]]:
    """Every value of nested settings with its dotted name; those of a list have the list's.

    What has a rule of one value, and is a list or mapping, comes as it is.
    """
    rule = rules.get(name.rpartition(".")[2], ANY)
    if isinstance(value, Mapping) and rule is ANY:
        for key, inner in value.items():
            if not str(key).startswith("_"):
                yield from leaves(inner, rules, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple) and rule.several:
        if len(value) > MOST:
            raise ValueError(f"{name} must have at most {MOST} values, got {len(value)}")
        for inner in value:
            yield from leaves(inner, rules, name)
    else:
        yield name, value


def require_file(path: Path, rules: Mapping[str, Rule] = MODEL_RULES) -> None:
    """`require_settings` of a JSON file; one that isn't there says nothing."""
    if path.is_file():
        settings = read_json(path)
        if not isinstance(settings, dict):
            raise ValueError(f"{path} must hold a mapping, got a {type(settings).__name__}")
        require_settings(settings, path, rules)
