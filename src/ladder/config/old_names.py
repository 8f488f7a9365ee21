"""Old names of settings: they are read for one more version, with a warning.

Files, arguments and what is saved beside a ladder all come through `renamed`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ladder.config.layers import ConfigError

log = logging.getLogger(__name__)

STAGE = {
    "noises": "noise_samples",
    "generator_rate": "generator_lr_scale",
    "query_rate": "query_lr_scale",
}
PRETRAINING = (
    "mllm_base",
    "generator_base",
    "seed",
    "autoencoder_steps",
    "vision_steps",
    "mllm_base_steps",
    "mllm_found_steps",
    "mllm_steps",
    "generator_base_steps",
    "generator_steps",
)
RENAMED = {
    "translation": "connector_warmup",
    "dropping": "condition_dropout",
    "cluster.readings": "cluster.prompt_cache",
    "monitor.judge": "monitor.rule",
    **{
        f"stages.{stage}.{old}": f"stages.{stage}.{new}"
        for stage in ("t2i", "ti2i", "finetune")
        for old, new in STAGE.items()
    },
    **{f"foundations.{name}": f"pretraining.{name}" for name in PRETRAINING},
}
"""Dotted keys: old to new."""


def renamed(values: Mapping[Any, Any], source: str) -> dict[Any, Any]:
    """`values` under today's names; one line of warning says which were old.

    Raises ConfigError where a setting is given under both names.
    """
    values, found = dict(values), []
    for old, new in RENAMED.items():
        *parents, name = old.split(".")
        place = _section(values, parents)
        if place is None or name not in place:
            continue
        value = place.pop(name)
        *parents, name_now = new.split(".")
        target = _section(values, parents, create=True)
        if target is None or name_now in target:
            raise ConfigError(f"{source}: {old} is the old name of {new}, and both are given")
        target[name_now] = value
        found.append(f"{old} -> {new}")
    if found:
        log.warning("%s: old names, read for this version only: %s", source, ", ".join(found))
    return values


def _section(
    values: dict[Any, Any], path: list[str], create: bool = False
) -> dict[Any, Any] | None:
    """The mapping at `path`, copied into its place so that it may be changed; None for another."""
    for name in path:
        if create:
            values.setdefault(name, {})
        if not isinstance(values.get(name), dict):
            return None
        values[name] = dict(values[name])
        values = values[name]
    return values
