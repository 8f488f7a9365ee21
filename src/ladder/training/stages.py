"""A stage of training from beginning to end: t2i, then ti2i, then finetune.

Stages differ in their data and settings only. Each takes the ladder of the one before (the first
takes the foundations) and leaves its own in RUNS/<arm>-<seed>/<stage>:

ladder/             the outcome: averaged weights, and in training.json what they depend on
generator_adapter/  with `model.lora_rank`, what the generator learnt, in a form that peft loads
dvclive/            loss, norm, skipped and lr of every step, losses on held-out samples, grids
tensorboard/        the same, to watch; csv/ and wandb/ too, if they are asked for
samples/            grids of fixed prompts from fixed noise
events.jsonl        the steps that the monitor didn't let pass
faults.jsonl        the steps that were spoilt on purpose, if any
lock                held while the stage runs: two trainings of one stage exclude each other
last.ckpt           only while the stage runs: an interrupted stage goes on from it, bit for bit
step-*.ckpt         with `training.keep`, those before it
"""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import Strategy
from lightning.pytorch.utilities import rank_zero_only
from torch.nn.attention import SDPBackend, sdpa_kernel

from ladder.config.files import replacing_folder, require_ours, write_text
from ladder.config.load import Cluster, Config
from ladder.config.lock import locked
from ladder.data.training.datamodule import LadderData
from ladder.inference.pipeline import LadderPipeline
from ladder.inference.shipped import MARKER
from ladder.models.device import find_device
from ladder.models.ladder import Ladder
from ladder.training.checkpoints import Checkpoints, FileIO, earlier_than_last
from ladder.training.connector_warmup import warm_up
from ladder.training.faults import FaultInjector
from ladder.training.loggers import loggers
from ladder.training.module import LadderModule
from ladder.training.monitor import GradientMonitor
from ladder.training.progress_bar import StepBar
from ladder.training.sample_grids import Grids, fixed_prompts
from ladder.training.start import (
    CHECKPOINT,
    SETTINGS,
    STAGES,
    StageName,
    settings,
    stage_of,
    starting_ladder,
)
from ladder.training.strategies.deepspeed import ZeroStrategy
from ladder.training.strategies.fsdp import ShardedStrategy, whole
from ladder.training.strategies.one_reads import WholeStrategy
from ladder.training.validation import HeldOutLoss

ADAPTER = "generator_adapter"
LOGS = ("dvclive", "tensorboard", "csv", "wandb")
"""Folders of the loggers."""


def run_stage(
    config: Config,
    stage: StageName,
    encoded: Path = Path("data/encoded"),
    runs: Path = Path("runs"),
    export: Path | None = None,
) -> Path:
    """Train one stage, or finish it if it was interrupted; returns the folder of its ladder.

    `export` names a second folder, which gets the whole pipeline in bfloat16, ready to draw. A
    stage of 0 steps passes on the ladder that it got. Raises ValueError for what an earlier stage
    or an interrupted run left under other settings (naming the keys) and for an `export` that
    isn't ours to replace, BusyError if another process trains it, DivergedError when the monitor
    gives up.
    """
    torch.set_num_threads(config.threads)
    if export is not None:
        require_ours(export, MARKER)
    folder = runs / f"{config.arm}-{config.seed}" / stage
    # The first of several processes locks for all.
    with locked(folder / "lock") if rank_zero_only.rank == 0 else nullcontext():
        ladder = starting_ladder(config, stage, folder.parent)
        if stage_of(config, stage).steps:
            ladder = train(config, stage, ladder, encoded, folder)
        else:
            record_nothing(folder)
        save(config, stage, ladder, folder, export)
    return folder / "ladder"


def train(config: Config, stage: StageName, ladder: Ladder, encoded: Path, folder: Path) -> Ladder:
    """Train `ladder` in place by `stage`, or finish it from the checkpoint in `folder`.

    Returns it; where it was sharded, another one, whole, of the same weights.
    """
    chosen = stage_of(config, stage)
    every, keep = chosen.checkpoint_every, config.training.keep
    checkpoints = Checkpoints(folder / CHECKPOINT, every, settings(config, stage), keep)
    if not checkpoints.step:
        clear(folder)
    quiet()
    prepare, cluster = ladder.understanding.prepare, config.cluster
    if cluster.prompt_cache is not None:
        ladder.understanding.prompt_cache = Path(cluster.prompt_cache)
    if cluster.checkpointing != "none":
        ladder.enable_gradient_checkpointing(queries=cluster.checkpointing == "all")
    data = LadderData(
        encoded, stage, chosen, config.condition_dropout, config.seed, prepare, cluster.workers
    )
    monitor = GradientMonitor(config.monitor, folder / "events.jsonl", checkpoints.go_back)
    faulty = config.monitor.faults.rate > 0
    prompts = fixed_prompts(encoded, [*chosen.mixture])
    shown: list[Callback] = []
    if (asked := config.training.validation).every:
        micro = chosen.batch // chosen.accumulate
        held = HeldOutLoss(encoded, [*chosen.mixture], asked.every, asked.samples, micro)
        shown.append(held)
    if prompts:
        pipeline = LadderPipeline.from_ladder(ladder, config.foundations, config.sampling)
        every, images = chosen.sample_every, folder / "samples"
        shown.append(Grids(pipeline, prompts, every, config.sampling, config.seed, images))
    sharded = cluster.strategy == "fsdp"
    trainer = Trainer(
        max_steps=chosen.steps,
        accumulate_grad_batches=chosen.accumulate,
        gradient_clip_val=chosen.clip,
        precision=chosen.precision,
        strategy=strategy_of(cluster),
        accelerator=find_device(cluster.device).type,
        devices=cluster.devices,
        num_nodes=cluster.nodes,
        deterministic=True,
        use_distributed_sampler=False,
        log_every_n_steps=1,
        logger=loggers(config.training.loggers, folder, checkpoints.step),
        callbacks=[
            *([FaultInjector(config.monitor.faults, folder / "faults.jsonl")] if faulty else []),
            monitor,
            *shown,
            StepBar(stage, monitor),
            checkpoints,
        ],
        plugins=[FileIO()],
        enable_model_summary=False,
        default_root_dir=folder,
    )
    fresh = stage == STAGES[0] and chosen.init is None
    if not checkpoints.step and fresh and config.connector_warmup.steps:
        warm_up(config, ladder.to(trainer.strategy.root_device), encoded)
    if config.model.lora_rank:
        ladder.begin_lora(config.model.lora_rank, config.seed, config.model.dora)
    module = LadderModule(
        ladder,
        chosen,
        config.flow,
        stage,
        config.seed,
        config.model.query_noise,
        cluster.compile,
        cluster.fused,
    )
    ladder.train()  # all but the MLLM, which stays as it is
    with attention():
        trainer.fit(module, data, ckpt_path=checkpoints.resume(), weights_only=True)
    module.ema.apply()
    if sharded:
        state = {name: whole(value) for name, value in ladder.trainable_state().items()}
        ladder = starting_ladder(config, stage, folder.parent)
        if config.model.lora_rank:
            ladder.begin_lora(config.model.lora_rank, config.seed, config.model.dora)
        ladder.load_trainable_state(state)
    if config.model.lora_rank:
        save_lora(ladder, folder / ADAPTER)
        ladder.end_lora()
    return ladder.eval()


def strategy_of(cluster: Cluster) -> Strategy | str:
    """Lightning's strategy, or its name."""
    if cluster.strategy == "fsdp":
        return ShardedStrategy(cluster.devices * cluster.nodes)
    if cluster.strategy == "deepspeed":
        return ZeroStrategy()
    return WholeStrategy() if cluster.strategy == "ddp" else cluster.strategy


def attention() -> AbstractContextManager:
    """Plain attention on CPUs, where the backward of the fused one takes half of a step."""
    return nullcontext() if torch.cuda.is_available() else sdpa_kernel(SDPBackend.MATH)


@rank_zero_only
def save(
    config: Config, stage: StageName, ladder: Ladder, folder: Path, export: Path | None
) -> None:
    """Write the outcome of a stage to its `folder`, and the pipeline to `export`.

    With `export` the ladder is in bfloat16 afterwards. The checkpoint stays until all is written.
    """
    with replacing_folder(folder / "ladder") as part:
        ladder.save_pretrained(part)
        (part / SETTINGS).write_text(json.dumps(settings(config, stage), indent=2) + "\n")
    if export is not None:
        pipeline = LadderPipeline.from_ladder(ladder, config.foundations, config.sampling)
        for part in (ladder, pipeline.vae):
            part.bfloat16()  # `to` warns of parts that shall stay in float32 where there are none
        with replacing_folder(export, MARKER) as part:
            pipeline.save_pretrained(part)
    (folder / CHECKPOINT).unlink(missing_ok=True)


@rank_zero_only
def save_lora(ladder: Ladder, folder: Path) -> None:
    """Write what a stage learnt with `model.lora_rank`."""
    with replacing_folder(folder) as part:
        ladder.save_lora(part)


@rank_zero_only
def record_nothing(folder: Path) -> None:
    """The curves of a stage of 0 steps, which DVC expects as those of any other."""
    clear(folder)
    write_text(folder / "dvclive" / "metrics.json", json.dumps({"step": 0}) + "\n")


@rank_zero_only
def clear(folder: Path) -> None:
    """Remove what an earlier run of a stage left, so that nothing of it is mixed with this one.

    Its ladder stays until this one has its own.
    """
    for name in (ADAPTER, *LOGS, "samples"):
        if (folder / name).exists():
            shutil.rmtree(folder / name)
    earlier = earlier_than_last(folder) if folder.is_dir() else []
    for path in (folder / "events.jsonl", folder / "faults.jsonl", *earlier):
        path.unlink(missing_ok=True)


def quiet() -> None:
    """Silence what Lightning says of every run, and five warnings that don't apply.

    Batches are cheap to assemble, so no worker is needed; the position in the data is restored by
    LadderData, though not by its loader; the MLLM is in eval mode by design; and nothing changes in
    place what a sharded module returns. By which name Lightning calls torch is for it to mend.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*your dataloader is not resumable.*")
    warnings.filterwarnings("ignore", r".*module\(s\) in eval mode.*")
    warnings.filterwarnings("ignore", ".*returned a view tensor. An in-place op.*")
    warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated.*")
