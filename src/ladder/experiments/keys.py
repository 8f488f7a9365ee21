"""What a run depends on, and its key: a hash of that.

A run that is finished under its key is never run again. A comment, a docstring, the layout of the
code or another arm's file change no key; a setting, a constant, the data or a library do.
"""

from __future__ import annotations

import hashlib
import json
import platform
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from ladder.config.layers import read_file
from ladder.config.load import Config
from ladder.evaluation.provenance import PACKAGES
from ladder.experiments.meaning import notebook_meaning, sources
from ladder.experiments.notebook import FOLDER, defaults_of
from ladder.experiments.prepare import configured, fingerprint, repository
from ladder.models.reference import content_hash

RESOLVED = {"profile", "arm", "seed"}
"""Parameters which name a whole configuration, if a notebook has them all."""


class Keys:
    """The keys of the runs of one notebook; files that they have in common are read once."""

    def __init__(self, notebook: Path) -> None:
        """Raises ValueError for a file that is no notebook."""
        self.defaults = defaults_of(notebook)
        self._sources = sources(notebook)
        self._code = notebook_meaning(notebook)
        packages = [(name, version(name)) for name in PACKAGES]
        self._versions = [platform.python_version(), *packages]
        self._models: dict[str, list[str]] = {}
        self._configurations: dict[str, tuple[Config, str]] = {}

    def parts(self, parameters: dict[str, Any]) -> dict[str, str]:
        """A hash of each thing that a run depends on.

        Raises ConfigError for a profile or arm that isn't there.
        """
        given = self.defaults | parameters
        given.pop(FOLDER, None)
        if {*given} >= RESOLVED:
            config, data = self._configuration(given)
            settings = config.as_dict() | {"seed": given["seed"]}
            models = [config.foundations.mllm, config.foundations.generator]
        else:
            settings, data = self._mentioned(given), self._tracked
            models = [str(repository() / "models" / name) for name in ("mllm", "sana")]
        described = {
            "parameters": sorted((name, repr(value)) for name, value in parameters.items()),
            "settings": settings,
            "notebook": self._sources,
            "data": data,
            "foundations": [self._content(one) for one in models],
            "versions": self._versions,
        }
        return {name: _hash(value) for name, value in described.items()} | {"code": self._code}

    def _configuration(self, given: dict[str, Any]) -> tuple[Config, str]:
        """The configuration of any seed, and a hash of its data."""
        chosen = given["profile"], given["arm"], tuple(given.get("settings", ()))
        if repr(chosen) not in self._configurations:
            config = configured(*chosen)
            self._configurations[repr(chosen)] = config, fingerprint(config)
        return self._configurations[repr(chosen)]

    def _content(self, model: str) -> list[str]:
        """Hashes of a model's parts; of one that is no folder, the name, which has its revision."""
        if model not in self._models:
            parts = {file.parent for file in Path(model).rglob("*.safetensors")}
            found = [content_hash(part) for part in sorted(parts)]
            self._models[model] = found or [model]
        return self._models[model]

    def _mentioned(self, given: dict[str, Any]) -> dict[str, Any]:
        """The settings of a notebook of any kind: params.yaml, and the profiles and arms whose
        names occur in its code or in what it is given."""
        root, text = repository(), "\n".join([*self._sources, repr(given)])
        files = [
            file
            for kind in ("profiles", "arms")
            for file in sorted((root / "experiments" / kind).glob("*.yaml"))
            if file.stem in text
        ]
        found = [file for file in (root / "params.yaml", *files) if file.is_file()]
        return {str(file.relative_to(root)): read_file(file) for file in found}

    @cached_property
    def _tracked(self) -> list[list[str]]:
        """The hashes of all that the main job made, as dvc.lock has them."""
        path = repository() / "dvc.lock"
        lock = YAML(typ="safe", pure=True).load(path) if path.is_file() else {}
        outs = [out for one in lock.get("stages", {}).values() for out in one.get("outs", ())]
        return [[out["path"], out["md5"]] for out in outs if out["path"] != "code.json"]


def key_of(parts: dict[str, str]) -> str:
    """The name of a run with these parts."""
    return _hash(parts)[:16]


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
