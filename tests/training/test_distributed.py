"""Two processes on CPUs (gloo), started by torchrun as on a cluster, against one.

Weights are whole on both (ddp), sharded (fsdp), or whole beside sharded gradients and moments
(deepspeed, by `make test-distributed`; its parts are float32 whatever the weights are).
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tests.training import ranks
from tests.training.running import WATCHFUL, curve, equal, events, with_stage

from ladder.config.load import Config, load
from ladder.data.sources.remote import near
from ladder.data.training.encoded import MANIFEST

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
needs_deepspeed = pytest.mark.skipif(
    find_spec("deepspeed") is None,
    reason="deepspeed, which compiles C++, isn't locked: make test-distributed",
)
DEEPSPEED = pytest.param("deepspeed", marks=needs_deepspeed)
strategies = pytest.mark.parametrize("strategy", ["ddp", "fsdp", DEEPSPEED])


def run(
    config: Config,
    encoded: Path,
    runs: Path,
    strategy: str,
    processes: int,
    checkpointing: str = "none",
    **changes,
) -> int:
    """Train t2i in so many processes; their exit status."""
    runs.mkdir(exist_ok=True)
    cluster = dataclasses.replace(
        config.cluster, strategy=strategy, devices=processes, checkpointing=checkpointing
    )
    plan = {"faults": {}, "outage": None, "alike": False, "double": False} | changes
    plan |= {"config": dataclasses.replace(config, cluster=cluster).as_dict()}
    plan |= {"encoded": str(encoded), "runs": str(runs)}
    (runs / "plan.json").write_text(json.dumps(plan))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else ()), ranks.__file__]
    given = os.environ.get("PYTHONPATH", "")  # where deepspeed may lie
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT), *given.split(os.pathsep)])
    return subprocess.run(
        [*command, str(runs / "plan.json")],
        env=os.environ | {"PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""},
        timeout=600,
        check=False,
    ).returncode


def trained(runs: Path, rank: int) -> dict[str, torch.Tensor]:
    state = load_file(runs / f"{rank}.safetensors")
    return {name: value.float() for name, value in state.items()}


def keys(runs: Path, rank: int) -> list[tuple[int, list[str]]]:
    return json.loads((runs / f"{rank}.json").read_text())


@strategies
def test_ranks_stay_equal_when_one_is_faulty_and_share_every_epoch(
    short, encoded, tmp_path, strategy
):
    """Three bad losses on the second rank only; two ranks of five see 20 samples in two steps."""
    faults = {10: "nan", 20: 1e6, 30: "inf"}
    config = with_stage(short, "t2i", steps=50, batch=5, accumulate=1, sample_every=25)
    config = dataclasses.replace(config, monitor=WATCHFUL)
    assert run(config, encoded, tmp_path / "runs", strategy, 2, faults=faults) == 0
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


ADAPTERS = {"lora_rank": 2, "mllm_lora_rank": 2}


@pytest.mark.parametrize(
    ("single", "several", "adapters"),
    [
        ("auto", "ddp", {}),
        ("auto", "ddp", ADAPTERS),
        ("fsdp", "fsdp", {}),
        pytest.param("auto", "deepspeed", {}, marks=needs_deepspeed),
        pytest.param("deepspeed", "deepspeed", ADAPTERS, marks=needs_deepspeed),
    ],
)
def test_one_process_and_two_agree_on_the_same_global_batch(
    short, encoded, tmp_path, single, several, adapters
):
    """The two compute activations anew in the backward pass."""
    short = dataclasses.replace(short, model=dataclasses.replace(short.model, **adapters))
    config = with_stage(short, "t2i", steps=10, batch=6, accumulate=1, sample_every=100)
    two = tmp_path / "two"
    assert run(config, encoded, two, several, 2, alike=True, double=True, checkpointing="all") == 0
    assert (two / "t2i/generator_adapter").is_dir() == bool(adapters)
    config = with_stage(short, "t2i", steps=10, batch=12, accumulate=2, sample_every=100)
    assert run(config, encoded, tmp_path / "one", single, 1, alike=True, double=True) == 0
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


@pytest.mark.parametrize("sharded", ["fsdp", DEEPSPEED])
@pytest.mark.parametrize("lora_rank", [None, 2])
def test_sharded_weights_are_trained_as_whole_ones(wordy, encoded, tmp_path, lora_rank, sharded):
    """After a connector warm-up, over a return to the checkpoint, a resumption, and grids drawn
    by the averages meanwhile; the checkpoints are alike too."""
    faults = dict.fromkeys([4, 5, 6], "nan")
    model = dataclasses.replace(wordy.model, lora_rank=lora_rank, query_noise=0.1)
    config = with_stage(wordy, "t2i", steps=10, batch=6, accumulate=1, sample_every=3)
    config = dataclasses.replace(config, model=model, monitor=WATCHFUL)
    saved = []
    for strategy in ("ddp", sharded):
        folder = tmp_path / strategy
        assert run(config, encoded, folder, strategy, 2, faults=faults, outage=9, double=True) != 0
        saved.append(torch.load(folder / "t2i/last.ckpt", weights_only=True))
        assert run(config, encoded, folder, strategy, 2, faults=faults, double=True) == 0
        verdicts = [event["verdict"] for event in events(folder / "t2i")]
        assert verdicts == ["skip", "skip", "go back"]
    theirs, ours = saved
    assert ours["global_step"] == theirs["global_step"] == 8
    torch.testing.assert_close(ours["state_dict"], theirs["state_dict"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours["average"], theirs["average"], rtol=1e-5, atol=1e-5)
    moments, others = (checkpoint["optimizer_states"][0]["state"] for checkpoint in (ours, theirs))
    # DeepSpeed's are float32.
    torch.testing.assert_close(moments, others, rtol=1e-5, atol=1e-5, check_dtype=False)
    ours, theirs = trained(tmp_path / sharded, 0), trained(tmp_path / "ddp", 0)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-5, atol=1e-5, msg=name)
    for step in (3, 9):
        ours, theirs = (
            np.asarray(Image.open(tmp_path / name / f"t2i/samples/{step:06d}.png"), np.int16)
            for name in (sharded, "ddp")
        )
        assert np.abs(ours - theirs).max() <= 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("ddp", "auto"),
        ("ddp", "fsdp"),
        ("fsdp", "auto"),
        ("fsdp", "fsdp"),
        pytest.param("ddp", "deepspeed", marks=needs_deepspeed),
        pytest.param("deepspeed", "auto", marks=needs_deepspeed),
        pytest.param("deepspeed", "deepspeed", marks=needs_deepspeed),
    ],
)
def test_a_checkpoint_of_two_ranks_resumes_on_one(short, encoded, tmp_path, before, after):
    config = with_stage(short, "t2i", steps=10, batch=6, accumulate=1, sample_every=100)
    assert run(config, encoded, tmp_path, before, 2, outage=6) != 0
    saved = torch.load(tmp_path / "t2i/last.ckpt", weights_only=True)
    assert saved["global_step"] == 4
    assert saved["LadderData"]["seen"] == {"": 4 * 2 * 6}
    assert run(config, encoded, tmp_path, after, 1) == 0
    assert [step for step, _ in keys(tmp_path, 0)] == [4, 5, 6, 7, 8, 9]
    taken = keys(tmp_path, 0)
    alone = tmp_path / "alone"
    longer = with_stage(config, "t2i", steps=14)
    assert run(longer, encoded, alone, "auto", 1) == 0
    assert [k for _, k in taken] == [k for _, k in keys(alone, 0)[8:]], "it goes on at sample 48"
    assert [step for step, _ in curve(tmp_path / "t2i", "loss")] == [*range(10)]


def test_an_epoch_goes_on_on_one_process_and_again_on_two(short, encoded, tmp_path):
    """8 samples a step, 4, 8 again; steps after the last checkpoint are lost and taken anew."""
    taken: list[str] = []
    for processes, outage, end in ((2, 6, 4), (1, 10, 8), (2, None, 12)):
        config = with_stage(short, "t2i", steps=12, batch=4, accumulate=1, sample_every=100)
        strategy = "ddp" if processes > 1 else "auto"
        code = run(config, encoded, tmp_path, strategy, processes, outage=outage)
        assert (code == 0) == (outage is None)
        of_ranks = [dict(keys(tmp_path, rank)) for rank in range(processes)]
        for step in range(end - 4, end):
            own = [key for rank in of_ranks for key in rank[step]]
            print(f"step {step:2}, {processes} processes:", *own)  # noqa: T201
            taken += own
    assert len(taken) == 4 * (8 + 4 + 8) == 4 * 20
    for epoch in range(4):
        assert len({*taken[20 * epoch : 20 * epoch + 20]}) == 20, "no sample twice in an epoch"


def test_machines_with_disks_of_their_own(short, encoded, tmp_path, capfd):
    """Each gets the sets from a place that both reach; one that has other sets stops all."""
    memory = fsspec.filesystem("memory")
    memory.put(str(encoded), "/encoded", recursive=True)
    try:
        for rank in range(2):
            near("memory://encoded", tmp_path / f"disk{rank}/encoded")
    finally:
        memory.rm("/encoded", recursive=True)
    disks = tmp_path / "disk{rank}/encoded"
    config = with_stage(short, "t2i", steps=5, batch=4, accumulate=1, sample_every=100)
    assert run(config, disks, tmp_path / "runs", "ddp", 2) == 0
    seen = [keys(tmp_path / "runs", rank) for rank in range(2)]
    epochs = Counter(key for rank in seen for _, own in rank for key in own)
    assert len(epochs) == 20
    assert {*epochs.values()} == {2}

    manifest = tmp_path / "disk1/encoded" / MANIFEST
    parts = json.loads(manifest.read_text())
    (lost,) = (name for name in parts if name.startswith("t2i/train"))
    manifest.write_text(json.dumps({name: part for name, part in parts.items() if name != lost}))
    capfd.readouterr()
    assert run(config, disks, tmp_path / "again", "ddp", 2) != 0
    assert f"the first that differs is {lost}" in capfd.readouterr().err


@strategies
def test_one_process_reads_a_checkpoint_and_what_is_sharded_is_averaged_in_parts(
    short, encoded, tmp_path, strategy
):
    """Interrupted, the two end with the weights of a run that wasn't."""
    config = with_stage(short, "t2i", steps=8, batch=6, accumulate=1, sample_every=100)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(config, encoded, whole, strategy, 2) == 0
    assert run(config, encoded, parts, strategy, 2, outage=6) != 0
    assert run(config, encoded, parts, strategy, 2) == 0
    held = [json.loads((parts / f"{rank}.held.json").read_text()) for rank in range(2)]
    assert held[0]["checkpoint"] == held[0]["whole"] > 0
    assert held[1]["checkpoint"] == 0
    shares = [entry["average"] / entry["whole"] for entry in held]
    if strategy == "ddp":
        assert shares == [1.0, 1.0]
    else:
        assert sum(shares) == pytest.approx(1.0)
        assert max(shares) < 0.7
    for rank in range(2):
        assert equal(trained(whole, rank), trained(parts, rank))


def test_a_stage_is_compiled_and_fused_if_that_is_asked_for(short, encoded, tmp_path):
    """It takes the steps of the plain one but for rounding."""
    config = with_stage(short, "t2i", steps=4, batch=6, accumulate=1, sample_every=3)
    fast = dataclasses.replace(config.cluster, compile=True, fused=True)
    fast = dataclasses.replace(config, cluster=fast)
    for name, chosen in (("plain", config), ("fast", fast)):
        assert run(chosen, encoded, tmp_path / name, "auto", 1) == 0
    ours, theirs = ([v for _, v in curve(tmp_path / n / "t2i", "loss")] for n in ("fast", "plain"))
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_several_processes_need_a_strategy():
    with pytest.raises(ValueError, match=r"must be ddp, fsdp or deepspeed .* got auto with"):
        load(arguments=["cluster.devices=2"], root=ROOT)
