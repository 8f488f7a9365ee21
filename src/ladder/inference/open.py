"""A trained ladder from its folder, checked whole before anything is drawn."""

from __future__ import annotations

import errno
from pathlib import Path

import diffusers
import torch
import transformers

from ladder.config.schema import Dtype
from ladder.inference.pipeline import LadderPipeline
from ladder.inference.sampler import check_solver
from ladder.inference.shipped import MARKER, shipped_ladder
from ladder.models.device import Device, find_device
from ladder.models.generator.autoencoder import load_autoencoder
from ladder.models.load_errors import reading, require_finite, require_floats


def open_ladder(
    folder: Path | None, device: Device = "cpu", dtype: Dtype = "float32"
) -> LadderPipeline:
    """The pipeline in a folder, by default the one that comes with the repository.

    It computes on `device`, and all of it in `dtype`, in which it is loaded. Raises
    FileNotFoundError where there is no such folder, and ValueError for one whose files aren't those
    of a ladder, whose settings can't be used, or whose weights aren't all there, all expected and
    all finite, and for a device that this machine doesn't have.
    """
    folder, place = folder or shipped_ladder(), find_device(device)
    if not (folder / MARKER).is_file():
        raise FileNotFoundError(errno.ENOENT, "no trained ladder here", str(folder))
    quiet()
    precision = getattr(torch, dtype)
    with reading(folder, "a ladder"):
        # A pipeline would fill in weights that its autoencoder lacks, and forget those left over.
        autoencoder = load_autoencoder(folder, precision)
        require_floats(folder)
        pipeline = LadderPipeline.from_pretrained(folder, vae=autoencoder, dtype=precision)
        check_solver(pipeline.scheduler, steps=1)
    require_finite({"ladder": pipeline.ladder, "vae": autoencoder}, folder)
    pipeline.set_progress_bar_config(disable=None)  # shown on a terminal only
    return pipeline.to(place)


def quiet() -> None:
    """Keep the libraries' own bars and advice about loading off the terminal."""
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
