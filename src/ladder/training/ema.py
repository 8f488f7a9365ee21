"""The average of weights that sampling uses: an exponential moving average of the trained ones.

Lightning's own callback would copy the whole module, the frozen MLLM with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from ladder.training.strategies.fsdp import whole
from ladder.training.strategies.one_reads import placed


class WeightEMA:
    """Averages of `weights`, in float32 whatever their type is, begun at their present values.

    Averages of weights that are spread over processes are spread as these are; those of whole ones
    over the processes of `mesh`, if there is one. No nn.Module, so that neither a cast of the model
    nor a strategy changes it.
    """

    def __init__(
        self, weights: Iterable[nn.Parameter], decay: float, mesh: DeviceMesh | None = None
    ) -> None:
        self.weights = list(weights)
        self.decay = decay
        self.mesh = mesh
        self.values = [
            self._part(weight.detach().to(torch.float32, copy=True)) for weight in self.weights
        ]

    def to(self, device: torch.device) -> None:
        """Move the averages to where the weights are."""
        self.values = [value.to(device) for value in self.values]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        now = [self._part(weight.detach().float()) for weight in self.weights]
        torch._foreach_lerp_(self.values, now, 1 - self.decay)

    def apply(self) -> None:
        """Set the weights to their averages, for good; of spread ones, all processes call this."""
        self._set(self.values)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the context the weights are their averages; all processes enter it if they are
        spread."""
        saved = [weight.detach().clone() for weight in self.weights]
        self._set(self.values)
        try:
            yield
        finally:
            self._set(saved)

    def state(self) -> list[Float[Tensor, "*_"]]:
        """The averages, in the order of the weights; of spread ones, all processes call this."""
        return [whole(value) for value in self.values]

    def load(self, state: list[Float[Tensor, "*_"]], device: torch.device | str = "cpu") -> None:
        """Take over what `state` gave, all processes together; `device` is that of this process.

        Raises ValueError for another number of tensors.
        """
        for value, loaded in zip(self.values, state, strict=True):
            value.copy_(placed(loaded, value, device))

    @torch.no_grad()
    def _set(self, values: list[Float[Tensor, "*_"]]) -> None:
        for weight, value in zip(self.weights, values, strict=True):
            spread = isinstance(value, DTensor) and not isinstance(weight, DTensor)
            weight.copy_(value.full_tensor() if spread else value)

    def _part(self, value: Float[Tensor, "*_"]) -> Float[Tensor, "*_"]:
        """What this process keeps of a whole tensor."""
        if self.mesh is None:
            return value
        split = Shard(0) if value.ndim else Replicate()
        return distribute_tensor(value, self.mesh, [split], src_data_rank=None)
