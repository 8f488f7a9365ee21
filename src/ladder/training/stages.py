"""A stage of training from beginning to end: t2i, then ti2i, then finetune.

Stages differ in their data and settings only. Each takes the ladder of the one before (the first
takes the foundations) and leaves its own in RUNS/<arm>-<seed>/<stage>:

ladder/             the outcome: averaged weights, and in training.json what they depend on
generator_adapter/  with `model.lora_rank`, what the generator learnt, in a form that peft loads
dvclive/            loss, norm, skipped and lr of every step, for DVC's plots; sample grids
tensorboard/        the same, to watch
samples/            grids of fixed prompts from fixed noise
events.jsonl        the steps that the monitor didn't let pass
faults.jsonl        the steps that were spoilt on purpose, if any
lock                held while the stage runs: two trainings of one stage exclude each other
last.ckpt           only while the stage runs: an interrupted stage goes on from it, bit for bit
"""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import Strategy
from lightning.pytorch.utilities import rank_zero_only
from torch.nn.attention import SDPBackend, sdpa_kernel

from ladder.config.load import Cluster, Config, Stage, require_same
from ladder.data.training.datamodule import LadderData
from ladder.inference.pipeline import LadderPipeline
from ladder.models.ladder import Ladder
from ladder.training.checkpoints import Checkpoints
from ladder.training.connector_warmup import warm_up
from ladder.training.faults import FaultInjector
from ladder.training.lock import locked
from ladder.training.loggers import loggers
from ladder.training.module import LadderModule
from ladder.training.monitor import GradientMonitor
from ladder.training.progress_bar import StepBar
from ladder.training.sample_grids import Grids, fixed_prompts
from ladder.training.strategies.deepspeed import ZeroStrategy
from ladder.training.strategies.fsdp import ShardedStrategy, whole

StageName = Literal["t2i", "ti2i", "finetune"]

STAGES: tuple[StageName, ...] = ("t2i", "ti2i", "finetune")
"""In their order."""
CHECKPOINT = "last.ckpt"
ADAPTER = "generator_adapter"
SETTINGS = "training.json"
"""In the folder of a trained ladder: the settings that it depends on."""
INDEPENDENT = ("threads", "cluster", "sampling", "evaluation")
"""Sections of the configuration in which a checkpoint may differ from the run that goes on."""


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
    or an interrupted run left under other settings (naming the keys), BusyError if another process
    trains it, DivergedError when the monitor gives up.
    """
    torch.set_num_threads(config.threads)
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
    checkpoints = Checkpoints(folder / CHECKPOINT, chosen.checkpoint_every, settings(config, stage))
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
    grids = []
    if prompts:
        pipeline = LadderPipeline.from_ladder(ladder, config.foundations, config.sampling)
        every, images = chosen.sample_every, folder / "samples"
        grids.append(Grids(pipeline, prompts, every, config.sampling, config.seed, images))
    sharded = cluster.strategy == "fsdp"
    trainer = Trainer(
        max_steps=chosen.steps,
        accumulate_grad_batches=chosen.accumulate,
        gradient_clip_val=chosen.clip,
        precision=chosen.precision,
        strategy=strategy_of(cluster),
        devices=cluster.devices,
        num_nodes=cluster.nodes,
        deterministic=True,
        use_distributed_sampler=False,
        log_every_n_steps=1,
        logger=loggers(folder, checkpoints.step),
        callbacks=[
            *([FaultInjector(config.monitor.faults, folder / "faults.jsonl")] if faulty else []),
            monitor,
            *grids,
            StepBar(stage, monitor),
            checkpoints,
        ],
        enable_model_summary=False,
        default_root_dir=folder,
    )
    if not checkpoints.step and stage == STAGES[0] and config.connector_warmup.steps:
        warm_up(config, ladder.to(trainer.strategy.root_device), encoded)
    if config.model.lora_rank:
        ladder.begin_lora(config.model.lora_rank, config.seed, config.model.dora)
    module = LadderModule(ladder, chosen, config.flow, stage, config.seed, config.model.query_noise)
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
        rank_zero_only(ladder.save_lora)(folder / ADAPTER)
        ladder.end_lora()
    return ladder.eval()


def strategy_of(cluster: Cluster) -> Strategy | str:
    """Lightning's strategy, or its name."""
    if cluster.strategy == "fsdp":
        return ShardedStrategy(cluster.devices * cluster.nodes)
    return ZeroStrategy() if cluster.strategy == "deepspeed" else cluster.strategy


def attention() -> AbstractContextManager:
    """Plain attention on CPUs, where the backward of the fused one takes half of a step."""
    return nullcontext() if torch.cuda.is_available() else sdpa_kernel(SDPBackend.MATH)


def starting_ladder(config: Config, stage: StageName, run: Path) -> Ladder:
    """What `stage` begins with: the foundations, or the ladder of the stage before it in `run`.

    Raises ValueError where that stage left no ladder, or one of other settings.
    """
    if stage == STAGES[0]:
        return Ladder.from_foundations(
            config.model, config.foundations, config.seed, config.encoding.aspects
        )
    before = STAGES[STAGES.index(stage) - 1]
    folder = run / before / "ladder"
    if not (folder / SETTINGS).is_file():
        raise ValueError(f"{folder} must hold a ladder; `ladder train {before}` writes it")
    require_same(settings(config, before), json.loads((folder / SETTINGS).read_text()), str(folder))
    ladder = Ladder.from_pretrained(folder)
    ladder.understanding.to(getattr(torch, config.foundations.dtype))
    return ladder


def settings(config: Config, stage: StageName) -> dict[str, Any]:
    """The part of the configuration on which the ladder of `stage` depends."""
    values = config.as_dict()
    later = STAGES[STAGES.index(stage) + 1 :]
    values["stages"] = {name: values["stages"][name] for name in STAGES if name not in later}
    return {name: value for name, value in values.items() if name not in INDEPENDENT}


def stage_of(config: Config, stage: StageName) -> Stage:
    """The settings of one stage."""
    return getattr(config.stages, stage)


@rank_zero_only
def save(
    config: Config, stage: StageName, ladder: Ladder, folder: Path, export: Path | None
) -> None:
    """Write the outcome of a stage to its `folder`, and the pipeline to `export`.

    With `export` the ladder is in bfloat16 afterwards.
    """
    ladder.save_pretrained(folder / "ladder")
    depends = json.dumps(settings(config, stage), indent=2)
    (folder / "ladder" / SETTINGS).write_text(depends + "\n")
    if export is not None:
        pipeline = LadderPipeline.from_ladder(ladder, config.foundations, config.sampling)
        for part in (ladder, pipeline.vae):
            part.bfloat16()  # `to` warns of parts that shall stay in float32 where there are none
        pipeline.save_pretrained(export)
    (folder / CHECKPOINT).unlink(missing_ok=True)


@rank_zero_only
def record_nothing(folder: Path) -> None:
    """The curves of a stage of 0 steps, which DVC expects as those of any other."""
    clear(folder)
    (folder / "dvclive").mkdir(parents=True)
    (folder / "dvclive" / "metrics.json").write_text(json.dumps({"step": 0}) + "\n")


@rank_zero_only
def clear(folder: Path) -> None:
    """Remove what an earlier run of a stage left, so that nothing of it is mixed with this one."""
    for name in ("ladder", ADAPTER, "dvclive", "tensorboard", "samples"):
        if (folder / name).exists():
            shutil.rmtree(folder / name)
    for name in ("events.jsonl", "faults.jsonl"):
        (folder / name).unlink(missing_ok=True)


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
