"""The scripts that start training on a cluster, with stand-ins for SLURM's programs."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

SRUN = """#!/bin/bash
echo "srun $*"
for _ in $(seq "$TENTHS"); do sleep 0.1; done
exit "$CODE"
"""
SCONTROL = """#!/bin/bash
echo "scontrol $*"
"""


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """An environment as in a job of SLURM."""
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    job = {"SLURM_JOB_ID": "17", "SLURM_NTASKS_PER_NODE": "8", "SLURM_JOB_NUM_NODES": "2"}
    return os.environ | job | {"PATH": path, "TENTHS": "1", "CODE": "0"}


@pytest.mark.parametrize("code", ["0", "3"])
def test_a_job_ends_as_its_training_does(root: Path, cluster: dict[str, str], code: str):
    command = ["bash", root / "experiments/cluster/slurm.sh", "t2i", "seed=3"]
    ended = subprocess.run(command, env=cluster | {"CODE": code}, capture_output=True, text=True)
    assert ended.returncode == int(code)
    assert ended.stdout.split("train ", 1)[1].split() == [
        "t2i", "--profile", "paper", "cluster.strategy=ddp", "cluster.devices=8",
        "cluster.nodes=2", "seed=3",
    ]  # fmt: skip


def test_a_job_whose_time_ends_goes_back_into_the_queue(root: Path, cluster: dict[str, str]):
    """SLURM sends the signal that the script asks for, and the script waits for what it started."""
    script = root / "experiments/cluster/slurm.sh"
    assert "#SBATCH --signal=B:USR1@" in script.read_text()
    job = subprocess.Popen(
        ["bash", script, "t2i"], env=cluster | {"TENTHS": "10", "CODE": "5"},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert job.stdout is not None
    assert job.stdout.readline().startswith("srun")
    job.send_signal(signal.SIGUSR1)
    said = job.stdout.read()
    assert job.wait(timeout=60) == 5
    assert "scontrol requeue 17" in said
