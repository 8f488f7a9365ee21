"""Two processes on CPUs (gloo), started by torchrun as on a cluster, against one.

Lightning refuses its fsdp on CPUs and DeepSpeed isn't installed, so ddp is what is tested.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.training import ranks
from tests.training.running import WATCHFUL, curve, equal, events, with_stage

from ladder.config import Config, load

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def run(config: Config, encoded: Path, runs: Path, processes: int, **changes) -> int:
    """Train t2i in so many processes; their exit status."""
    runs.mkdir(exist_ok=True)
    strategy = "ddp" if processes > 1 else "auto"
    cluster = dataclasses.replace(config.cluster, strategy=strategy, devices=processes)
    plan = {"faults": {}, "outage": None, "alike": False} | changes
    plan |= {"config": dataclasses.replace(config, cluster=cluster).as_dict()}
    plan |= {"encoded": str(encoded), "runs": str(runs)}
    (runs / "plan.json").write_text(json.dumps(plan))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else ()), ranks.__file__]
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return subprocess.run(
        [*command, str(runs / "plan.json")],
        env=os.environ | {"PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""},
        timeout=300,
        check=False,
    ).returncode


def trained(runs: Path, rank: int) -> dict[str, torch.Tensor]:
    return load_file(runs / f"{rank}.safetensors")


def keys(runs: Path, rank: int) -> list[tuple[int, list[str]]]:
    return json.loads((runs / f"{rank}.json").read_text())


def test_ranks_stay_equal_when_one_is_faulty_and_share_every_epoch(short, encoded, tmp_path):
    """Three bad losses on the second rank only; two ranks of five see 20 samples in two steps."""
    faults = {10: "nan", 20: 1e6, 30: "inf"}
    config = with_stage(short, "t2i", steps=50, batch=5, accumulate=1, sample_every=25)
    config = dataclasses.replace(config, monitor=WATCHFUL)
    assert run(config, encoded, tmp_path / "runs", 2, faults=faults) == 0
    assert equal(trained(tmp_path / "runs", 0), trained(tmp_path / "runs", 1))
    assert [event["step"] for event in events(tmp_path / "runs/t2i")] == [*faults]
    seen = [keys(tmp_path / "runs", rank) for rank in range(2)]
    assert [step for step, _ in seen[0]] == [step for step, _ in seen[1]] == [*range(50)]
    for event in events(tmp_path / "runs/t2i"):
        assert event["keys"] == [key for rank in seen for key in rank[event["step"]][1]]
    for epoch in range(25):
        both = [seen[rank][2 * epoch + step][1] for rank in range(2) for step in range(2)]
        counted = Counter(key for batch in both for key in batch)
        assert len(counted) == 20
        assert set(counted.values()) == {1}


@pytest.mark.parametrize("adapters", [{}, {"lora_rank": 2, "mllm_lora_rank": 2}])
def test_one_process_and_two_agree_on_the_same_global_batch(short, encoded, tmp_path, adapters):
    short = dataclasses.replace(short, model=dataclasses.replace(short.model, **adapters))
    config = with_stage(short, "t2i", steps=10, batch=6, accumulate=1, sample_every=100)
    assert run(config, encoded, tmp_path / "two", 2, alike=True) == 0
    assert (tmp_path / "two/t2i/generator_adapter").is_dir() == bool(adapters)
    config = with_stage(short, "t2i", steps=10, batch=12, accumulate=2, sample_every=100)
    assert run(config, encoded, tmp_path / "one", 1, alike=True) == 0
    assert keys(tmp_path / "one", 0) == [
        entry for step in range(10) for entry in (keys(tmp_path / "two", 0)[step],
                                                  keys(tmp_path / "two", 1)[step])
    ]  # fmt: skip
    one, two = (curve(tmp_path / name / "t2i", "norm") for name in ("one", "two"))
    assert [value for _, value in one] == pytest.approx([value for _, value in two], rel=1e-5)
    ours, theirs = trained(tmp_path / "one", 0), trained(tmp_path / "two", 0)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-5, atol=1e-5, msg=name)


def test_a_checkpoint_of_two_ranks_resumes_on_one(short, encoded, tmp_path):
    config = with_stage(short, "t2i", steps=10, batch=6, accumulate=1, sample_every=100)
    assert run(config, encoded, tmp_path, 2, outage=6) != 0
    saved = torch.load(tmp_path / "t2i/last.ckpt", weights_only=True)
    assert saved["global_step"] == 4
    assert run(config, encoded, tmp_path, 1) == 0
    assert [step for step, _ in keys(tmp_path, 0)] == [4, 5, 6, 7, 8, 9]
    assert [step for step, _ in curve(tmp_path / "t2i", "loss")] == [*range(10)]


def test_several_processes_need_a_strategy():
    with pytest.raises(ValueError, match=r"cluster.strategy must be ddp .* got auto with 2"):
        load(arguments=["cluster.devices=2"], root=ROOT)
