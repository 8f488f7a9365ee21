"""A verb imports what it needs, so that it starts soon."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

LADDER = Path(__file__).resolve().parents[2] / "models/ladder"
"""The one that comes with the repository."""
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


VERBS = {
    "generate": ["generate", "a red star", "-o", "out.png"],
    "edit": ["edit", "in.png", "make it blue", "-o", "out.png"],
    "ask": ["ask", "in.png", "what is it?"],
}


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_what_draws_and_answers_imports_only_what_it_needs(verb: str, tmp_path: Path):
    Image.new("RGB", (64, 64), "red").save(tmp_path / "in.png")
    code = (
        f"import sys, os; os.chdir({str(tmp_path)!r}); from ladder.cli.main import main;"
        f"code = main(['{verb}', *{VERBS[verb][1:]!r}, '--model', {str(LADDER)!r}]);"
        f"found = sorted({{*{UNNEEDED!r}}} & {{*sys.modules}});"
        "sys.exit(f'not needed: {found}' if found else code)"
    )
    cpu(code)


@pytest.mark.slow
def test_a_picture_takes_less_than_the_imports_of_the_libraries_would(tmp_path: Path):
    """The garbage collector walks over none of what the libraries define."""
    words = [*VERBS["generate"][:-1], str(tmp_path / "out.png"), "--model", str(LADDER)]
    code = f"from ladder.cli.main import main; raise SystemExit(main({words!r}))"
    theirs, whole = (min(cpu(code) for _ in range(2)) for code in (LIBRARIES, code))
    assert whole < 0.95 * theirs


def test_how_far_a_study_is_needs_none_of_what_runs_it():
    heavy = ["diffusers", "nbformat", "papermill", "torch", "transformers"]
    code = (
        "import sys; from ladder.cli.main import main; code = main(['study', 'status', 'layers']);"
        f"found = sorted({{*{heavy!r}}} & {{*sys.modules}});"
        "sys.exit(f'not needed: {found}' if found else code)"
    )
    cpu(code)
