"""A verb imports what it needs, so that it starts soon."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

UNNEEDED = (
    "dask", "datasets", "dvclive", "lightning", "matplotlib", "pandas", "papermill", "pyarrow",
    "sklearn", "statsmodels", "tensorboard", "torchmetrics", "torchvision",
)  # fmt: skip
"""What draws no picture, though training, curation or the report need it."""


def cpu(code: str) -> float:
    """Seconds of CPU that a Python process takes for `code`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_take_half_a_second(option: str, slowness: float):
    code = f"from ladder.cli.main import main; main(['{option}'])"
    assert min(cpu(code) for _ in range(3)) < 0.5 * slowness


LIBRARIES = """
import diffusers, peft, torch
from diffusers import AutoencoderDC, DiffusionPipeline, DPMSolverMultistepScheduler
from diffusers import SanaTransformer2DModel
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration
"""
"""What draws, and what of theirs a ladder is made of."""


@pytest.mark.slow
def test_generate_imports_only_what_draws():
    """What ours adds to the libraries themselves is little."""
    code = (
        "import sys, ladder.cli.inference, ladder.inference.open;"
        f"found = sorted({{*{UNNEEDED!r}}} & {{*sys.modules}});"
        "sys.exit(f'not needed: {found}' if found else 0)"
    )
    theirs, ours = (min(cpu(code) for _ in range(2)) for code in (LIBRARIES, code))
    assert ours < 1.25 * theirs
