"""The configuration and the data of a run, from whatever folder its notebook was opened."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ladder.config.files import read_json
from ladder.config.load import Config, load
from ladder.config.lock import locked
from ladder.models.reference import content_hash

ENCODED, CURATED = "data/encoded", "data/curated"
"""The data of the main job."""
WORLDS = "data/worlds"
"""Small worlds that were made for runs, by a hash of what decides them."""


def repository() -> Path:
    """The nearest folder above the current one that holds params.yaml, or that of this code."""
    here = Path.cwd()
    above = (folder for folder in (here, *here.parents) if (folder / "params.yaml").is_file())
    return next(above, Path(__file__).resolve().parents[3])


def configured(
    profile: str = "small", arm: str | None = None, arguments: Sequence[str] = ()
) -> Config:
    """The configuration that `ladder VERB --profile PROFILE --arm ARM key=value` would read.

    Local models are named from the current folder. Raises ConfigError as `load` does.
    """
    root = repository()
    config = load(profile, arm, arguments, root)
    if root == Path.cwd():
        return config
    models = {name: getattr(config.foundations, name) for name in ("mllm", "generator")}
    moved = [
        f"foundations.{name}={json.dumps(str(root / value))}"
        for name, value in models.items()
        if (root / value).is_dir()
    ]
    return load(profile, arm, [*arguments, *moved], root)


def is_main_world(config: Config) -> bool:
    """Whether the toy world of a configuration is that of the main job."""
    return config.world == load(root=repository()).world


def data_of(config: Config) -> tuple[Path, Path]:
    """The curated and the encoded sets of the world of `config`.

    Those of the main job, or of a smaller world, which is made once and kept in WORLDS. Raises
    FileNotFoundError if the main job's aren't there.
    """
    root = repository()
    if is_main_world(config):
        found = root / CURATED, root / ENCODED
        for folder in found:
            if not folder.is_dir():
                raise FileNotFoundError(2, "the main job's data are needed, `dvc repro encode`",
                                        str(folder))  # fmt: skip
        return found
    values = config.as_dict()
    decides = [values["world"], values["curation"], values["encoding"]]
    decides.append(content_hash(Path(config.foundations.generator) / "vae"))
    name = hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:12]
    place = root / WORLDS / name
    with locked(place.with_suffix(".lock"), wait=True):
        if not place.is_dir():
            _make(config, place)
    return place / "curated", place / "encoded"


def _make(config: Config, place: Path) -> None:
    """Draw, curate and encode a world beside `place`, and rename it at the end.

    It imports what only this needs: keys of runs are taken in seconds.
    """
    from ladder.data.curation.curate import curate
    from ladder.data.training.encode import encode
    from ladder.world import shards

    with tempfile.TemporaryDirectory(dir=place.parent) as name:
        raw, made = Path(name) / "raw", Path(name) / "made"
        shards.write(config.world, raw)
        curate(raw, made / "curated", config.curation)
        encode(config, made / "curated", made / "encoded")
        made.rename(place)


def fingerprint(config: Config) -> str:
    """A hash of the data of `config`: of the main job's, or of what decides a smaller world.

    Empty if the main job's aren't there.
    """
    if is_main_world(config):
        manifest = repository() / CURATED / "manifest.json"
        return read_json(manifest)["hash"] if manifest.is_file() else ""
    values = config.as_dict()
    text = json.dumps([values["world"], values["curation"], values["encoding"]])
    return hashlib.sha256(text.encode()).hexdigest()
