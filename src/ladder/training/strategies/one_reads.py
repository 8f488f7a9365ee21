"""A checkpoint is read by the first process alone, which hands each tensor on when it is needed.

The other processes get its outline: the same content, whose tensors have a shape and no memory
(torch's device "meta"). What is restored goes through `placed`, tensor by tensor, so no other
process ever holds more than one of them beside what it trains, and storage is read once.

All processes must restore the same in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Shaped
from lightning.pytorch.strategies import DDPStrategy, ParallelStrategy
from torch import Tensor, distributed
from torch.distributed.tensor import DTensor, distribute_tensor


class OneReads(ParallelStrategy):
    """How strategies for several processes restore a checkpoint."""

    def load_checkpoint(
        self, checkpoint_path: Path | str, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """The file's content on the first process, its outline on the others.

        Nothing is ever unpickled but tensors and plain values.
        """
        return read_once(checkpoint_path)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take over what was trained, or the own parts of it."""
        own = self.lightning_module.state_dict()
        state = checkpoint["state_dict"]
        self.lightning_module.load_state_dict(
            {name: placed(value, own[name], self.root_device) for name, value in state.items()}
        )

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take over the moments, or the own parts of them."""
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [value for group in optimizer.param_groups for value in group["params"]]
            parts = {
                number: {
                    # Beside the moments there is the count of steps, a number. It is copied, since
                    # a number that lies in the file would keep all of it in memory.
                    name: placed(value, weights[number], self.root_device)
                    if value.ndim
                    else value.clone()
                    for name, value in entry.items()
                }
                for number, entry in state["state"].items()
            }
            optimizer.load_state_dict(state | {"state": parts})


class WholeStrategy(OneReads, DDPStrategy):
    """Lightning's strategy for whole weights on every process (DDP)."""


def read_once(path: Path | str) -> dict[str, Any]:
    """A checkpoint on the first process, mapped and not yet read; its outline on the others."""
    content = None
    if distributed.get_rank() == 0:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    outlines = [outline(content)]
    distributed.broadcast_object_list(outlines, src=0)
    return outlines[0] if content is None else content


def outline(value: Any) -> Any:
    """The same nested values with tensors on "meta"; numbers that are tensors stay."""
    if isinstance(value, Mapping):
        return {key: outline(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(outline(inner) for inner in value)
    return value.to("meta") if isinstance(value, Tensor) and value.ndim else value


def placed(
    value: Shaped[Tensor, "*S"], like: Shaped[Tensor, "*S"], device: torch.device | str = "cpu"
) -> Shaped[Tensor, "*S"]:
    """A whole tensor of the first process, on all processes, spread over them as `like` is.

    `value` may be an outline on the others. `device`: the processes' own, through which they talk.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return value
    if isinstance(like, DTensor):
        mesh = like.device_mesh
        return distribute_tensor(_held(value, mesh.device_type), mesh, like.placements)
    held = _held(value, device)
    distributed.broadcast(held, src=0)
    return held


def _held(value: Shaped[Tensor, "*S"], device: torch.device | str) -> Shaped[Tensor, "*S"]:
    """The tensor itself, or memory for it where there is only an outline."""
    if value.is_meta:
        return torch.empty(value.shape, dtype=value.dtype, device=device)
    return value.to(device, copy=True).contiguous()
