"""What a score means: the floor that chance reaches, and the ceiling that the autoencoder allows.

The floor judges every prompt by the pictures of another one of its task. The ceiling judges the
autoencoder's reconstructions of right pictures, the best that any generator in front of this
autoencoder and this oracle could do.

Letters: B pictures, H and W height and width.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import UInt8

from ladder.models.generator.autoencoder import Autoencoder, raw
from ladder.world.render import render
from ladder.world.scenes import Scene

T = TypeVar("T")


def of_another(values: Sequence[T], groups: Sequence[Hashable]) -> list[T]:
    """Give each item the value of the next item of its group, and the last that of the first.

    Every item gets another's value, and every value is used once. Raises ValueError for a group of
    one, which has no other.
    """
    members: dict[Hashable, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    alone = [group for group, indices in members.items() if len(indices) == 1]
    if alone:
        raise ValueError(f"a floor needs at least two prompts a task, got one of {alone}")
    following = {}
    for indices in members.values():
        following |= zip(indices, [*indices[1:], indices[0]], strict=True)
    return [values[following[index]] for index in range(len(groups))]


@torch.inference_mode()
def reconstructed(
    vae: Autoencoder, scenes: Sequence[Scene], batch: int
) -> UInt8[np.ndarray, "B H W 3"]:
    """Pictures of `scenes` after their way through the autoencoder."""
    pictures = []
    for first in range(0, len(scenes), batch):
        pixels = np.stack([render(scene) for scene in scenes[first : first + batch]])
        inputs = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(vae.device, vae.dtype)
        output = vae.decode(raw(vae, inputs / 127.5 - 1)).sample.float()
        bytes_ = ((output + 1) * 127.5).round().clamp(0, 255).byte()
        pictures.append(bytes_.permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(pictures)
