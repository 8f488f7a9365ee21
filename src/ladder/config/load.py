"""The one typed configuration of a run, and how it is read.

`load` lays `params.yaml`, a profile, an arm and command-line arguments over one another. There is
no second source of settings and no default in code: `params.yaml` names every key. The sections
are imported from here: `from ladder.config.load import Config, Stage`.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic.dataclasses import dataclass

from ladder.config.layers import ConfigError, build, overlay, read_arguments, read_file
from ladder.config.old_names import renamed
from ladder.config.schema import (
    Cluster,
    Curation,
    Encoding,
    Evaluation,
    Flow,
    Foundations,
    Model,
    Pretraining,
    Sampling,
    World,
)
from ladder.config.training_schema import (
    ConditionDropout,
    ConnectorWarmup,
    Faults,
    Monitor,
    Stage,
    Stages,
    Training,
    Validation,
)
from ladder.config.types import RULES, Count, Seed

__all__ = [
    "Cluster",
    "ConditionDropout",
    "Config",
    "ConfigError",
    "ConnectorWarmup",
    "Curation",
    "Encoding",
    "Evaluation",
    "Faults",
    "Flow",
    "Foundations",
    "Model",
    "Monitor",
    "Pretraining",
    "Sampling",
    "Stage",
    "Stages",
    "Training",
    "Validation",
    "World",
    "load",
    "load_defaults",
    "require_same",
]

log = logging.getLogger(__name__)

DEFAULTS = Path(__file__).with_name("params.yaml")
"""The repository's params.yaml, of which the package has a copy."""
ARM_SECTIONS = ("model", "connector_warmup", "stages", "monitor", "curation")
"""All that an arm may change, so that two arms differ in nothing else."""
SHOWS_OR_KEEPS = re.compile(r"stages\.\w+\.(sample_every|checkpoint_every)|training\..*")
"""Settings that change nothing of what is trained."""


@dataclass(frozen=True, config=RULES)
class Config:
    """Every setting of a run."""

    seed: Seed
    """Seeds queries, connector, data order, noise, times and condition dropout."""
    arm: str
    """Which experiments/arms/<arm>.yaml is laid over the parameters."""
    threads: Count
    """CPU threads of torch."""
    cluster: Cluster
    world: World
    curation: Curation
    encoding: Encoding
    foundations: Foundations
    pretraining: Pretraining
    model: Model
    flow: Flow
    connector_warmup: ConnectorWarmup
    stages: Stages
    training: Training
    condition_dropout: ConditionDropout
    monitor: Monitor
    sampling: Sampling
    evaluation: Evaluation

    def __post_init__(self) -> None:
        if self.connector_warmup.steps and self.model.query_text is None:
            raise ValueError(
                "connector_warmup needs queries that begin as words (model.query_text), got "
                f"{self.connector_warmup.steps} steps and random queries"
            )
        strategy = self.cluster.strategy
        if strategy in ("fsdp", "deepspeed") and self.monitor.faults.rate:
            raise ValueError(
                f"monitor.faults.rate must be 0 under cluster.strategy {strategy}, where gradients "
                f"are sharded, got {self.monitor.faults.rate}"
            )
        for name, stage in vars(self.stages).items():
            if strategy == "deepspeed" and stage.precision == "bf16-true":
                raise ValueError(
                    f"stages.{name}.precision must be 32-true or bf16-mixed under cluster.strategy "
                    "deepspeed, which steps copies in float32 that would be in no checkpoint, got "
                    f"{stage.precision}"
                )
        if strategy == "fsdp" and self.model.mllm_lora_rank is not None:
            raise ValueError(
                "model.mllm_lora_rank must be null under cluster.strategy fsdp, which shards the "
                f"MLLM's layers, got {self.model.mllm_lora_rank}"
            )

    def as_dict(self) -> dict[str, Any]:
        """Plain nested values, as JSON and YAML hold them; `build(Config, ...)` reads them back."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


def load(
    profile: str | None = None,
    arm: str | None = None,
    arguments: Sequence[str] = (),
    root: Path = Path(),
) -> Config:
    """The configuration of `root/params.yaml` under a profile, an arm and `key=value` arguments.

    Each layer wins over those before it and must leave a valid whole. The arm is the named one, or
    that of an argument `arm=...`, or that of the files. Raises ConfigError, which names the layer
    and the dotted key, and FileNotFoundError.
    """
    source = root / "params.yaml"
    config = build(Config, renamed(read_file(source), str(source)), str(source))
    if profile is not None:
        source = _named_file(root / "experiments/profiles", "profile", profile)
        config = overlay(config, renamed(read_file(source), str(source)), str(source))
    values = renamed(read_arguments(arguments), "command line")
    if arm is not None and values.setdefault("arm", arm) != arm:
        raise ConfigError(f"two arms are given: {arm} and {values['arm']}")
    config = overlay(config, {"arm": values.pop("arm", config.arm)}, "command line")
    source = _named_file(root / "experiments/arms", "arm", config.arm)
    changes = renamed(read_file(source), str(source))
    for key in changes:
        if key not in ARM_SECTIONS:
            allowed = ", ".join(ARM_SECTIONS)
            raise ConfigError(f"{source}: an arm may not change {key}; allowed: {allowed}")
    return overlay(overlay(config, changes, str(source)), values, "command line")


def load_defaults(arguments: Sequence[str] = ()) -> Config:
    """The configuration that this package comes with, for work outside a repository, under
    `key=value` arguments. Raises ConfigError."""
    config = build(Config, read_file(DEFAULTS), DEFAULTS.name)
    return overlay(config, renamed(read_arguments(arguments), "command line"), "command line")


def require_same(
    expected: dict[str, Any], found: dict[str, Any], source: str, free: Sequence[str] = ()
) -> None:
    """Raise ValueError, naming the dotted keys, unless two nested configurations are equal.

    What only shows or keeps something of a training may differ. So may the sections that are
    `free`; a warning says in what. A setting that isn't there is as one that is null.
    """
    ours, theirs = flattened(expected), flattened(renamed(found, source))
    differing, warned = [], []
    for key in sorted(ours | theirs):
        if ours.get(key) != theirs.get(key) and not SHOWS_OR_KEEPS.fullmatch(key):
            said = f"{key} {theirs.get(key, 'absent')} instead of {ours.get(key, 'absent')}"
            (warned if key.partition(".")[0] in free else differing).append(said)
    if warned:
        log.warning("%s was made with %s; that may differ", source, "; ".join(warned))
    if differing:
        raise ValueError(f"{source} must be of this configuration, but has {'; '.join(differing)}")


def flattened(values: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= flattened(value, f"{path}{name}.")
        else:
            flat[f"{path}{name}"] = value
    return flat


def _named_file(folder: Path, what: str, name: str) -> Path:
    path = folder / f"{name}.yaml"
    if not re.fullmatch(r"[a-z0-9_]+", name) or not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise ConfigError(f"no {what} {name!r} in {folder}; there are: {known}")
    return path
