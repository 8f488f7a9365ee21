"""Where models compute: on which device, and in which precision.

A device is asked for by name. `auto` is a CUDA GPU if there is one, else Apple's (mps), else the
CPU. Of several GPUs each process that torchrun or Slurm started on a machine takes another one.
"""

from __future__ import annotations

import os
from typing import Literal

import torch

Device = Literal["auto", "cpu", "cuda", "mps"]


def devices() -> list[str]:
    """Those that this machine has, the best one first."""
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return [*(name for name, there in here.items() if there), "cpu"]


def find_device(wanted: Device, process: int | None = None) -> torch.device:
    """The device that is `wanted`, for the process of this number on its machine.

    `process` None is the number that torchrun or Slurm gave. Raises ValueError for a device that
    this machine doesn't have.
    """
    found = devices()
    name = found[0] if wanted == "auto" else wanted
    if name not in found:
        raise ValueError(f"device must be auto or one of {', '.join(found)}, got {wanted}")
    if name != "cuda":
        return torch.device(name)
    if process is None:
        process = int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")))
    return torch.device("cuda", process % torch.cuda.device_count())
