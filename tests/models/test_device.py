"""Which device is taken for a name, and by which process."""

from __future__ import annotations

import pytest
import torch

from ladder.models.device import devices, find_device


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch):
    """A machine that says it has three GPUs."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch):
    for name in ("LOCAL_RANK", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)


def test_auto_is_the_cpu_where_there_is_nothing_else(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    assert devices() == ["cpu"]
    assert find_device("auto") == find_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="device must be auto or one of cpu, got cuda"):
        find_device("cuda")


def test_auto_is_a_gpu_before_all_else(gpus, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert devices() == ["cuda", "mps", "cpu"]
    assert find_device("auto") == torch.device("cuda", 0)
    assert find_device("mps") == torch.device("mps")


@pytest.mark.parametrize("name", ["LOCAL_RANK", "SLURM_LOCALID"])
def test_processes_of_a_machine_share_its_gpus(gpus, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setenv(name, "4")
    assert find_device("auto") == torch.device("cuda", 1)
    assert find_device("cuda", process=2) == torch.device("cuda", 2)
