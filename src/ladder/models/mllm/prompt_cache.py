"""What the MLLM has read, kept on disk: keys and values of prompts, by their content.

The MLLM is frozen and attention causal, so what it makes of a prompt is the same at every step and
need be found only once. What is kept belongs to a prompt, never to a sample: captions and
dropping are drawn anew all the same. A prompt takes 2 L H N E numbers: this is for small sets.

Letters: B batch, T tokens of the longest prompt, N tokens of one, L layers that were read with,
H heads of keys and values, E width of a head.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import DynamicCache

from ladder.config.files import replacing
from ladder.models.mllm.cached_forward import CachedPass
from ladder.models.mllm.prompts import Prompts

KEYS_AND_VALUES = "keys_and_values"


class PromptCache:
    """A folder with a file for each prompt; several processes may share it.

    `reader` says who read, with how many layers and in which type: what another has read lies in a
    folder of its own.
    """

    def __init__(self, folder: Path, reader: str) -> None:
        self.folder = folder / reader
        self.folder.mkdir(parents=True, exist_ok=True)

    def read(self, prompts: Prompts, running: CachedPass) -> Int[Tensor, "B T"]:
        """As `running.read`, but a prompt that was read before is taken from the folder."""
        paths = []
        for row in range(len(prompts)):
            prompt = prompts.single(row)
            paths.append(self.path(prompt))
            if not paths[-1].is_file():
                alone = CachedPass(running.mllm, running.layers)
                alone.read(prompt)
                self.keep(paths[-1], alone.cache)
        return recall(paths, running.cache, prompts.input_ids.device)

    def path(self, prompt: Prompts) -> Path:
        """Where a single prompt is kept: its tokens and its pictures are its name."""
        name = hashlib.sha256()
        for values in (prompt.input_ids, prompt.image_grid_thw, prompt.pixel_values):
            if values is not None:
                name.update(values.cpu().numpy().tobytes())
        return self.folder / f"{name.hexdigest()}.safetensors"

    def keep(self, path: Path, cache: DynamicCache) -> None:
        """Write what `cache` holds of a single prompt."""
        read = [layer for layer in cache.layers if layer.is_initialized]
        layers = [torch.cat([layer.keys, layer.values]) for layer in read]
        with replacing(path, shared=True) as part:
            save_file({KEYS_AND_VALUES: torch.stack(layers).cpu()}, part)


def recall(paths: list[Path], cache: DynamicCache, device: torch.device) -> Int[Tensor, "B T"]:
    """Fill an empty `cache` with the prompts kept at B paths, left padded; returns which tokens
    are theirs."""
    found: list[Float[Tensor, "L 2 H N E"]] = [load_file(path)[KEYS_AND_VALUES] for path in paths]
    lengths = torch.tensor([one.shape[3] for one in found], device=device)
    longest = int(lengths.max())
    padded = [F.pad(one, (0, 0, longest - one.shape[3], 0)) for one in found]
    for index, (keys, values) in enumerate(torch.stack(padded, dim=2).to(device)):
        cache.update(keys, values, index)
    return (torch.arange(longest, device=device) >= longest - lengths[:, None]).long()
