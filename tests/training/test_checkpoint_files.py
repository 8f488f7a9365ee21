"""A checkpoint goes from memory to its file and back without a second copy of it in memory."""

from __future__ import annotations

import gc
from pathlib import Path

import torch

from ladder.profiling.paired_timing import memory_rise
from ladder.training.checkpoints import FileIO

MIB = 300
"""Of the weights."""


def test_neither_writing_nor_reading_copies_the_whole(tmp_path: Path):
    """Lightning's own takes as much again, 26 GB for the paper's checkpoint."""
    files, path = FileIO(), tmp_path / "last.ckpt"
    weights = torch.arange(MIB * 2**18, dtype=torch.float32)
    assert memory_rise(lambda: files.save_checkpoint({"weights": weights}, path)) < MIB / 3
    found = {}
    assert memory_rise(lambda: found.update(files.load_checkpoint(path))) < MIB / 3
    assert torch.equal(found["weights"], weights)


def test_what_was_read_outlives_the_file_that_takes_its_place(tmp_path: Path):
    files, path = FileIO(), tmp_path / "last.ckpt"
    files.save_checkpoint({"weights": torch.ones(1000)}, path)
    found = files.load_checkpoint(path)["weights"]
    files.save_checkpoint({"weights": torch.zeros(1000)}, tmp_path / "last.part")
    (tmp_path / "last.part").replace(path)
    found.add_(1)
    assert torch.equal(found, torch.full((1000,), 2.0))
    assert not files.load_checkpoint(path)["weights"].any()


def test_the_moments_of_an_optimizer_do_not_keep_the_file_in_memory(tmp_path: Path):
    """It keeps what it is given: mapped moments held a file of 6.9 GB through training."""
    files, path = FileIO(), tmp_path / "last.ckpt"
    weight = torch.nn.Parameter(torch.ones(1000))
    optimizer = torch.optim.AdamW([weight])
    weight.sum().backward()
    optimizer.step()
    content = {"state_dict": {"weight": weight}, "optimizer_states": [optimizer.state_dict()]}
    files.save_checkpoint(content, path)

    restored = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1000))])
    restored.load_state_dict(files.load_checkpoint(path)["optimizer_states"][0])
    gc.collect()
    assert str(path) not in Path("/proc/self/maps").read_text()
    kept = restored.state_dict()["state"][0]
    assert all(
        torch.equal(kept[name], value) for name, value in optimizer.state_dict()["state"][0].items()
    )
