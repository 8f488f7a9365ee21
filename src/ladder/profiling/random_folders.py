"""Folders of models with random weights, in the layouts of the hub: what a download would leave.

models/mllm   Qwen2.5-VL in the layout of transformers, with the toy's tokenizer, whose vocabulary
              is filled up to the model's
models/sana   Sana and its autoencoder in the layout of diffusers
published     a published checkpoint made of the same weights, whose bases are these folders

Weights are bfloat16, drawn and written shard by shard, so that no more than a shard is in memory.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, SanaTransformer2DModel
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import GenerationConfig, Qwen2_5_VLForConditionalGeneration

from ladder.config.load import load
from ladder.inference.published_checkpoint import EMBEDDING, NOT_PUBLISHED, PARTS
from ladder.models.connector import Connector
from ladder.profiling.random_models import Size, mllm_settings, picture_processor

SHARD = 2**30
"""Bytes of a file of weights, at most, but for a single weight that is larger."""
CLOSING = 2
"""Rows behind the queries in a published embedding."""
INNER = {"language": "model.language_model.", "visual": "model.visual."}
"""Prefixes of the parts of an MLLM in its own files."""

Draw = tuple[str, torch.Size]


def write_mllm(size: Size, folder: Path, tokenizer: Path | None = None, seed: int = 0) -> Path:
    """An MLLM; `tokenizer` is the folder of the one whose words it knows, by default the toy's."""
    source = tokenizer or Path(load().foundations.mllm)
    folder.mkdir(parents=True)
    for name in ("tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(source / name, folder)
    words = json.loads((source / "tokenizer.json").read_text())
    words = filled(words, size.mllm["text_config"]["vocab_size"])
    (folder / "tokenizer.json").write_text(json.dumps(words))
    settings = mllm_settings(size, folder)
    settings.dtype = "bfloat16"
    with torch.device("meta"):
        mllm = Qwen2_5_VLForConditionalGeneration(settings)
    tied = {"lm_head.weight"} if settings.tie_word_embeddings else set()
    write_random(mllm, folder, "model", seed, tied)
    settings.architectures = [type(mllm).__name__]
    settings.save_pretrained(folder)
    ends = settings.text_config.eos_token_id, settings.text_config.bos_token_id
    GenerationConfig(eos_token_id=ends[0], pad_token_id=ends[1]).save_pretrained(folder)
    picture_processor(size).save_pretrained(folder)
    return folder


def filled(tokenizer: dict, vocabulary: int) -> dict:
    """A tokenizer of so many tokens: behind its words some that no text becomes, then the special
    ones, which must be the last."""
    words, special = tokenizer["model"]["vocab"], tokenizer["added_tokens"]
    first = vocabulary - len(special)
    words |= {f"<unused {number}>": number for number in range(len(words), first)}
    for number, token in enumerate(special, first):
        token["id"] = number
    return tokenizer


def write_generator(size: Size, folder: Path, seed: int = 1) -> Path:
    """A Sana with its autoencoder and a solver."""
    with torch.device("meta"):
        parts = {
            "transformer": SanaTransformer2DModel.from_config(size.generator),
            "vae": AutoencoderDC.from_config(size.autoencoder),
        }
    for name, part in parts.items():
        (folder / name).mkdir(parents=True)
        write_random(part, folder / name, "diffusion_pytorch_model", seed)
        part.save_config(folder / name)
    solver = DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction")
    solver.save_pretrained(folder / "scheduler")
    classes = {name: ["diffusers", type(part).__name__] for name, part in parts.items()}
    classes["scheduler"] = ["diffusers", type(solver).__name__]
    index = {"_class_name": "SanaPipeline", **classes}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    return folder


def write_published(folder: Path, mllm: Path, generator: Path, queries: int, seed: int = 2) -> Path:
    """A published checkpoint of the weights in two folders, which it names as its bases."""
    home = folder / "checkpoint"
    home.mkdir(parents=True)
    prefixes = {part: prefix for prefix, part in PARTS.items()}
    draw = torch.Generator().manual_seed(seed)
    width, channels = (
        json.loads((mllm / "config.json").read_text())["text_config"]["hidden_size"],
        json.loads((generator / "transformer/config.json").read_text())["caption_channels"],
    )

    def weights() -> Iterator[tuple[str, Tensor]]:
        for name, value in stored(mllm):
            for part, inner in INNER.items():
                if name.startswith(inner):
                    key = prefixes[part] + name.removeprefix(inner)
                    if key == EMBEDDING:
                        rows = drawn(torch.Size((queries + CLOSING, width)), key, draw)
                        value = torch.cat([value, rows])
                    yield key, value
        for name, value in Connector(width, channels, channels).state_dict().items():
            yield prefixes["connector"] + name, value.bfloat16()
        for part in ("transformer", "vae"):
            for name, value in stored(generator / part):
                if name not in NOT_PUBLISHED:
                    yield prefixes[part] + name, value

    write_shards(weights(), home, "model")
    bases = {"mllm_id": mllm, "diffusion_model_id": generator, "vae_id": generator,
             "scheduler_id": generator}  # fmt: skip
    settings = {name: os.path.relpath(base, folder) for name, base in bases.items()}
    settings["num_metaqueries"] = queries
    (home / "config.json").write_text(json.dumps(settings, indent=1) + "\n")
    return folder


def write_random(
    module: nn.Module, folder: Path, stem: str, seed: int, but: Iterable[str] = ()
) -> None:
    """Random weights for a `module` on the meta device, without those named in `but`."""
    draw = torch.Generator().manual_seed(seed)
    shapes = [(name, value.shape) for name, value in module.state_dict().items() if name not in but]
    write_shards(((name, drawn(shape, name, draw)) for name, shape in shapes), folder, stem)


def drawn(shape: torch.Size, name: str, draw: torch.Generator) -> Tensor:
    """A weight in bfloat16: no bias, a norm that scales by 1, and matrices that keep the scale."""
    if len(shape) < 2:
        return torch.full(shape, 0.0 if name.endswith("bias") else 1.0, dtype=torch.bfloat16)
    scale = 1 / math.sqrt(math.prod(shape[1:]))
    return torch.empty(shape, dtype=torch.bfloat16).normal_(0, scale, generator=draw)


def write_shards(weights: Iterable[tuple[str, Tensor]], folder: Path, stem: str) -> None:
    """Write weights to files of at most SHARD bytes, and the index that says which is where."""
    files: list[list[str]] = []
    shard: dict[str, Tensor] = {}
    total = full = 0

    def flush() -> None:
        save_file(shard, folder / f"{stem}-{len(files)}.part", {"format": "pt"})
        files.append([*shard])
        shard.clear()

    for name, value in weights:
        if shard and full + value.nbytes > SHARD:
            flush()
            full = 0
        shard[name] = value.contiguous()
        full += value.nbytes
        total += value.nbytes
    flush()
    if len(files) == 1:
        (folder / f"{stem}-0.part").rename(folder / f"{stem}.safetensors")
        return
    places = {}
    for number, names in enumerate(files):
        file = f"{stem}-{number + 1:05d}-of-{len(files):05d}.safetensors"
        (folder / f"{stem}-{number}.part").rename(folder / file)
        places |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def stored(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """All weights in the files of a folder, one at a time."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (it is no mapping)
                yield name, file.get_tensor(name)
