"""The published checkpoint (TencentBAC/TBAC-UniImage-3B) to our format and back, and proof of it.

It is one set of weights: `model.mllm_backbone.*` (a Qwen2.5-VL without its head), whose embedding
ends in the queries' rows; `model.connector.{0,2,3}.*`; `model.transformer.*` (a Sana); `vae.*`.
config.json names the models that it was made from, in folders beside it or on the hub.

Imported, an MLLM, queries, connector and generator are what everywhere else they are; what we have
no use for (rows of closing tokens) is kept in EXTRA, so that exporting gives every bit back.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, SanaTransformer2DModel
from jaxtyping import Shaped
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, Qwen2_5_VLForConditionalGeneration

from ladder.config.files import read_json, replacing_folder
from ladder.inference.pipeline import LadderPipeline
from ladder.models import rectified_flow
from ladder.models.generator.autoencoder import load_autoencoder
from ladder.models.ladder import CONFIG as LADDER_CONFIG
from ladder.models.ladder import Ladder
from ladder.models.layer_selection import layer_indices
from ladder.models.load_errors import reading, require_finite, require_floats
from ladder.models.loading import stored_dtype
from ladder.models.mllm.frozen import Understanding
from ladder.models.mllm.prompts import Prompter
from ladder.models.part_settings import SOLVER_RULES, require_file
from ladder.models.reference import Reference

VISUAL_TOKENS = 256
"""The published code resizes every picture to so many tokens."""
EMBEDDING = "model.mllm_backbone.model.embed_tokens.weight"
PARTS = {
    "model.mllm_backbone.model.": "language",
    "model.mllm_backbone.visual.": "visual",
    "model.connector.": "connector",
    "model.transformer.": "transformer",
    "vae.": "vae",
}
"""Prefixes of the published keys, and what is behind them."""
EXTRA, CONFIG, WEIGHTS = "extra.safetensors", "published.json", "model.safetensors"
NOT_PUBLISHED = ("patch_embed.pos_embed",)
"""Tables that are computed, not trained."""


def read_published(folder: Path) -> LadderPipeline:
    """The whole published model: `folder` is a checkpoint, or holds one in `checkpoint`.

    Each weight has the type that it is stored in.

    Raises ValueError, naming `folder`, for weights that are missing, left over, not finite or of
    other shapes, for files that are not those of a checkpoint, and for a base that is neither a
    folder beside it nor on the hub.
    """
    with reading(folder, "a published checkpoint"):
        pipeline = _read(folder)
    require_finite({"ladder": pipeline.ladder, "vae": pipeline.vae}, folder)
    return pipeline


def _read(folder: Path) -> LadderPipeline:
    home = folder / "checkpoint" if (folder / "checkpoint").is_dir() else folder
    config = read_json(home / "config.json")
    weights = parts_of(_weights(home))
    rows = weights["language"].pop("embed_tokens.weight")
    bases = {name: _base(config[f"{name}_id"], folder) for name in
             ("mllm", "diffusion_model", "vae", "scheduler")}  # fmt: skip

    for name in ("config.json", "preprocessor_config.json"):
        require_file(bases["mllm"] / name)
    require_file(bases["diffusion_model"] / "transformer/config.json")
    require_file(bases["vae"] / "vae/config.json")
    require_file(bases["scheduler"] / "scheduler/scheduler_config.json", SOLVER_RULES)
    require_floats(home)
    settings = AutoConfig.from_pretrained(bases["mllm"])
    if not settings.tie_word_embeddings:
        raise ValueError(
            f"the MLLM's head must be its embedding, got {bases['mllm']}, where it isn't"
        )
    # No weight is drawn that would be replaced: at the published size these would be 21 GB.
    with init_empty_weights():
        mllm = Qwen2_5_VLForConditionalGeneration(settings)
        transformer = SanaTransformer2DModel.from_config(
            SanaTransformer2DModel.load_config(bases["diffusion_model"] / "transformer")
        )
        vae = AutoencoderDC.from_config(AutoencoderDC.load_config(bases["vae"] / "vae"))
    vocabulary, queries = settings.text_config.vocab_size, config["num_metaqueries"]
    if len(rows) < vocabulary + queries:
        raise ValueError(
            f"the embedding must hold {vocabulary} tokens and {queries} queries, got {len(rows)}"
        )
    mllm.get_input_embeddings().weight = nn.Parameter(rows[:vocabulary].clone())
    mllm.tie_weights()
    _load(mllm.model.language_model, weights["language"], {"embed_tokens.weight"})
    _load(mllm.model.visual, weights["visual"])
    prompter = Prompter.from_pretrained(bases["mllm"])
    prompter.see_by(VISUAL_TOKENS)

    _load(transformer, weights["transformer"])
    understanding = Understanding(mllm, prompter, Reference("", None, "", bases["mllm"]))
    taps = layer_indices("last_n", transformer.config.num_layers, understanding.depth)
    ladder = Ladder(understanding, transformer, taps, queries)
    ladder.queries.data = rows[vocabulary : vocabulary + queries].clone()
    _load(ladder.connector, weights["connector"])
    _load(vae, weights["vae"])
    scheduler = DPMSolverMultistepScheduler.from_pretrained(
        bases["scheduler"], subfolder="scheduler"
    )
    pipeline = LadderPipeline(ladder.eval(), vae.eval(), scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def import_published(folder: Path, out: Path) -> Path:
    """Write the published model in `folder` as `out`/ladder and `out`/mllm; returns the first.

    Raises FileExistsError if `out` is there already. Nothing is written unless all was read.
    """
    if out.exists():
        raise FileExistsError(errno.EEXIST, "must not exist yet", str(out))
    home = folder / "checkpoint" if (folder / "checkpoint").is_dir() else folder
    pipeline = read_published(folder)
    understanding = pipeline.ladder.understanding
    rows = _weights(home)[EMBEDDING]
    known = len(understanding.mllm.get_input_embeddings().weight) + len(pipeline.ladder.queries)
    with replacing_folder(out) as part:
        understanding.mllm.save_pretrained(part / "mllm")
        understanding.prompter.tokenizer.save_pretrained(part / "mllm")
        understanding.prompter.image_processor.save_pretrained(part / "mllm")
        understanding.reference = Reference.of(part / "mllm")
        pipeline.save_pretrained(part / "ladder")
        save_file({"rows": rows[known:].contiguous()}, part / "ladder" / EXTRA)
        shutil.copy(home / "config.json", part / "ladder" / CONFIG)
    return out / "ladder"


def export_published(folder: Path, out: Path) -> None:
    """Write an imported ladder back to a published checkpoint in `out`.

    Raises FileNotFoundError for a ladder that wasn't imported, FileExistsError if `out` is there.
    """
    extra = load_file(folder / EXTRA)["rows"]
    ladder = Ladder.from_pretrained(folder / "ladder", *imported_dtypes(folder))
    vae = load_autoencoder(folder, stored_dtype(folder / "vae"))
    mllm = ladder.understanding.mllm
    embedding = mllm.get_input_embeddings().weight
    modules = {
        "language": mllm.model.language_model, "visual": mllm.model.visual,
        "connector": ladder.connector, "transformer": ladder.generator, "vae": vae,
    }  # fmt: skip
    weights = {
        f"{prefix}{name}": value.contiguous()
        for prefix, part in PARTS.items()
        for name, value in modules[part].state_dict().items()
        if name not in NOT_PUBLISHED
    }
    weights[EMBEDDING] = torch.cat([embedding.detach(), ladder.queries.detach(), extra])
    with replacing_folder(out) as part:
        save_file(weights, part / WEIGHTS, {"format": "pt"})
        shutil.copy(folder / CONFIG, part / "config.json")


def imported_dtypes(folder: Path) -> tuple[torch.dtype, torch.dtype]:
    """In which an imported ladder in `folder` is stored, and its MLLM."""
    settings = read_json(folder / "ladder" / LADDER_CONFIG)
    reference = Reference.read(settings["mllm"], folder / "ladder")
    return stored_dtype(folder / "ladder"), stored_dtype(reference.folder)


def verify_published(folder: Path) -> dict[str, float]:
    """The largest error of each recorded tensor in `folder`, relative to its largest value.

    `folder` is laid out like a recording of the published code: checkpoint, bases, meta.json, and
    {train,sample}_{t2i,edit}.safetensors. What must be equal (token ids) has error 0 or infinity.
    """
    # In which the recording was made, whatever the weights are stored in.
    pipeline = read_published(folder).to(torch.float32)
    meta = read_json(folder / "meta.json")
    found = {}
    for name in ("train_t2i", "train_edit", "sample_t2i", "sample_edit"):
        recorded = load_file(folder / f"{name}.safetensors")
        ours = (_trained if name.startswith("train") else _sampled)(
            pipeline, meta, name, recorded, folder
        )
        found |= {f"{name}.{key}": _error(value, recorded[key]) for key, value in ours.items()}
    return found


@torch.no_grad()
def _trained(
    pipeline: LadderPipeline, meta: dict[str, Any], name: str, recorded: dict[str, Tensor],
    folder: Path,
) -> dict[str, Tensor]:  # fmt: skip
    """What a training step computes, under the names of the recording."""
    ladder, queries = pipeline.ladder, len(pipeline.ladder.queries)
    captions, files = meta[name]["captions"], meta[name].get("sources", [])
    images = [[Image.open(folder / file)] for file in files] or [[] for _ in captions]
    prompts = ladder.understanding.prepare(captions, images)
    # The published sequence goes on with the queries and two tokens that close the turn.
    closing = {key: recorded[key][:, -queries - 2 :] for key in ("input_ids", "attention_mask")}
    latents, noise, timesteps = (recorded[key] for key in ("latents", "noise", "timesteps"))
    noisy = rectified_flow.noisy(latents, noise, timesteps / rectified_flow.TIMESTEPS)
    velocity = ladder(noisy, timesteps, prompts)
    ours = {
        "input_ids": torch.cat([prompts.input_ids, closing["input_ids"]], 1),
        "attention_mask": torch.cat([prompts.attention_mask, closing["attention_mask"]], 1),
        "rungs": ladder.understanding.rungs(prompts, ladder.queries, ladder.taps),
        "conditions": ladder.conditions(prompts).unflatten(1, (-1, queries)).transpose(0, 1),
        "noisy_latents": noisy,
        "velocity": velocity,
        "loss": rectified_flow.loss(velocity, latents, noise).view(1),
    }
    if files:
        ours |= {"pixel_values": prompts.pixel_values, "image_grid_thw": prompts.image_grid_thw}
    return ours


def _sampled(
    pipeline: LadderPipeline, meta: dict[str, Any], name: str, recorded: dict[str, Tensor],
    folder: Path,
) -> dict[str, Tensor]:  # fmt: skip
    """Final latents and picture, from the recorded initial ones."""
    settings = meta[name]
    source = settings["source"] and Image.open(folder / settings["source"])
    drawn = [
        pipeline(
            settings["caption"],
            source,
            settings["negative_prompt"],
            num_inference_steps=settings["steps"],
            guidance_scale=settings["guidance_scale"],
            image_guidance_scale=settings.get("image_guidance_scale", 1.0),
            latents=recorded["initial_latents"],
            output_type=output_type,
            fit_sources=False,
        ).images
        for output_type in ("latent", "pt")
    ]
    return dict(zip(("final_latents", "image"), drawn, strict=True))


def _error(ours: Shaped[Tensor, "*_"], recorded: Shaped[Tensor, "*_"]) -> float:
    """The largest difference, in units of the largest recorded value; inf for other shapes."""
    if ours.shape != recorded.shape:
        return float("inf")
    if not recorded.is_floating_point():
        return 0.0 if torch.equal(ours.to(recorded.dtype), recorded) else float("inf")
    return ((ours - recorded).abs().max() / recorded.abs().max()).item()


def parts_of(weights: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The published weights by part, without prefixes. Raises ValueError for unknown keys."""
    found: dict[str, dict[str, Tensor]] = {part: {} for part in PARTS.values()}
    for name, value in weights.items():
        prefix = next((prefix for prefix in PARTS if name.startswith(prefix)), None)
        if prefix is None:
            raise ValueError(f"keys must begin with one of {', '.join(PARTS)}, got {name}")
        found[PARTS[prefix]][name.removeprefix(prefix)] = value
    return found


def _weights(home: Path) -> dict[str, Tensor]:
    """All safetensors of a checkpoint, which may be in several files."""
    files = sorted(home.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"{home} must hold .safetensors files, there are none")
    return {name: value for file in files for name, value in load_file(file).items()}


def _base(name: str, folder: Path) -> Path:
    return folder / name if (folder / name).is_dir() else Reference.of(name).folder


def _load(module: nn.Module, weights: dict[str, Tensor], elsewhere: Collection[str] = ()) -> None:
    """Let a module have these weights, which must be all but for what is loaded `elsewhere` or
    computed."""
    report = module.load_state_dict(weights, strict=False, assign=True)
    missing = set(report.missing_keys).difference(elsewhere, NOT_PUBLISHED)
    if missing or report.unexpected_keys:
        raise ValueError(
            f"the published weights must fit {type(module).__name__}, got missing "
            f"{sorted(missing)[:5]}, unexpected {report.unexpected_keys[:5]}"
        )
