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


@pytest.mark.slow
def test_generate_imports_only_what_draws(slowness: float):
    """Five seconds are for imports and for opening the ladder: the rest is drawing."""
    code = (
        "import sys, ladder.cli.inference, ladder.inference.open;"
        f"found = sorted({{*{UNNEEDED!r}}} & {{*sys.modules}});"
        "sys.exit(f'not needed: {found}' if found else 0)"
    )
    assert cpu(code) < 5 * slowness
